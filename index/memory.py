"""The gallery in memory: exact, plain, and the oracle that the other engines are tested against."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from index.errors import GalleryUnavailable
from index.gallery import AddReport, check_batch, check_page, check_search
from index.records import ANY, CameraSummary, Hit, ImageRecord, Where
from index.scoring import SAME_VECTOR, best, cosine
from index.space import EmbeddingSpec, Modality

_BATCH = 1024

_Image = tuple[ImageRecord, NDArray[np.float32]]


class MemoryGallery:
    """A ``Gallery`` that lives as long as its process; every search looks at every image."""

    def __init__(self, spec: EmbeddingSpec) -> None:
        self.spec = spec
        self._images: dict[str, _Image] = {}
        self._lock = RLock()
        self._closed = False

    def add(self, records: Sequence[ImageRecord], vectors: NDArray[np.float32]) -> AddReport:
        """See ``Gallery.add``."""
        rows = check_batch(records, vectors, self.spec)
        added, unchanged, conflicting = [], [], []
        with self._lock:
            self._check_open()
            for record, row in zip(records, rows, strict=True):
                stored = self._images.setdefault(record.image_id, (record, row))
                if stored[1] is row:
                    added.append(record.image_id)
                elif stored[0] == record and cosine(row, stored[1][np.newaxis])[0] >= SAME_VECTOR:
                    unchanged.append(record.image_id)
                else:
                    conflicting.append(record.image_id)
        return AddReport(tuple(added), tuple(unchanged), tuple(conflicting))

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        where: Where = ANY,
        *,
        exact: bool = False,  # noqa: ARG002
    ) -> list[list[Hit]]:
        """See ``Gallery.search``; every search is exact here."""
        units = check_search(queries, k, self.spec)
        records, rows = self._rows(where)
        answers = []
        for query in units:
            scores = cosine(query, rows)
            answers.append([Hit(records[i], float(scores[i])) for i in best(scores, k)])
        return answers

    def vectors(self, where: Where = ANY) -> Iterator[tuple[list[ImageRecord], NDArray[np.float32]]]:
        """See ``Gallery.vectors``."""
        records, rows = self._rows(where)
        for start in range(0, len(records), _BATCH):
            self._check_open()
            yield records[start : start + _BATCH], rows[start : start + _BATCH]

    def records(self, where: Where = ANY) -> Iterator[list[ImageRecord]]:
        """See ``Gallery.records``."""
        for records, _ in self.vectors(where):
            yield records

    def page(self, where: Where, limit: int, before: tuple[datetime, str] | None = None) -> list[ImageRecord]:
        """See ``Gallery.page``."""
        last = check_page(limit, before)
        keyed = [((record.captured_at, record.image_id), record) for record, _ in self._matching(where)]
        left = [one for one in keyed if last is None or one[0] < last]
        return [record for _, record in sorted(left, key=lambda one: one[0], reverse=True)[:limit]]

    def get(self, image_id: str) -> ImageRecord | None:
        """See ``Gallery.get``."""
        with self._lock:
            self._check_open()
            stored = self._images.get(image_id)
        return None if stored is None else stored[0]

    def remove(self, where: Where) -> int:
        """See ``Gallery.remove``."""
        with self._lock:
            leaving = self._matching(where)
            for record, _ in leaving:
                del self._images[record.image_id]
        return len(leaving)

    def count(self, where: Where = ANY) -> int:
        """See ``Gallery.count``."""
        return len(self._matching(where))

    def cameras(self, where: Where = ANY) -> list[CameraSummary]:
        """See ``Gallery.cameras``."""
        moments: dict[tuple[str, Modality], list[datetime]] = {}
        for record, _ in self._matching(where):
            moments.setdefault((record.camera_id, record.modality), []).append(record.captured_at)
        return [
            CameraSummary(camera_id, modality, len(captured), min(captured), max(captured))
            for (camera_id, modality), captured in sorted(moments.items())
        ]

    def close(self) -> None:
        """See ``Gallery.close``."""
        with self._lock:
            self._closed = True
            self._images.clear()

    def _matching(self, where: Where) -> list[_Image]:
        """The images that pass ``where``, in the order of adding."""
        with self._lock:
            self._check_open()
            return [image for image in self._images.values() if where.matches(image[0])]

    def _rows(self, where: Where) -> tuple[list[ImageRecord], NDArray[np.float32]]:
        """The records that pass ``where``, in the order of adding, and their (n, D) unit rows."""
        images = self._matching(where)
        rows = np.array([row for _, row in images], np.float32).reshape(len(images), self.spec.dim)
        return [record for record, _ in images], rows

    def _check_open(self) -> None:
        if self._closed:
            raise GalleryUnavailable("this memory: gallery is closed; open another")
