"""How good a ranking is: CMC, mean average precision and mean inverse negative penalty."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.errors import InvalidInput
from index.protocols import CmcUnit, Protocol, camera_number

_CHUNK_ELEMENTS = 1 << 21
"""Scores ranked at once: about 60 MB of work arrays."""

Labels = Sequence[int] | Sequence[str] | NDArray[Any]


@dataclass(frozen=True, slots=True)
class RankingMetrics:
    """How well every query's ranking puts its own identity first; queries without a match do not count.

    Attributes:
        cmc: (L,) float64 in [0, 1]; ``cmc[k - 1]`` is the share of queries with a match within rank
            k. L is the number of gallery images, or, where the protocol counts identities, of
            distinct gallery identities.
        mean_ap: Mean average precision over images, in [0, 1]: the mean of precision at each match.
        mean_inp: Mean inverse negative penalty, in [0, 1]: matches / rank of the last match
            (Ye et al., TPAMI 2021).
        valid_queries: The queries that have a match in their gallery.
    """

    cmc: NDArray[np.float64]
    mean_ap: float
    mean_inp: float
    valid_queries: int

    def rank(self, k: int) -> float:
        """The rank-k rate, ``k`` from 1; past the end of the gallery it is that of the last rank."""
        return float(self.cmc[min(k, len(self.cmc)) - 1])


def evaluate_ranking(
    similarity: ArrayLike,
    query_ids: Labels,
    gallery_ids: Labels,
    query_cameras: Labels,
    gallery_cameras: Labels,
    protocol: Protocol,
) -> RankingMetrics:
    """Score the ranking of a gallery by its similarity to each query.

    A ranking is by similarity descending, ties by gallery position.

    Args:
        similarity: (Q, G) real, finite; higher is more similar.
        query_ids: (Q,) identities, whole numbers or strings, of one kind with ``gallery_ids``.
        gallery_ids: (G,) identities.
        query_cameras: (Q,) cameras; read only where the protocol has camera rules, then ``3``,
            ``"3"`` and ``"cam3"`` are one camera.
        gallery_cameras: (G,) cameras.
        protocol: What is dropped, and what CMC counts.

    Raises:
        InvalidInput: Shapes disagree, a similarity is not finite, labels are of another kind, or
            no query has a match, so there is nothing to average.
    """
    scores = np.asarray(similarity)
    if scores.dtype.kind not in "iuf":
        raise InvalidInput(f"similarity must be real numbers, got dtype {scores.dtype}")
    rankings = Rankings(query_ids, gallery_ids, query_cameras, gallery_cameras, protocol)
    if scores.shape != rankings.shape:
        raise InvalidInput(
            f"similarity must be (queries, gallery) = {rankings.shape} to match the ids, got {scores.shape}"
        )
    for rows in rankings.chunks():
        rankings.score(rows, scores[rows])
    return rankings.metrics()


class Rankings:
    """Scores the queries of one gallery some at a time, so that (Q, G) scores need not fit in memory.

    Hand each slice of ``chunks()`` to ``score`` once, then ask for ``metrics()``.

    Args:
        query_ids: (Q,) as in ``evaluate_ranking``, as are the rest.
        gallery_ids: (G,).
        query_cameras: (Q,).
        gallery_cameras: (G,).
        protocol: What is dropped, and what CMC counts.

    Raises:
        InvalidInput: No query or no gallery image, lengths disagree, or labels are of another kind.
    """

    def __init__(
        self,
        query_ids: Labels,
        gallery_ids: Labels,
        query_cameras: Labels,
        gallery_cameras: Labels,
        protocol: Protocol,
    ) -> None:
        self.protocol = protocol
        self._query_ids, self._gallery_ids = _identity_codes(query_ids, gallery_ids)
        self.shape = (len(self._query_ids), len(self._gallery_ids))
        self._query_cameras = _cameras(query_cameras, "query", self.shape[0], protocol)
        self._gallery_cameras = _cameras(gallery_cameras, "gallery", self.shape[1], protocol)
        self._by_identity = np.argsort(self._gallery_ids, kind="stable")
        self._identities, self._starts = np.unique(self._gallery_ids[self._by_identity], return_index=True)
        self._length = self.shape[1] if protocol.cmc_unit is CmcUnit.IMAGES else len(self._identities)
        self._first_hits = np.zeros(self._length, dtype=np.int64)
        self._sum_ap = 0.0
        self._sum_inp = 0.0
        self._scored = 0

    def chunks(self) -> Iterator[slice]:
        """Slices that cover the queries, each small enough to rank at once."""
        step = max(1, _CHUNK_ELEMENTS // self.shape[1])
        for start in range(0, self.shape[0], step):
            yield slice(start, min(start + step, self.shape[0]))

    def score(self, rows: slice, similarity: NDArray[Any]) -> None:
        """Rank the gallery for some queries and count the result in.

        Args:
            rows: A slice of ``chunks()``.
            similarity: (n, G) real, those queries' similarity to every gallery image.

        Raises:
            InvalidInput: A similarity is not finite.
        """
        if not np.isfinite(similarity).all():
            raise InvalidInput("similarity must be finite; got NaN or infinity")
        stays, right = self._masks(rows)
        valid = right.any(axis=1)
        # Dropped images go last, so the position in the ranking is the rank among those that stay.
        distance = np.where(stays, -_as_float(similarity), np.inf)[valid]
        order = np.argsort(distance, axis=1, kind="stable")
        hits = np.take_along_axis(right[valid], order, axis=1)
        matches = hits.sum(axis=1)
        query, position = np.nonzero(hits)
        precision = (np.arange(len(query)) - np.repeat(np.cumsum(matches) - matches, matches) + 1) / (
            position + 1
        )
        self._sum_ap += float((np.bincount(query, weights=precision, minlength=len(matches)) / matches).sum())
        self._sum_inp += float((matches / (position[np.cumsum(matches) - 1] + 1)).sum())
        first = hits.argmax(axis=1)
        if self.protocol.cmc_unit is CmcUnit.IDENTITIES:
            first = self._identities_before(order, first)
        self._first_hits += np.bincount(first, minlength=self._length)
        self._scored += len(matches)

    def metrics(self) -> RankingMetrics:
        """The metrics over all queries scored.

        Raises:
            InvalidInput: No query has a match.
        """
        if not self._scored:
            raise InvalidInput(
                f"none of {self.shape[0]} queries has a match among {self.shape[1]} gallery images under "
                f"{self.protocol.name}: the two need identities in common"
            )
        return RankingMetrics(
            cmc=np.cumsum(self._first_hits) / self._scored,
            mean_ap=self._sum_ap / self._scored,
            mean_inp=self._sum_inp / self._scored,
            valid_queries=self._scored,
        )

    def chance(self) -> tuple[int, float]:
        """How many queries have a match, and the rank-1 rate to expect of a random ranking of them.

        The first image of a random ranking is right with probability matches / images that stay.
        Without a valid query the rate is 0.
        """
        valid, total = 0, 0.0
        for rows in self.chunks():
            stays, right = self._masks(rows)
            matches, images = right.sum(axis=1), stays.sum(axis=1)
            valid += int(np.count_nonzero(matches))
            total += float((matches / np.maximum(images, 1)).sum())
        return valid, total / max(valid, 1)

    def _masks(self, rows: slice) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(n, G) each: the images that stay in these queries' rankings, and those of them that match."""
        same = self._query_ids[rows, None] == self._gallery_ids[None, :]
        stays = self.protocol.admitted(same, self._query_cameras[rows], self._gallery_cameras)
        return stays, same & stays

    def _identities_before(self, order: NDArray[np.intp], first: NDArray[np.intp]) -> NDArray[np.intp]:
        """How many identities stand before position ``first`` (n,) of the ranking ``order`` (n, G)."""
        position = np.empty_like(order)
        np.put_along_axis(position, order, np.arange(order.shape[1])[None, :], axis=1)
        best = np.minimum.reduceat(position[:, self._by_identity], self._starts, axis=1)
        before: NDArray[np.intp] = np.count_nonzero(best < first[:, None], axis=1)
        return before


