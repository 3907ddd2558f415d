"""Whether what is installed can work together; asked once, when the server starts."""

from collections.abc import Collection
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from index.errors import MissingExtra
from server.errors import InstallationInvalid

PACKAGES = ("index", "exporter", "training", "server", "clients")
RUNTIMES = {
    "ONNX Runtime": ("onnxruntime", "onnxruntime-gpu"),
    "FAISS": ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12"),
}


def check_installation() -> None:
    """Check the whole installation.

    Raises:
        MissingExtra: A runtime is not installed.
        InstallationInvalid: Two builds of a runtime are, or the packages come from several places.
    """
    check_runtimes({found.name.lower().replace("_", "-") for found in distributions() if found.name})
    check_one_place({name: place for name in PACKAGES if (place := _place(name)) is not None})


def check_runtimes(installed: Collection[str]) -> None:
    """Check that of each runtime exactly one build is installed, since builds overwrite each other's files.

    Args:
        installed: Names of distributions, in lower case, with hyphens.

    Raises:
        MissingExtra: A runtime is not installed.
        InstallationInvalid: Two builds of one are.
    """
    for runtime, builds in RUNTIMES.items():
        present = [build for build in builds if build in installed]
        if not present:
            raise MissingExtra(
                f"{runtime} is not installed; install one of the extras: "
                "pip install '.[cpu]' or pip install '.[gpu]' in PECA's checkout"
            )
        if len(present) > 1:
            raise InstallationInvalid(
                f"expected one build of {runtime}, found {' and '.join(present)}; they overwrite each other: "
                f"uninstall both, then install the extra [cpu] or [gpu]: pip uninstall {' '.join(present)}"
            )


def check_one_place(places: dict[str, Path]) -> None:
    """Check that the packages of the engine come from one folder: their names are common ones.

    Args:
        places: By package, the folder that it lies in.

    Raises:
        InstallationInvalid: They do not.
    """
    expected = places["server"]
    strangers = {name: place for name, place in places.items() if place != expected}
    if strangers:
        found = ", ".join(f"{name} in {place}" for name, place in strangers.items())
        raise InstallationInvalid(
            f"expected the packages of PECA together in {expected}, found {found}; another project's package "
            "has the same name: install PECA in an environment of its own"
        )


def _place(package: str) -> Path | None:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).resolve().parent.parent
