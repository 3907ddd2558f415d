"""Whether a gallery is whole: its file, its checksums, its index file and its image files."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from index.embedded.index_file import FILE_NAME, check_index_file
from index.embedded.locks import is_held
from index.embedded.store import LOCK_NAME, Store, open_stored
from index.errors import GalleryUnavailable, IndexFileUnusable, PecaError
from index.images import image_path, image_paths
from index.records import ANY
from index.space import EmbeddingSpec

_LOOKS_S = (0.0, 0.5, 1.5)
"""Before each look at a fault beside a writer; a call of ``add`` with its files is over by then."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at, and what is wrong.

    Attributes:
        images: How many images the gallery holds.
        has_index_file: Whether there is an index file; a gallery without one is whole too.
        image_files: How many image files were compared, ``None`` if left out or without a folder.
        faults: A sentence each.
    """

    images: int
    has_index_file: bool
    image_files: int | None
    faults: tuple[str, ...]


def verify_gallery(
    folder: Path, images: Path | None, check_image: Callable[[bytes], object] | None = None
) -> Verification:
    """Look for what is damaged or missing; another process may write the gallery meanwhile.

    What does not fit because a server is about to write it, or to remove it, fits a moment later: the index
    file and SQLite's word for it, an image and its file. So beside a writer each such fault is looked at
    again.

    Args:
        folder: Of the gallery.
        images: Of its image files; need not be. ``None`` to leave them out.
        check_image: Also hand it the bytes of every image file; raises a ``PecaError`` where they are no
            image.

    Raises:
        GalleryUnavailable: There is no gallery, or so much is damaged that it cannot be opened.
    """
    try:
        # Before the records: a file is written after its record, so each of these has its record by now.
        files = set(image_paths(images)) if images is not None and images.is_dir() else None
        with closing(open_stored(folder, read_only=True)) as stored:
            count = stored.count(ANY)
            faults = _told(_database_faults(folder, stored))
            if images is not None and files is not None:
                faults += _told(_file_faults(folder, images, files, stored, check_image))
        has_index_file = (folder / FILE_NAME).exists()
    except OSError as error:
        raise GalleryUnavailable(f"the files of the gallery {folder} cannot be read: {error}") from error
    return Verification(count, has_index_file, None if files is None else len(files), tuple(faults))


def _told(faults: Iterator[str]) -> list[str]:
    """The faults up to where the gallery can no longer be read, which is one, too."""
    found: list[str] = []
    try:
        for fault in faults:
            found.append(fault)
    except GalleryUnavailable as error:
        found.append(str(error))
    return found


def _database_faults(folder: Path, stored: Store) -> Iterator[str]:
    if fault := _index_file_fault(folder, stored.spec):
        yield f"{fault}; the next start makes the index anew"
    yield from stored.faults()


def _index_file_fault(folder: Path, spec: EmbeddingSpec) -> str | None:
    """What is wrong with the index file, and still is with what SQLite says of it later."""
    fault = None
    for pause_s in looks(folder):
        time.sleep(pause_s)
        with closing(open_stored(folder, read_only=True)) as now:
            token = now.index_token()
        try:
            check_index_file(folder, spec, token)
        except IndexFileUnusable as error:
            fault = str(error)
        else:
            return None
    return fault


def looks(folder: Path) -> Sequence[float]:
    """Pauses, each before a look at what does not fit: beside a writer, a change may be on its way."""
    return _LOOKS_S if is_held(folder / LOCK_NAME) else _LOOKS_S[:1]


def _file_faults(
    folder: Path,
    images: Path,
    files: set[Path],
    stored: Store,
    check_image: Callable[[bytes], object] | None,
) -> Iterator[str]:
    expected = _expected_files(images, stored)
    if expected.keys() != files:
        yield from _pairing_faults(folder, images, files, expected)
    if check_image is not None:
        for path in sorted(expected.keys() & files):
            try:
                check_image(path.read_bytes())
            except FileNotFoundError:
                continue  # removed since it was listed
            except PecaError as error:
                yield f"image {expected[path]!r} has a file that is no image: {error}; {path}"


def _pairing_faults(folder: Path, images: Path, files: set[Path], expected: dict[Path, str]) -> Iterator[str]:
    """Images without a file, and files without an image, as they still are when looked at again."""
    bare, stray = expected.keys() - files, files - expected.keys()
    for pause_s in looks(folder):
        time.sleep(pause_s)
        with closing(open_stored(folder, read_only=True)) as now:
            still = _expected_files(images, now)
        bare = {path for path in bare if path in still and not path.exists()}
        stray = {path for path in stray if path not in still and path.exists()}
        if not bare and not stray:
            return
    for path in sorted(bare):
        yield f"image {expected[path]!r} has no file in {images}; ingest it again, or erase it"
    for path in sorted(stray):
        yield f"the file {path} belongs to no image; remove it"


def _expected_files(images: Path, stored: Store) -> dict[Path, str]:
    """By path, the image whose file lies there."""
    return {image_path(images, image_id): image_id for image_id in stored.image_ids().values()}