def _as_float(scores: NDArray[Any]) -> NDArray[Any]:
    """Floating point of no less precision, so that a sign and an infinity fit."""
    return scores if scores.dtype.kind == "f" else scores.astype(np.float64)


def _identity_codes(query_ids: Labels, gallery_ids: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    queries, gallery = _labels(query_ids, "query_ids"), _labels(gallery_ids, "gallery_ids")
    if queries.dtype.kind != gallery.dtype.kind:
        raise InvalidInput(
            'query_ids and gallery_ids must both be numbers or both strings; 6 and "0006" never match'
        )
    _, codes = np.unique(np.concatenate([queries, gallery]), return_inverse=True)
    return codes[: len(queries)].astype(np.int64), codes[len(queries) :].astype(np.int64)


def _labels(labels: Labels, name: str) -> NDArray[Any]:
    """(N,) int64 or str."""
    values = list(labels)
    if not values:
        raise InvalidInput(f"{name} is empty; a ranking needs at least one query and one gallery image")
    if all(isinstance(value, str) for value in values):
        return np.asarray(values, dtype=np.str_)
    if all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in values):
        return np.asarray(values, dtype=np.int64)
    raise InvalidInput(f"{name} must be all whole numbers or all strings, got {values[:3]!r}")


def _cameras(cameras: Labels, name: str, expected: int, protocol: Protocol) -> NDArray[np.int64]:
    """(N,) camera numbers; zeros where the protocol never looks at them."""
    if len(cameras) != expected:
        raise InvalidInput(f"{name}_cameras must be as many as {name}_ids ({expected}), got {len(cameras)}")
    if not protocol.numbers_cameras:
        return np.zeros(expected, dtype=np.int64)
    numbers = {camera: camera_number(camera) for camera in set(cameras)}
    return np.fromiter((numbers[camera] for camera in cameras), dtype=np.int64, count=expected)
