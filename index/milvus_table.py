"""What a gallery asks of its collection in Milvus: count, read in pages, write, delete, search."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from index.milvus_collection import SESSION, Generation
from index.milvus_connection import Connection
from index.milvus_rows import SCALARS, VECTOR, Row, condition, decoded, encoded, listed
from index.milvus_rows import partitions as partitions_of
from index.records import ANY, Where

STRONG = "Strong"
MOST_ROWS = 16_384
"""Milvus's limit of what one search or one query may give."""
MESSAGE_BYTES = 16 << 20
"""Of vectors in one message; Milvus refuses 64 MiB."""
EVERYTHING = [*SCALARS, VECTOR]

_T = TypeVar("_T")


class Table:
    """The rows of one generation of a gallery.

    Args:
        connection: To Milvus.
        generation: Whose rows.
    """

    def __init__(self, connection: Connection, generation: Generation) -> None:
        self.generation = generation
        self.page_rows = max(1, min(1024, MESSAGE_BYTES // (4 * generation.spec.dim)))
        self._connection = connection

    def count(self, where: Where, level: str = SESSION) -> int:
        """How many rows pass ``where``."""
        expression = condition(where)
        if expression is None:
            return 0
        if where.modality is not None and not expression:
            expression = "position >= 0"  # without any, milvus-lite counts the other partition too
        (found,) = self._query(expression, ["count(*)"], level, partitions_of(where))
        return int(found["count(*)"])

    def pages(
        self, where: Where, fields: Sequence[str], level: str = SESSION, *, beyond: int = 0
    ) -> Iterator[list[dict[str, Any]]]:
        """The columns of every row that passes ``where``, by ``image_id`` as stored, never all at once.

        Args:
            where: The filter.
            fields: Which columns.
            level: Of consistency.
            beyond: Only rows of a position above this one.
        """
        expression, last = condition(where), ""
        if expression is not None and beyond:
            expression = " and ".join([*filter(None, [expression]), f"position > {beyond}"])
        size = self.page_rows if VECTOR in fields else MOST_ROWS
        while expression is not None:
            after = f'image_id > "{last}"'
            found = self._query(
                f"{expression} and {after}" if expression else after,
                ["image_id", *(name for name in fields if name != "image_id")],
                level,
                partitions_of(where),
                limit=size,
            )
            if found:
                yield found
            if len(found) < size:
                return
            last = max(columns["image_id"] for columns in found)

    def rows(
        self,
        ids: Collection[str],
        level: str = SESSION,
        fields: Sequence[str] = EVERYTHING,
        partition: str | None = None,
    ) -> list[Row]:
        """The rows of these stored ids, in the order of adding; with a vector if it is among ``fields``.

        Args:
            ids: Which, as stored.
            level: Of consistency.
            fields: Which columns.
            partition: Only in this one; ``None`` for all.
        """
        partitions = None if partition is None else [partition]
        found = [
            decoded(columns)
            for some in _chunks(ids, self.page_rows)
            for columns in self._query(f"image_id in {listed(some)}", fields, level, partitions)
        ]
        return sorted(found, key=lambda row: row.order)

    def write(self, rows: Sequence[Row]) -> None:
        """Put rows in the place of those with the same ids; each call of Milvus holds whole or not at all."""
        by_modality = sorted(rows, key=lambda row: row.record.modality)
        for modality, group in groupby(by_modality, key=lambda row: row.record.modality):
            for some in _chunks(map(encoded, group), self.page_rows):
                self._connection.call(
                    "upsert", self.generation.name, list(some), partition_name=modality.value
                )

    def delete(self, ids: Collection[str], partition: str | None = None) -> None:
        """Remove the rows of these stored ids; when this returns, this process reads none of them.

        Args:
            ids: Which, as stored.
            partition: Only in this one; ``None`` for all.
        """
        for some in _chunks(ids, MOST_ROWS):
            self._connection.call(
                "delete", self.generation.name, filter=f"image_id in {listed(some)}", partition_name=partition
            )
        if ids and self._connection.is_file:
            # milvus-lite forgets that a row of an earlier start is gone once its id is written elsewhere.
            self._connection.call("flush", self.generation.name)
        if ids:
            # Milvus counts a delete among the writes that a session sees only some time after.
            self.count(ANY, STRONG)

    def by_partition(self, ids: Collection[str]) -> Iterator[tuple[str, set[str]]]:
        """Each partition, and which of these stored ids it holds.

        An upsert replaces within its partition only, so two processes may leave one id in both.
        """
        for partition in partitions_of(ANY):
            found = (
                self._query(f"image_id in {listed(some)}", ["image_id"], SESSION, [partition])
                for some in _chunks(ids, MOST_ROWS)
            )
            yield partition, {columns["image_id"] for page in found for columns in page}

    def nearest(
        self, queries: NDArray[np.float32], fetch: int, where: Where, cells: int, fields: Sequence[str]
    ) -> list[list[tuple[float, dict[str, Any]]]]:
        """For each query Milvus's own inner product and the columns of the ``fetch`` nearest rows.

        Args:
            queries: (Q, D) unit rows.
            fetch: How many, at most ``MOST_ROWS``.
            where: The filter.
            cells: How many cells of an IVF index are looked through.
            fields: Which columns.
        """
        found = self._connection.call(
            "search",
            self.generation.name,
            data=list(queries),
            anns_field=VECTOR,
            filter=condition(where) or "",
            limit=fetch,
            output_fields=list(fields),
            search_params={"metric_type": "IP", "params": {"nprobe": cells}},
            partition_names=partitions_of(where),
            consistency_level=SESSION,
        )
        return [[(hit["distance"], dict(hit["entity"])) for hit in hits] for hits in found]

    def _query(
        self,
        expression: str,
        fields: Sequence[str],
        level: str,
        partitions: list[str] | None = None,
        **options: Any,
    ) -> list[dict[str, Any]]:
        found = self._connection.call(
            "query",
            self.generation.name,
            filter=expression,
            output_fields=list(fields),
            partition_names=partitions or partitions_of(ANY),
            consistency_level=level,
            **options,
        )
        return [dict(columns) for columns in found]


def _chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
