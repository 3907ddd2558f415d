"""What an encoder artefact is: a folder with ``bundle.json`` and the files that it names, all sealed."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exporter.errors import BundleInvalid
from exporter.preprocess import RESAMPLE
from index.space import Modality

MANIFEST = "bundle.json"
FORMAT: Literal[2] = 2
MODALITY_CODE = {Modality.VISIBLE: 0, Modality.INFRARED: 1}
"""What the graph's input ``modality`` says."""


class Precision(StrEnum):
    """The number format of one form of the encoder on disk."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class BundleFile(BaseModel):
    """One file of a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(gt=0)


class Engine(BaseModel):
    """A TensorRT engine: it runs on the kind of GPU and the TensorRT release that it was built with.

    Attributes:
        engine: The serialised engine.
        timing_cache: TensorRT's measurements of kernels, which make the next build quick.
        tensorrt: The version that built it.
        gpu: The name of the GPU that it was built on.
        batch: Fewest, usual and most images of one run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: BundleFile
    timing_cache: BundleFile
    tensorrt: str
    gpu: str
    batch: tuple[int, int, int]


class BundleManifest(BaseModel):
    """The content of ``bundle.json``, less its seal.

    Attributes:
        name: The encoder's name, for people.
        image_hw: Height and width in pixels of the input.
        resample: The filter that resizes an image to ``image_hw``.
        dim: Length D of an embedding.
        flip: Whether the graph also sees the mirror image and gives the mean of both.
        files: The forms of the encoder, by precision.
        probe: Drawn images, and what the trained network says of them: ``exporter.probe``.
        engine: The TensorRT engine, where there is one.
        recipe: The training recipe, as it ran.
        training_set: What it was trained on, in one sentence.
        parity: How near each form comes to the trained network, measured at export.
        quantisation: What was tried for int8, and what was chosen.
        versions: Of the packages that wrote the bundle.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = FORMAT
    name: str = Field(min_length=1)
    image_hw: tuple[int, int]
    resample: str
    dim: int = Field(gt=0)
    flip: bool = False
    files: dict[Precision, BundleFile] = Field(min_length=1)
    probe: BundleFile
    engine: Engine | None = None
    recipe: dict[str, Any]
    training_set: str = Field(min_length=1)
    parity: dict[str, Any]
    quantisation: dict[str, Any] | None = None
    versions: dict[str, str]

    def every_file(self) -> Iterator[BundleFile]:
        """All files that the bundle names."""
        yield from self.files.values()
        yield self.probe
        if self.engine is not None:
            yield self.engine.engine
            yield self.engine.timing_cache


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk whose manifest is understood and unchanged.

    Attributes:
        path: Its folder.
        manifest: The content of ``bundle.json``.
    """

    path: Path
    manifest: BundleManifest

    @property
    def fingerprint(self) -> str:
        """Names the exact encoder; a gallery belongs to one of these.

        All forms of a bundle share it: each was measured to search what the others filled, so a gallery
        stays when its server moves to another device.
        """
        forms = self.manifest.files
        first = next(one for one in (Precision.INT8, Precision.FP32, Precision.FP16) if one in forms)
        digest = forms[first].sha256
        if len(forms) > 1:
            every = "\n".join(f"{precision} {forms[precision].sha256}" for precision in sorted(forms))
            digest = hashlib.sha256(every.encode()).hexdigest()
        return f"{self.manifest.name}-{first}-{digest[:12]}"

    def model_path(self, precision: Precision) -> Path:
        """The ONNX file of one of its forms."""
        return self.path / self.manifest.files[precision].file

    def check_files(self) -> None:
        """Check each file of the bundle against the manifest.

        Raises:
            BundleInvalid: A file is missing or is not what the manifest says; the message names it.
        """
        for file in self.manifest.every_file():
            self.check_file(file)

    def check_file(self, file: BundleFile) -> None:
        """Check one file of the bundle; raises as ``check_files``."""
        path = self.path / file.file
        if not path.is_file():
            raise BundleInvalid(f"{self.path} lacks {file.file}, which its {MANIFEST} names; export it again")
        found = file_sha256(path)
        if found != file.sha256:
            raise BundleInvalid(
                f"{path} was changed after it was written: expected SHA-256 {file.sha256}, "
                f"got {found}; export the bundle again"
            )


def describe_file(path: Path) -> BundleFile:
    """What a manifest says of the file at ``path``."""
    return BundleFile(file=path.name, sha256=file_sha256(path), size_bytes=path.stat().st_size)


def seal(content: dict[str, Any]) -> str:
    """The SHA-256 of a manifest's content without its ``seal``, whatever its spacing and order."""
    text = json.dumps({key: value for key, value in content.items() if key != "seal"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_manifest(folder: Path, manifest: BundleManifest) -> None:
    """Write ``bundle.json`` with its seal into ``folder``."""
    content = manifest.model_dump(mode="json")
    sealed = json.dumps({**content, "seal": seal(content)}, indent=2)
    (folder / MANIFEST).write_text(sealed + "\n", encoding="utf-8")


def read_bundle(path: Path) -> Bundle:
    """Read and check the manifest of the bundle at ``path``.

    The seal tells of damage and of numbers that were edited. It is no signature: who may write the folder
    can write a new one; another network still has another fingerprint, and a gallery refuses that.

    Raises:
        BundleInvalid: No bundle is there, or its manifest is damaged, changed or of another format.
    """
    manifest_path = path / MANIFEST
    try:
        content = json.loads(manifest_path.read_text(encoding="utf-8"))
        _check_seal(manifest_path, content)
        manifest = BundleManifest.model_validate(
            {key: value for key, value in content.items() if key != "seal"}
        )
    except FileNotFoundError:
        raise BundleInvalid(
            f"expected an encoder bundle at {path}, found no {MANIFEST} there; "
            "write one with `peca export RUN --out BUNDLE`"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, ValidationError) as error:
        raise BundleInvalid(f"{manifest_path} is not a manifest of format {FORMAT}: {error}") from None
    if manifest.resample != RESAMPLE:
        raise BundleInvalid(
            f"{manifest_path} asks for the resample filter {manifest.resample!r}; only {RESAMPLE!r} is known"
        )
    return Bundle(path, manifest)


def _check_seal(path: Path, content: Any) -> None:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise BundleInvalid(f"{path} is not a manifest of format {FORMAT}: got {found!r}; export it again")
    if content.get("seal") != seal(content):
        raise BundleInvalid(
            f"{path} was changed after it was written: its content has the SHA-256 {seal(content)}, "
            f"its seal says {content.get('seal')}; export the bundle again"
        )


def default_bundle() -> Path:
    """The folder of the encoder that ships with this package."""
    return Path(__file__).parent / "bundles" / "demo"


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
