"""Searching a gallery in memory: who plans a query, what is looked at, and how the best are chosen.

Whatever the plan, the candidates are scored again by the durable vectors with the rule that all engines
share, so a score never depends on the plan; a compressed search may only miss an image.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.embedded.columns import RowFilter, is_among
from index.embedded.optional_faiss import faiss
from index.embedded.segments import SPARE, Candidates, Coded, Flat, Segment, contenders
from index.scoring import best, cosine

Fetch = Callable[[NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.float32]]]
"""From ascending positions to those that are stored and their (n, D) unit rows."""

Ranked = list[tuple[int, float]]
"""Positions and cosines, by cosine descending, then position."""

_SHALLOW = 64
_FEW = 0.1
_SOME = 0.25
_USUAL = 4.0
_HALF_SURE = 1.3
_MOST = 0.08
_MANY = 0.16
_FIRST = 16
_SPARE_SHARE = 4


class Plan(StrEnum):
    """How a query is answered."""

    EXACT = "exact"
    COMPRESSED = "compressed"


@dataclass(frozen=True, slots=True)
class Limits:
    """From which sizes on what is done; in numbers, so vectors times D, but where it says images.

    Attributes:
        flat: A gallery up to this is held as it is.
        seal: So much that is new is coded at once.
        segment: Most images of one coded segment.
        exact: So much is compared one by one.
    """

    flat: int = 1 << 22
    seal: int = 1 << 21
    segment: int = 1 << 18
    exact: int = 1 << 22


@dataclass(frozen=True, slots=True)
class View:
    """What a gallery held at one moment.

    Attributes:
        coded: Each of what came after the one before it.
        flat: What came after these.
    """

    coded: tuple[Coded, ...]
    flat: Flat

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All, each of what came after the one before it."""
        return (*self.coded, self.flat)

    @property
    def count(self) -> int:
        """How many images are held."""
        return sum(segment.count for segment in self.segments)

    @property
    def positions(self) -> NDArray[np.int64]:
        """(n,) of the images held, ascending."""
        return np.sort(
            np.concatenate([segment.columns["position"][segment.alive] for segment in self.segments])
        )

    def numbers(self, name: str) -> NDArray[np.int32]:
        """What the images held have in the column ``name``, each once."""
        return np.unique(np.concatenate([segment.columns[name][segment.alive] for segment in self.segments]))


class ImageGone(Exception):
    """An image was removed while it was being searched; the search is to begin anew."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The images of a segment that a query may find.

    Attributes:
        segment: Theirs.
        allowed: (n,) which they are.
        count: How many.
    """

    segment: Segment
    allowed: NDArray[np.bool_]
    count: int

    @property
    def narrowed(self) -> NDArray[np.bool_] | None:
        """``allowed``, but ``None`` where that is all of the segment."""
        return self.allowed if self.count < len(self.allowed) else None


def plan(available: int, dim: int, exact: bool, limits: Limits) -> Plan:
    """How to answer a query that may find so many images."""
    return Plan.EXACT if exact or available * dim <= limits.exact else Plan.COMPRESSED


def search(
    view: View,
    queries: NDArray[np.float32],
    k: int,
    among: RowFilter | None,
    *,
    exact: bool,
    fetch: Fetch,
    limits: Limits,
) -> list[Ranked]:
    """The ``k`` best of a gallery for each query; fewer only where fewer pass.

    Args:
        view: What the gallery holds.
        queries: (Q, D) unit rows.
        k: How many.
        among: Whom to look at; ``None`` for all.
        exact: Miss nothing, whatever it takes.
        fetch: Gives the durable vectors.
        limits: The planner's.

    Raises:
        ImageGone: ``fetch`` lacks an image that ``view`` holds.
    """
    one_thread()
    parts = [part for part in (_part(segment, among) for segment in view.segments) if part.count]
    available = sum(part.count for part in parts)
    if not available:
        return [[] for _ in queries]
    dim = queries.shape[1]
    find = _likely if plan(available, dim, exact, limits) is Plan.COMPRESSED else _certain

    def answer(query: NDArray[np.float32], each: Callable[..., Iterable[Candidates]]) -> Ranked:
        def score(positions: NDArray[np.int64]) -> NDArray[np.float32]:
            return _cosines(view.flat, query, positions, fetch)

        return find(parts, query, min(k, available), each, score)

    if len(queries) == 1:  # what is compared one by one is not worth another thread's turn
        return [answer(queries[0], map if available * dim <= limits.exact else _together)]
    return _together(lambda query: answer(query, map), queries)


def _part(segment: Segment, among: RowFilter | None) -> _Part:
    if among is None:
        return _Part(segment, segment.alive, segment.count)
    allowed = segment.alive & among.mask(segment.fields)
    return _Part(segment, allowed, int(np.count_nonzero(allowed)))


