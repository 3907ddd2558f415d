"""Where the image files of a data folder lie: one an image, named by the SHA-256 of its id."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

FOLDER_NAME = "images"
DRAFTS_NAME = "drafts"


def image_path(folder: Path, image_id: str) -> Path:
    """Where the file of an image is kept.

    Ids that differ only in case stay apart on every file system, and no id can name a path.

    Args:
        folder: The folder of image files.
        image_id: Of the image.
    """
    name = hashlib.sha256(image_id.encode()).hexdigest()
    return folder / name[:2] / name


def image_paths(folder: Path) -> Iterator[Path]:
    """Every file that is kept under ``folder``, in no order, drafts left out; none where it is missing."""
    if not folder.is_dir():
        return
    for shelf in folder.iterdir():
        if shelf.is_dir() and shelf.name != DRAFTS_NAME:
            yield from shelf.iterdir()


def remove_drafts(folder: Path) -> None:
    """Remove what a power cut left of files that were being written; nobody may be writing one."""
    drafts = folder / DRAFTS_NAME
    if drafts.is_dir():
        for left in drafts.iterdir():
            left.unlink()
