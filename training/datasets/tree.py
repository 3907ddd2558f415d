"""What a visible-infrared data set looks like once it is read: images with their labels."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from index.errors import InvalidInput
from index.space import Modality

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

SYSU_CAMERAS = {n: Modality.INFRARED if n in (3, 6) else Modality.VISIBLE for n in range(1, 7)}
"""SYSU-MM01's cameras by number."""
LLCM_CAMERAS = range(1, 10)
"""LLCM's cameras, each of which sees by day and by night."""


class Infrared(StrEnum):
    """What the infrared cameras of a tree of synthetic people receive: near infrared, heat, or some each."""

    NEAR = "near"
    THERMAL = "thermal"
    BOTH = "both"


class Layout(StrEnum):
    """Whose folder layout a tree on disk follows."""

    SYSU = "sysu"
    REGDB = "regdb"
    LLCM = "llcm"


class DatasetInvalid(InvalidInput):
    """A data set tree is not what its layout says; the message names the path."""


@dataclass(frozen=True, slots=True)
class TreeImage:
    """One image of a data set tree.

    Attributes:
        path: The file.
        source: Its posix path inside the tree, e.g. ``cam1/0006/0001.jpg``.
        person_id: The identity as the tree writes it, e.g. ``"0006"`` (SYSU-MM01), ``"88"`` (RegDB).
        camera_id: ``"cam3"`` for SYSU-MM01 and LLCM; ``"visible"`` or ``"thermal"`` for RegDB.
        modality: The light of the camera.
    """

    path: Path
    source: str
    person_id: str
    camera_id: str
    modality: Modality


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set on disk, its images in the order of their lists.

    Attributes:
        layout: The tree's layout: one of ``Layout``, or the import path of the reader.
        root: The tree's top folder.
        train: The training images of both modalities (SYSU-MM01: training and validation identities).
        test: The test images of both modalities.
    """

    layout: str
    root: Path
    train: tuple[TreeImage, ...]
    test: tuple[TreeImage, ...]
