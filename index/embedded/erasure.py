"""Erasing images so that nothing of them stays in the gallery: record, vector, index file and image file."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.embedded.index_file import drop_index_file
from index.embedded.locks import ProcessLock
from index.embedded.store import LOCK_NAME, Store, is_begun, open_stored, remove_files
from index.errors import GalleryUnavailable
from index.files import sync_folders
from index.images import image_path, remove_drafts
from index.records import CameraSummary, Where


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased.

    Attributes:
        images: How many images.
        image_files: How many files of these, and of those that only other generations held.
        elsewhere: How many records with their vectors in other generations.
        complete: Whether SQLite's write-ahead file could be emptied; it cannot while a reader is open,
            and may hold what was erased until then.
    """

    images: int
    image_files: int
    elsewhere: int
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


def erasable_elsewhere(folder: Path, others: Sequence[Path], wheres: Sequence[Where]) -> int:
    """How many records ``erase_images`` would erase in other generations; any may be written meanwhile.

    Raises:
        GalleryUnavailable: One cannot be read.
    """
    with ExitStack() as held:
        begun = [other for other in others if is_begun(other)]
        _, *leaving = _leaving(_opened(held, folder, begun, read_only=True), wheres)
        return sum(map(len, leaving))


def erase_images(folder: Path, images: Path, wheres: Sequence[Where], others: Sequence[Path] = ()) -> Erasure:
    """Erase every image that passes one of ``wheres``; on the disk when this returns.

    An image's file goes before its record, so that a power cut leaves no picture without one, and what is
    in use goes last: the same call ends what it left. The space in SQLite's files is written over, and the
    index files are removed.

    Args:
        folder: Of the gallery, which no other process may write meanwhile.
        images: Of its image files.
        wheres: Filters.
        others: Folders of its other generations, for which the same holds: what passes a filter there goes
            too, and what goes from the gallery, whatever its record there. What a kill left of one that was
            being begun or removed goes whole, since nobody can open it.

    Raises:
        GalleryUnavailable: There is no gallery, another process writes it or another generation, or one
            cannot be opened: then nothing was erased. Or the disk refuses; then some images may lack their
            files, and the same call erases them.
    """
    with ExitStack() as held:
        begun = [other for other in others if is_begun(other)]
        stores = _opened(held, folder, begun, read_only=False)
        _remove_remains(held, [other for other in others if other not in begun])
        leaving = _leaving(stores, wheres)
        for path, places in zip((folder, *begun), leaving, strict=True):
            if places:
                drop_index_file(path)
        image_files = _remove_files(images, _without_image(stores, leaving))
        # The gallery last, since the other generations may know by it alone what leaves.
        for stored, places in reversed(list(zip(stores, leaving, strict=True))):
            if places:
                stored.delete(np.array(list(places), np.int64))
        complete = [stored.purge() for stored in stores]
        return Erasure(len(leaving[0]), image_files, sum(map(len, leaving[1:])), all(complete))


def _opened(held: ExitStack, folder: Path, others: Sequence[Path], *, read_only: bool) -> list[Store]:
    """The gallery, then its other generations; ``held`` closes them."""
    stores = [held.enter_context(closing(open_stored(folder, read_only=read_only)))]
    for other in others:
        try:
            stores.append(held.enter_context(closing(open_stored(other, read_only=read_only))))
        except GalleryUnavailable as error:
            raise GalleryUnavailable(
                f"nothing was erased, since the generation of another encoder in {other} may hold the same "
                f"images and cannot be opened ({error}); if it is not wanted any more, remove it with "
                "peca gallery reindex --drop-old"
            ) from error
    return stores


def _remove_remains(held: ExitStack, folders: Sequence[Path]) -> None:
    """Remove what is left of generations that nobody can open, under locks that ``held`` lets go."""
    for folder in folders:
        held.callback(ProcessLock(folder / LOCK_NAME).release)
    for folder in folders:
        try:
            remove_files(folder)
        except OSError as error:
            raise GalleryUnavailable(f"what is left in {folder} cannot be removed: {error}") from error


def _leaving(stores: Sequence[Store], wheres: Iterable[Where]) -> list[dict[int, str]]:
    """Of each generation, the gallery first, the ids by position of what goes."""
    leaving: list[dict[int, str]] = [{} for _ in stores]
    for where in wheres:
        for stored, places in zip(stores, leaving, strict=True):
            places |= stored.image_ids(where)
    gone = Where(image_ids=list(leaving[0].values()))
    for stored, places in zip(stores[1:], leaving[1:], strict=True):
        places |= stored.image_ids(gone)
    return leaving


def _without_image(stores: Sequence[Store], leaving: Sequence[Mapping[int, str]]) -> Collection[str]:
    """The ids of what goes that no generation holds afterwards, as under a record that stays."""
    ids = {image_id for places in leaving for image_id in places.values()}
    named = Where(image_ids=ids)
    for stored, places in zip(stores, leaving, strict=True):
        ids = ids - {one for place, one in stored.image_ids(named).items() if place not in places}
    return ids


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
