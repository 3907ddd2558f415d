"""The embedded gallery: FAISS in memory over what SQLite holds on the disk."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from index.embedded.locks import SharedLock
from index.embedded.store import Store
from index.embedded.vectors import VectorIndex
from index.errors import GalleryUnavailable
from index.gallery import AddReport, check_batch, check_search
from index.records import ANY, CameraSummary, Hit, ImageRecord, Where
from index.scoring import SAME_VECTOR, cosine
from index.space import EmbeddingSpec


class EmbeddedGallery:
    """A ``Gallery`` of one machine: durable in SQLite, searched in memory, written by one process.

    Args:
        folder: Holds ``gallery.sqlite3``; made where it is not.
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
        self._index = VectorIndex(spec.dim)
        self._store = Store(folder, spec, read_only=read_only)
        with self._closing_on_failure():
            for positions, rows in self._store.load():
                self._index.append(positions, rows)

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
            self._close()

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
