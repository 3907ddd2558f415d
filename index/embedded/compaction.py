"""Giving back the space of what was removed."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from index.embedded.engine import EmbeddedGallery
from index.embedded.index_file import FILE_NAME as INDEX_NAME
from index.embedded.index_file import drop_index_file
from index.embedded.store import FILE_NAME, open_stored
from index.files import size_of


@dataclass(frozen=True, slots=True)
class Compaction:
    """What was given back.

    Attributes:
        before_bytes: What SQLite's file took on the disk, with its write-ahead file.
        after_bytes: What they take now.
        index_file_bytes: What the index file takes now.
        complete: Whether the write-ahead file could be emptied; it cannot while a reader is open, and may
            hold what was erased until then.
    """

    before_bytes: int
    after_bytes: int
    index_file_bytes: int
    complete: bool


def compact_gallery(folder: Path) -> Compaction:
    """Write SQLite's file anew without what was removed, and make the index anew from it.

    Needs free space for a second copy of the file, beside it and in SQLite's folder for temporary files.

    Args:
        folder: Of the gallery, which no other process may write meanwhile.

    Raises:
        GalleryUnavailable: There is no gallery, another process writes it, or the disk refuses; nothing
            is lost.
    """
    before = _database_bytes(folder)
    with closing(open_stored(folder, read_only=False)) as stored:
        stored.vacuum()
        complete = stored.purge()
        drop_index_file(folder)  # not before: where the disk is full, it fits the file that stays
    EmbeddedGallery(folder, stored.spec).close()
    return Compaction(before, _database_bytes(folder), size_of(folder / INDEX_NAME), complete)


def _database_bytes(folder: Path) -> int:
    return size_of(folder / FILE_NAME) + size_of(folder / f"{FILE_NAME}-wal")
