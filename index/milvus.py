"""The gallery in Milvus: many machines, several servers, one collection."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from index.errors import GalleryUnavailable
from index.gallery import AddReport, check_batch, check_page, check_search, check_spec
from index.milvus_address import MilvusAddress
from index.milvus_cameras import CameraBook
from index.milvus_collection import SESSION, Generation, begin, current, leaving, load, unsettled
from index.milvus_connection import Connection
from index.milvus_rows import SCALARS, Row, decoded, text
from index.milvus_rows import partitions as partitions_of
from index.milvus_search import search
from index.milvus_table import STRONG, Table
from index.records import ANY, CameraSummary, Hit, ImageRecord, Where
from index.scoring import SAME_VECTOR, cosine
from index.space import EmbeddingSpec

_TICK = timedelta(microseconds=1)
_EARLIEST, _LATEST = (moment.replace(tzinfo=UTC) for moment in (datetime.min, datetime.max))
_ENOUGH = 4096
"""Records that are read at once rather than fewer sought by counting."""


class MilvusGallery:
    """A ``Gallery`` in Milvus, or in a file of milvus-lite; several processes may write one.

    Two things differ from a gallery on one disk. A call of ``add`` that fails half-way may have stored a
    part of its images; the same call made again stores the rest. And where two processes add two different
    images under one id within the same moment, one of the two stays; each process is told what it saw
    stand after its own writing. If the later of them dies before it looks, two of different modalities stand
    until their id is added again.

    Reads see what this process wrote, and what others wrote up to a fraction of a second ago.

    Args:
        address: Where it lies.
        spec: Of the encoder in use.
        read_only: Refuse ``add`` and ``remove``, and begin no gallery.
        generation: This collection, whichever the gallery's alias names; for ``reindex``.

    Raises:
        EncoderMismatch: The gallery holds vectors of another encoder.
        GalleryUnreachable: Milvus does not answer.
        GalleryUnavailable: Milvus refuses, or ``read_only`` was asked where no gallery is.
    """

    def __init__(
        self,
        address: MilvusAddress,
        spec: EmbeddingSpec,
        *,
        read_only: bool = False,
        generation: Generation | None = None,
    ) -> None:
        self.spec = spec
        self._address = address
        self._pinned = generation is not None
        self._read_only = read_only
        self._closed = False
        self._writing = Lock()
        self._last_position = 0
        self._connection = Connection(address)
        try:
            generation = generation or self._find_or_begin()
            # milvus-lite, and a server's operator, may have taken it out of memory.
            load(self._connection, generation)
            check_spec(generation.spec, spec)
            self._table = Table(self._connection, generation)
            self._cameras = CameraBook(self._table)
            # What others acknowledged before now is seen from here on.
            self._table.count(ANY, STRONG)
        except BaseException:
            self.close()
            raise

    def add(self, records: Sequence[ImageRecord], vectors: NDArray[np.float32]) -> AddReport:
        """See ``Gallery.add``, and above."""
        units = check_batch(records, vectors, self.spec)
        with self._writing:
            self._check_writable()
            standing = self._find(records, STRONG)
            fresh = [
                Row(record, self._next_position(), unit)
                for record, unit in zip(records, units, strict=True)
                if record.image_id not in standing
            ]
            if fresh:
                self._table.write(fresh)
            # Those that stand, too: who wrote them may have ended before settling.
            if self._settle(records) or fresh:
                # The one that settling leaves comes last, since another process may have written since.
                for partition in reversed(partitions_of(ANY)):
                    standing |= self._find(records, partition=partition)
        positions = {row.record.image_id: row.position for row in fresh}
        return _report(records, units, standing, positions)

    def search(
        self, queries: NDArray[np.float32], k: int, where: Where = ANY, *, exact: bool = False
    ) -> list[list[Hit]]:
        """See ``Gallery.search``; with the index FLAT every search is exact."""
        units = check_search(queries, k, self.spec)
        self._check_open()
        return search(self._table, units, k, where, exact=exact)

    def vectors(self, where: Where = ANY) -> Iterator[tuple[list[ImageRecord], NDArray[np.float32]]]:
        """See ``Gallery.vectors``."""
        for ids in self._in_order(where):
            if rows := self._table.rows(ids):
                yield [row.record for row in rows], np.stack([row.vector for row in rows])

    def records(self, where: Where = ANY) -> Iterator[list[ImageRecord]]:
        """See ``Gallery.records``."""
        for ids in self._in_order(where):
            if rows := self._table.rows(ids, fields=SCALARS):
                yield [row.record for row in rows]

    def page(self, where: Where, limit: int, before: tuple[datetime, str] | None = None) -> list[ImageRecord]:
        """See ``Gallery.page``; Milvus orders nothing, so a window of time is sought that holds enough."""
        last = check_page(limit, before)
        self._check_open()
        needed = limit
        if last is not None:
            end = min(where.before or _LATEST, last[0] + _TICK if last[0] < _LATEST else _LATEST)
            where = where if last[0] == _LATEST else replace(where, before=end)
            # Of the images of the last record's very instant, some came before it.
            needed += self._table.count(replace(where, after=max(where.after or _EARLIEST, last[0])))
        records = [
            decoded(columns).record
            for page in self._table.pages(self._newest(where, needed), SCALARS)
            for columns in page
        ]
        keyed = [((record.captured_at, record.image_id), record) for record in records]
        left = [one for one in keyed if last is None or one[0] < last]
        return [record for _, record in sorted(left, key=lambda one: one[0], reverse=True)[:limit]]

    def get(self, image_id: str) -> ImageRecord | None:
        """See ``Gallery.get``."""
        self._check_open()
        rows = self._table.rows([text(image_id)])
        return rows[0].record if rows else None

    def remove(self, where: Where) -> int:
        """See ``Gallery.remove``."""
        with self._writing:
            self._check_writable()
            pages = self._table.pages(where, ["image_id"], STRONG)
            ids = [columns["image_id"] for page in pages for columns in page]
            self._table.delete(ids)
        return len(ids)

    def count(self, where: Where = ANY) -> int:
        """See ``Gallery.count``."""
        self._check_open()
        return self._table.count(where)

    def cameras(self, where: Where = ANY) -> list[CameraSummary]:
        """See ``Gallery.cameras``."""
        self._check_open()
        return self._cameras.summaries(where)

    def close(self) -> None:
        """See ``Gallery.close``."""
        self._closed = True
        self._connection.close()

    def _in_order(self, where: Where) -> Iterator[list[str]]:
        """The stored ids of what passes ``where``, in the order of adding, as many as one page holds."""
        self._check_open()
        order = sorted(
            (columns["position"], columns["image_id"])
            for page in self._table.pages(where, ["image_id", "position"])
            for columns in page
        )
        for start in range(0, len(order), self._table.page_rows):
            self._check_open()
            yield [ids for _, ids in order[start : start + self._table.page_rows]]
        self._check_open()

    def _find_or_begin(self) -> Generation:
        found = current(self._connection, self._address)
        if found is not None:
            if not self._read_only and leaving(self._connection, self._address) is not None:
                raise unsettled(self._address, found.spec)
            return found
        if self._read_only:
            raise GalleryUnavailable(f"there is no gallery at {self._address}; ingest images into it first")
        return begin(self._connection, self._address, self.spec)

    def _find(
        self, records: Sequence[ImageRecord], level: str = SESSION, partition: str | None = None
    ) -> dict[str, Row]:
        """What is stored under the ids of these records; of a row in each partition, Milvus gives either."""
        rows = self._table.rows([text(record.image_id) for record in records], level, partition=partition)
        return {row.record.image_id: row for row in rows}

    def _settle(self, records: Sequence[ImageRecord]) -> bool:
        """Leave one row of each id that processes wrote into both partitions; whether there was such.

        Every process leaves that of the first partition, so that no two can remove both whoever wrote when;
        it sees all that was written before its own rows, so the later of two sees both.
        """
        seen: set[str] = set()
        settled = False
        for partition, ids in self._table.by_partition([text(record.image_id) for record in records]):
            self._table.delete(seen & ids, partition)
            settled |= not seen.isdisjoint(ids)
            seen |= ids
        return settled

    def _newest(self, where: Where, needed: int) -> Where:
        """``where`` from such an instant on that it leaves ``needed`` images or all, and not many more."""
        low, high = where.after or _EARLIEST, where.before or _LATEST
        if self._table.count(where) <= max(_ENOUGH, needed):
            return where
        while high - low > _TICK:
            middle = low + (high - low) // 2
            count = self._table.count(replace(where, after=middle))
            if count < needed:
                high = middle
            else:
                low = middle
                if count <= max(_ENOUGH, 2 * needed):
                    break
        return replace(where, after=low)

    def _next_position(self) -> int:
        """Microseconds since 1970, and more than the last one given here."""
        self._last_position = max(self._last_position + 1, time.time_ns() // 1000)
        return self._last_position

    def _check_open(self) -> None:
        if self._closed:
            raise GalleryUnavailable(f"the gallery {self._address} is closed; open it again")

    def _check_writable(self) -> None:
        """Refuse to write into a generation that the gallery has left.

        Raises:
            GalleryUnavailable: Closed, read-only, or another encoder's vectors have taken its place.
        """
        self._check_open()
        if self._read_only:
            raise GalleryUnavailable(f"the gallery {self._address} was opened read-only and takes no write")
        if self._pinned:
            return
        now = current(self._connection, self._address)
        if now is None or now.name != self._table.generation.name:
            held = "is dropped" if now is None else f"holds vectors of encoder {now.spec.encoder} now"
            raise GalleryUnavailable(
                f"the gallery {self._address} {held}; start this server again with the gallery's encoder"
            )


def read_milvus_spec(address: MilvusAddress) -> EmbeddingSpec | None:
    """The spec of the gallery at ``address``, ``None`` where none has been begun.

    Raises:
        GalleryUnreachable: Milvus does not answer.
        GalleryUnavailable: The name is taken by a collection that is no gallery.
    """
    connection = Connection(address)
    try:
        found = current(connection, address)
    finally:
        connection.close()
    return None if found is None else found.spec


def _report(
    records: Sequence[ImageRecord],
    units: NDArray[np.float32],
    standing: dict[str, Row],
    positions: dict[str, int],
) -> AddReport:
    """What became of each image, by what stands now and by the positions that this call gave."""
    added, unchanged, conflicting = [], [], []
    for record, unit in zip(records, units, strict=True):
        row = standing.get(record.image_id)
        if row is not None and row.position == positions.get(record.image_id) and row.record == record:
            added.append(record.image_id)
        elif row is not None and row.record == record and _same_vector(unit, row.vector):
            unchanged.append(record.image_id)
        else:
            conflicting.append(record.image_id)
    return AddReport(tuple(added), tuple(unchanged), tuple(conflicting))


def _same_vector(offered: NDArray[np.float32], stored: NDArray[np.float32]) -> bool:
    return bool(cosine(offered, stored[np.newaxis])[0] >= SAME_VECTOR)
