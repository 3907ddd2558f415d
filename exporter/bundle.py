"""What an encoder artefact is: a folder with ``bundle.json`` and the ONNX files that it names."""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exporter.errors import BundleInvalid
from exporter.preprocess import RESAMPLE
from index.space import Modality

MANIFEST = "bundle.json"
MODALITY_CODE = {Modality.VISIBLE: 0, Modality.INFRARED: 1}
"""What the graph's input ``modality`` says."""


class Precision(StrEnum):
    """The arithmetic of one form of the encoder."""

    FP32 = "fp32"
    INT8 = "int8"


class BundleFile(BaseModel):
    """One form of the encoder on disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(gt=0)


class BundleManifest(BaseModel):
    """The content of ``bundle.json``.

    Attributes:
        name: The encoder's name, for people.
        image_hw: Height and width in pixels of the input.
        resample: The filter that resizes an image to ``image_hw``.
        dim: Length D of an embedding.
        files: The forms of the encoder, by precision.
        recipe: The training recipe, as it ran.
        training_set: What it was trained on, in one sentence.
        parity: How near each form comes to the trained network, measured at export.
        versions: Of the packages that wrote the bundle.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str = Field(min_length=1)
    image_hw: tuple[int, int]
    resample: str
    dim: int = Field(gt=0)
    files: dict[Precision, BundleFile] = Field(min_length=1)
    recipe: dict[str, Any]
    training_set: str = Field(min_length=1)
    parity: dict[str, Any]
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk whose manifest is understood.

    Attributes:
        path: Its folder.
        manifest: The content of ``bundle.json``.
    """

    path: Path
    manifest: BundleManifest

    @property
    def precision(self) -> Precision:
        """The form that serves: int8 where there is one."""
        return Precision.INT8 if Precision.INT8 in self.manifest.files else Precision.FP32

    @property
    def fingerprint(self) -> str:
        """Names the exact network that serves; a gallery belongs to one of these."""
        form = self.manifest.files[self.precision]
        return f"{self.manifest.name}-{self.precision}-{form.sha256[:12]}"

    def model_path(self) -> Path:
        """The ONNX file that serves, its hash checked.

        Raises:
            BundleInvalid: The file is missing or is not what the manifest says.
        """
        form = self.manifest.files[self.precision]
        path = self.path / form.file
        if not path.is_file():
            raise BundleInvalid(f"{self.path} lacks {form.file}, which its {MANIFEST} names; export it again")
        found = file_sha256(path)
        if found != form.sha256:
            raise BundleInvalid(
                f"{path} was changed after it was written: expected SHA-256 {form.sha256}, "
                f"got {found}; export the bundle again"
            )
        return path


def read_bundle(path: Path) -> Bundle:
    """Read and check the manifest of the bundle at ``path``.

    Raises:
        BundleInvalid: No bundle is there, or its manifest is damaged or of another format.
    """
    manifest_path = path / MANIFEST
    try:
        content = json.loads(manifest_path.read_text(encoding="utf-8"))
        manifest = BundleManifest.model_validate(content)
    except FileNotFoundError:
        raise BundleInvalid(
            f"expected an encoder bundle at {path}, found no {MANIFEST} there; "
            "write one with `peca export RUN --out BUNDLE`"
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, ValidationError) as error:
        raise BundleInvalid(f"{manifest_path} is not a manifest of format 1: {error}") from None
    if manifest.resample != RESAMPLE:
        raise BundleInvalid(
            f"{manifest_path} asks for the resample filter {manifest.resample!r}; only {RESAMPLE!r} is known"
        )
    return Bundle(path, manifest)


def default_bundle() -> Path:
    """The folder of the encoder that ships with this package."""
    return Path(__file__).parent / "bundles" / "demo"


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