_Score = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""From (n,) ascending positions, n at least 1, to the cosines of their durable vectors."""


def _certain(
    parts: Sequence[_Part],
    query: NDArray[np.float32],
    k: int,
    each: Callable[..., Iterable[Candidates]],
    score: _Score,
) -> Ranked:
    """The ``k`` best, surely."""
    found = contenders(Candidates(*_joined(list(each(lambda part: _all_of(part, query, k), parts)))), k)
    first = best(found.scores, k)
    positions = np.sort(found.positions[first])
    scores = score(positions)
    # What these come to tells more than their estimates did.
    open_ones = found.scores + found.errors >= scores.min()
    open_ones[first] = False
    if open_ones.any():
        others = np.sort(found.positions[open_ones])
        positions = np.concatenate([positions, others])
        scores = np.concatenate([scores, score(others)])
    return _ranked(positions, scores, k)


def _likely(
    parts: Sequence[_Part],
    query: NDArray[np.float32],
    k: int,
    each: Callable[..., Iterable[Candidates]],
    score: _Score,
) -> Ranked:
    """The ``k`` best, very likely."""
    found = list(each(lambda part: _first_look(part, query, k), parts))
    open_ones = list(range(len(parts)))
    while open_ones:
        positions, scores, errors = _joined(found)
        if len(scores) < k:
            return _certain(parts, query, k, each, score)
        bar = float(np.partition(scores, len(scores) - k)[-k])
        open_ones = [n for n in range(len(parts)) if found[n].unseen > bar]
        looks = list(each(lambda n: _deeper_look(parts[n], query, k, bar, found[n]), open_ones))  # noqa: B023
        for n, candidates in zip(open_ones, looks, strict=True):
            found[n] = candidates
    chosen = best(scores, k + _spare(k))
    # What an error comes to, as a rule: it has no direction, and its bound is for the worst.
    unsure = _USUAL * float(errors.max()) / len(query) ** 0.5
    among = np.sort(positions[chosen[scores[chosen] >= scores[chosen[k - 1]] - unsure]])
    return _ranked(among, score(among), k)


def _first_look(part: _Part, query: NDArray[np.float32], k: int) -> Candidates:
    """A shallow search: by the quickest code of many images, by slower ones of fewer."""
    segment, least = part.segment, _least(k)
    if isinstance(segment, Flat):
        return _all_of(part, query, k)
    if (found := segment.by_device(query, k + _spare(k), part.allowed)) is not None:
        return found
    tiers, passing = segment.codec.tiers, part.count / len(part.allowed)
    if passing > _SOME:
        return segment.likely(query, k, 0, least, part.narrowed)
    if part.count <= least or passing <= _FEW * tiers[-1].code_bytes / len(query):
        return segment.nearest(query, k + _spare(k), part.allowed)
    # The person's own images may be too few to stand out.
    depth = max(least, int(_MANY * part.count))
    return segment.likely(query, max(k, depth // _FIRST), len(tiers) - 1, depth, part.narrowed)


def _deeper_look(
    part: _Part, query: NDArray[np.float32], k: int, bar: float, before: Candidates
) -> Candidates:
    """What waits; then as deep as it should take to find what is above ``bar``; then all scalar codes."""
    segment = part.segment
    if isinstance(segment, Flat):
        return _all_of(part, query, k)
    if len(before.promised) and before.promised[0] > bar:
        return segment.further(query, k + _spare(k), before, bar)
    last = len(segment.codec.tiers) - 1
    if before.tier == last:
        return segment.nearest(query, k + _spare(k), part.allowed)
    fit = segment.fits[last]
    share = min(_HALF_SURE * fit.share_above(fit.floor(bar)), _MOST)
    depth = max(_least(k), int(share * part.count))
    return segment.likely(query, max(k, depth // _FIRST), last, depth, part.narrowed)


def _least(k: int) -> int:
    """So many are looked at again of every segment."""
    return max(_SHALLOW, k + _spare(k))


def _spare(k: int) -> int:
    """So many more than ``k`` are scored by the durable vectors: the more, the closer the last ones lie."""
    return max(SPARE, k // _SPARE_SHARE)


def _all_of(part: _Part, query: NDArray[np.float32], k: int) -> Candidates:
    return part.segment.candidates(query, min(k, part.count), part.allowed)


def _joined(
    found: Sequence[Candidates],
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Positions, scores and errors of all candidates."""
    return (
        np.concatenate([one.positions for one in found]),
        np.concatenate([one.scores for one in found]),
        np.concatenate([one.errors for one in found]),
    )


def _ranked(positions: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Ranked:
    """The ``k`` best of (n,) positions by their cosines."""
    order = np.argsort(positions)
    chosen = order[best(scores[order], k)]
    return list(zip(positions[chosen].tolist(), scores[chosen].tolist(), strict=True))


def _cosines(
    flat: Flat, query: NDArray[np.float32], positions: NDArray[np.int64], fetch: Fetch
) -> NDArray[np.float32]:
    """The cosines (n,) of the durable vectors at (n,) ascending positions."""
    return np.concatenate([cosine(query, rows) for rows in _durable(flat, positions, fetch)])


def _durable(flat: Flat, positions: NDArray[np.int64], fetch: Fetch) -> Iterator[NDArray[np.float32]]:
    """The vectors at these positions; those not yet coded stand in memory as they are, and come last."""
    held = is_among(positions, flat.columns["position"])
    for start in range(0, int((~held).sum()), _AT_ONCE):
        sought = positions[~held][start : start + _AT_ONCE]
        stored, rows = fetch(sought)
        if len(stored) < len(sought):
            raise ImageGone
        yield rows
    if held.any():
        yield flat.rows[np.searchsorted(flat.columns["position"], positions[held])]


_AT_ONCE = 4096


def one_thread() -> None:
    """Keep FAISS from starting threads of its own in this thread."""
    faiss.omp_set_num_threads(1)


_PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_HELPERS = ThreadPoolExecutor(_PROCESSORS, "peca-search", initializer=one_thread)


def _together(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """``map`` by this thread, and by helpers as they are free: where many search, each does its own work."""
    given = list(items)
    left, done = enumerate(given), [None] * len(given)

    def take() -> None:
        for number, item in left:  # which gives each to one thread alone
            done[number] = work(item)

    helpers = [_HELPERS.submit(take) for _ in range(min(_PROCESSORS, len(given)) - 1)]
    try:
        take()
    finally:
        begun = [helper for helper in helpers if not helper.cancel()]
        for helper in begun:
            helper.result()
    return done
