"""Whether a bundle is whole and computes here what was trained."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from exporter.bundle import MANIFEST, Bundle, read_bundle
from exporter.errors import BundleInvalid, ProviderUnfit
from exporter.probe import check_probe
from exporter.providers import RUNS, Arithmetic, Provider
from exporter.runtime import open_form


class Verdict(StrEnum):
    """What a check came to; ``failed`` alone speaks against the bundle."""

    PASSED = "passed"
    FAILED = "failed"
    REFUSED = "refused"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what, with which verdict, and what was found."""

    what: str
    verdict: Verdict
    found: str


def verify_bundle(path: Path) -> list[Check]:
    """Check seal, hashes, the shape of what each form gives, and its parity on what is present.

    A form fails where the processor does not compute it as at export. Another provider that strays is
    refused: no encoder opens on it; one that is not installed is absent.

    Args:
        path: The bundle's folder.
    """
    try:
        bundle = read_bundle(path)
    except BundleInvalid as invalid:
        return [Check(MANIFEST, Verdict.FAILED, str(invalid))]
    checks = [Check(MANIFEST, Verdict.PASSED, f"sealed; {bundle.fingerprint}"), *_files(bundle)]
    # What was changed is not run.
    if any(check.verdict is Verdict.FAILED for check in checks):
        return checks
    return checks + [
        _parity(bundle, provider, arithmetic)
        for provider, arithmetics in RUNS.items()
        for arithmetic, form in arithmetics.items()
        if form in bundle.manifest.files
    ]


def _files(bundle: Bundle) -> list[Check]:
    checks = []
    for file in bundle.manifest.every_file():
        try:
            bundle.check_file(file)
            checks.append(Check(file.file, Verdict.PASSED, f"SHA-256 {file.sha256[:12]}..."))
        except BundleInvalid as invalid:
            checks.append(Check(file.file, Verdict.FAILED, str(invalid)))
    return checks


def _parity(bundle: Bundle, provider: Provider, arithmetic: Arithmetic) -> Check:
    what = f"{provider} {arithmetic}"
    try:
        run = open_form(bundle, provider, arithmetic)
    except ProviderUnfit as unfit:
        return Check(what, Verdict.ABSENT, str(unfit))
    except BundleInvalid as invalid:
        return Check(what, Verdict.FAILED, str(invalid))
    try:
        mean = check_probe(bundle, run, RUNS[provider][arithmetic])
    except ProviderUnfit as unfit:
        return Check(what, Verdict.FAILED if provider is Provider.CPU else Verdict.REFUSED, str(unfit))
    dim = bundle.manifest.dim
    return Check(
        what, Verdict.PASSED, f"{dim} numbers a vector, mean cosine {mean:.4f} with what was trained"
    )
