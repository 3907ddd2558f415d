"""Search in Milvus: candidates by its index, scores and ranks by the rule of all engines."""

from dataclasses import replace
from heapq import nsmallest

import numpy as np
from numpy.typing import NDArray

from index.milvus_address import MilvusIndex
from index.milvus_collection import CELLS
from index.milvus_rows import SCALARS, VECTOR, Row, condition, decoded, text
from index.milvus_table import MESSAGE_BYTES, MOST_ROWS, Table
from index.records import ANY, Hit, Where
from index.scoring import best, cosine

_SPARE = 32
_SOME_CELLS = CELLS // 4
"""Looked through where no filter but the modality is asked; measured in docs/scale.md."""

_Candidate = tuple[float, Row]


def search(
    table: Table, queries: NDArray[np.float32], k: int, where: Where, *, exact: bool
) -> list[list[Hit]]:
    """See ``Gallery.search``.

    Args:
        table: Whose rows.
        queries: (Q, D) unit rows.
        k: At least 1.
        where: The filter.
        exact: Look through every cell of an IVF index.
    """
    if condition(where) is None:
        return [[] for _ in queries]
    if exact or table.generation.index is MilvusIndex.FLAT or replace(where, modality=None) != ANY:
        # An index that looks at some cells finds few of the images that a filter leaves.
        cells = CELLS
    else:
        cells = _SOME_CELLS
    row_bytes = 4 * table.generation.spec.dim
    at_once = max(1, MESSAGE_BYTES // (row_bytes * (k + _SPARE)))
    return [
        hits
        for start in range(0, len(queries), at_once)
        for hits in _search(table, queries[start : start + at_once], k, where, cells)
    ]


def _search(table: Table, queries: NDArray[np.float32], k: int, where: Where, cells: int) -> list[list[Hit]]:
    answers: list[list[Hit]] = [[] for _ in queries]
    pending = list(range(len(queries)))
    fetch = k + _SPARE
    while pending and fetch <= MOST_ROWS:
        found = _candidates(table, queries[pending], fetch, where, cells)
        left = []
        for i, candidates in zip(pending, found, strict=True):
            if _settled(candidates, k, fetch, cells, table.generation.spec.dim):
                answers[i] = _ranked(queries[i], [row for _, row in candidates], k)
            else:
                left.append(i)
        pending = left
        fetch, cells = fetch * 2, CELLS
    for i in pending:
        answers[i] = _scanned(table, queries[i], k, where)
    return answers


def _candidates(
    table: Table, queries: NDArray[np.float32], fetch: int, where: Where, cells: int
) -> list[list[_Candidate]]:
    """For each query Milvus's score and the row of the ``fetch`` nearest, by that score descending."""
    small = len(queries) * fetch * 4 * table.generation.spec.dim <= MESSAGE_BYTES
    fields = [*SCALARS, VECTOR] if small else ["image_id"]
    found = table.nearest(queries, fetch, where, cells, fields)
    if small:
        return [[(score, decoded(columns)) for score, columns in hits] for hits in found]
    ids = {columns["image_id"] for hits in found for _, columns in hits}
    rows = {text(row.record.image_id): row for row in table.rows(ids)}
    return [
        [(score, rows[columns["image_id"]]) for score, columns in hits if columns["image_id"] in rows]
        for hits in found
    ]


def _settled(candidates: list[_Candidate], k: int, fetch: int, cells: int, dim: int) -> bool:
    """Whether the ``k`` best are among the candidates whatever Milvus's rounding did."""
    if len(candidates) < fetch:
        return cells == CELLS
    margin = (dim + 1) * 2.0**-23
    return candidates[-1][0] < candidates[k - 1][0] - margin


def _ranked(query: NDArray[np.float32], rows: list[Row], k: int) -> list[Hit]:
    if not rows:
        return []
    ordered = sorted(rows, key=lambda row: row.order)
    scores = cosine(query, np.stack([row.vector for row in ordered]))
    return [Hit(ordered[i].record, float(scores[i])) for i in best(scores, k)]


def _scanned(table: Table, query: NDArray[np.float32], k: int, where: Where) -> list[Hit]:
    """Compare with every row that passes; for a boundary of more equal scores than Milvus can give."""
    kept: list[_Candidate] = []
    for page in table.pages(where, [*SCALARS, VECTOR]):
        rows = [decoded(columns) for columns in page]
        scores = cosine(query, np.stack([row.vector for row in rows]))
        scored = zip(scores.tolist(), rows, strict=True)
        kept = nsmallest(k, [*kept, *scored], key=lambda one: (-one[0], one[1].order))
    return [Hit(row.record, score) for score, row in kept]
