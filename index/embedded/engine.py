"""The embedded gallery: FAISS in memory over what SQLite holds on the disk."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from index.embedded.index_file import drop_index_file, read_index_file, write_index_file
from index.embedded.locks import SharedLock
from index.embedded.store import Store
from index.embedded.vectors import VectorIndex
from index.errors import GalleryUnavailable, IndexFileUnusable
from index.gallery import AddReport, check_batch, check_search
from index.records import ANY, CameraSummary, Hit, ImageRecord, Where
from index.scoring import SAME_VECTOR, cosine
from index.space import EmbeddingSpec

log = logging.getLogger(__name__)

_WORTH_SAVING = 10_000
"""From so many changed vectors on, an index file saves a start more time than it costs an end."""


class EmbeddedGallery:
    """A ``Gallery`` of one machine: durable in SQLite, searched in memory, written by one process.

    Args:
        folder: Holds ``gallery.sqlite3`` and, once the gallery is large, ``index.faiss``; made where it
            is not.
        spec: Of the encoder in use.
        read_only: Open beside a running writer, and see the gallery as it was at that moment.

    Raises:
        EncoderMismatch: The gallery holds vectors of another encoder.
        GalleryUnavailable: It cannot be read or written, another process writes it, or ``read_only``
            was asked where no gallery is.
    """

    def __init__(self, folder: Path, spec: EmbeddingSpec, *, read_only: bool = False) -> None:
        self.spec = spec
        self._folder = folder
        self._closed = False
        self._writing = Lock()
        self._index_lock = SharedLock()
        self._read_only = read_only
        self._store = Store(folder, spec, read_only=read_only)
        with self._closing_on_failure():
            self._index, self._unsaved = self._load()

    def add(self, records: Sequence[ImageRecord], vectors: NDArray[np.float32]) -> AddReport:
        """See ``Gallery.add``."""
        rows = check_batch(records, vectors, self.spec)
        added, unchanged, conflicting = [], [], []
        with self._writing:
            self._check_open()
            stored = self._store.find([record.image_id for record in records])
            for i, record in enumerate(records):
                if record.image_id not in stored:
                    added.append(i)
                elif _same(stored[record.image_id], (record, rows[i])):
                    unchanged.append(i)
                else:
                    conflicting.append(i)
            positions = self._store.insert([records[i] for i in added], rows[added])
            with self._closing_on_failure(), self._index_lock.exclusive():
                self._index.append(positions, rows[added])
                self._unsaved += len(added)
        ids = [[records[i].image_id for i in group] for group in (added, unchanged, conflicting)]
        return AddReport(*map(tuple, ids))

    def search(self, queries: NDArray[np.float32], k: int, where: Where = ANY) -> list[list[Hit]]:
        """See ``Gallery.search``."""
        units = check_search(queries, k, self.spec)
        with self._index_lock.shared():
            self._check_open()
            among = None if where == ANY else self._store.positions(where)
            found = self._index.search(units, k, among)
            records = self._store.records({position for row in found for position, _ in row})
        return [[Hit(records[position], score) for position, score in row] for row in found]

    def vectors(self, where: Where = ANY) -> Iterator[tuple[list[ImageRecord], NDArray[np.float32]]]:
        """See ``Gallery.vectors``."""
        self._check_open()
        for page in self._store.pages(where):
            yield page
            self._check_open()

    def get(self, image_id: str) -> ImageRecord | None:
        """See ``Gallery.get``."""
        self._check_open()
        stored = self._store.find([image_id]).get(image_id)
        return None if stored is None else stored[0]

    def remove(self, where: Where) -> int:
        """See ``Gallery.remove``."""
        with self._writing, self._index_lock.exclusive():
            self._check_open()
            positions = self._store.positions(where)
            if len(positions):
                # The file holds what is removed, which may stay in no file.
                self._drop_index_file()
                self._unsaved = len(self._index.positions)
            self._store.delete(positions)
            with self._closing_on_failure():
                self._index.remove(positions)
        return len(positions)

    def count(self, where: Where = ANY) -> int:
        """See ``Gallery.count``."""
        self._check_open()
        return self._store.count(where)

    def cameras(self) -> list[CameraSummary]:
        """See ``Gallery.cameras``."""
        self._check_open()
        return self._store.cameras()

    def close(self) -> None:
        """See ``Gallery.close``."""
        with self._writing, self._index_lock.exclusive():
            try:
                if not self._closed and not self._read_only and self._unsaved >= _WORTH_SAVING:
                    self._save()
            finally:
                self._close()

    def _load(self) -> tuple[VectorIndex, int]:
        """The vectors that SQLite holds, and how many of them differ from what the index file holds."""
        try:
            index = read_index_file(self._folder, self.spec, self._store.index_token())
        except IndexFileUnusable as error:
            log.warning("%s; the index is made anew from SQLite", error)
            self._drop_index_file()
            index = None
        index = index or VectorIndex(self.spec.dim)
        saved = len(index.positions)
        left = np.setdiff1d(index.positions, self._store.positions(ANY), assume_unique=True)
        if len(left):
            index.remove(left)
            self._drop_index_file()
            saved = 0
        last = int(index.positions[-1]) if len(index.positions) else 0
        for positions, rows in self._store.load(after=last):
            index.append(positions, rows)
        return index, len(index.positions) - saved

    def _save(self) -> None:
        """Write the index file; a gallery without one is as good, but starts more slowly."""
        try:
            self._store.set_index_token(write_index_file(self._folder, self.spec, self._index))
        except GalleryUnavailable as error:
            log.warning("%s; the next start reads every vector from SQLite", error)

    def _drop_index_file(self) -> None:
        if not self._read_only:
            drop_index_file(self._folder)

    def _close(self) -> None:
        self._closed = True
        self._store.close()

    @contextmanager
    def _closing_on_failure(self) -> Iterator[None]:
        """Close the gallery if the index could not follow the disk; opening it again rebuilds the index."""
        try:
            yield
        except BaseException:
            self._close()
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise GalleryUnavailable(f"the gallery {self._folder} is closed; open it again")


def _same(
    stored: tuple[ImageRecord, NDArray[np.float32]], offered: tuple[ImageRecord, NDArray[np.float32]]
) -> bool:
    return stored[0] == offered[0] and bool(cosine(offered[1], stored[1][np.newaxis])[0] >= SAME_VECTOR)
