"""Erasing images so that nothing of them stays in the gallery: record, vector, index file and image file."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.embedded.index_file import drop_index_file
from index.embedded.store import open_stored
from index.errors import GalleryUnavailable
from index.files import sync_folders
from index.images import image_path, remove_drafts
from index.records import CameraSummary, Where


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased.

    Attributes:
        images: How many images.
        image_files: How many of them had a file.
        complete: Whether SQLite's write-ahead file could be emptied; it cannot while a reader is open,
            and may hold what was erased until then.
    """

    images: int
    image_files: int
    complete: bool


def erasable(folder: Path, wheres: Sequence[Where]) -> list[CameraSummary]:
    """What ``erase_images`` would erase, by camera and modality; another process may write meanwhile.

    Args:
        folder: Of the gallery.
        wheres: Filters that no image passes two of.

    Raises:
        GalleryUnavailable: There is no gallery, or it cannot be read.
    """
    with closing(open_stored(folder, read_only=True)) as stored:
        return [camera for where in wheres for camera in stored.cameras(where)]


def erase_images(folder: Path, images: Path, wheres: Iterable[Where]) -> Erasure:
    """Erase every image that passes one of ``wheres``; on the disk when this returns.

    An image's file goes before its record, so that a power cut leaves no picture without one; the same
    call ends what it left. The space in SQLite's file is written over, and the index file is removed.

    Args:
        folder: Of the gallery, which no other process may write meanwhile.
        images: Of its image files.
        wheres: Filters.

    Raises:
        GalleryUnavailable: There is no gallery, another process writes it, or the disk refuses; then some
            images may lack their files, and the same call erases them.
    """
    with closing(open_stored(folder, read_only=False)) as stored:
        leaving: dict[int, str] = {}
        for where in wheres:
            leaving |= stored.image_ids(where)
        image_files = 0
        if leaving:
            drop_index_file(folder)
            image_files = _remove_files(images, leaving.values())
            stored.delete(np.array(list(leaving), np.int64))
        return Erasure(len(leaving), image_files, stored.purge())


def _remove_files(images: Path, image_ids: Iterable[str]) -> int:
    """Remove the files of these images, durably; returns how many there were."""
    try:
        remove_drafts(images)
        removed = [path for image_id in image_ids if (path := image_path(images, image_id)).exists()]
        for path in removed:
            path.unlink()
        sync_folders(path.parent for path in removed)
        return len(removed)
    except OSError as error:
        raise GalleryUnavailable(f"image files cannot be removed under {images}: {error}") from error
