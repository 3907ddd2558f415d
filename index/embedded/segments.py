"""The parts of a gallery in memory: images that were added one after another, flat or coded.

A segment never changes: what is removed makes another one that shares its vectors. So a search needs no
lock, and one that began before a change ends on what was there.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from index.embedded.codec import ZERO, Codec, Fit
from index.embedded.columns import COLUMNS, Columns, Fields, is_among, lying_order
from index.embedded.device import ROUNDING, Accelerator, Held
from index.embedded.optional_faiss import faiss
from index.embedded.scan import Scan, selector
from index.embedded.scorer import products

SPARE = 32
"""So many candidates more than asked for are scored again by the durable vectors."""

_GROWTH = 4
_FEW = 256
_ONE_BY_ONE = 2048
_MEASURED = 1024
_STRAYS = 1.2
_GENEROUS = 1.5
_MOVED = 4096
_ERRORS = 2.2
_ERRORS_OF_QUICK = 3.0
_NOWHERE = -np.inf


@dataclass(frozen=True, slots=True)
class Candidates:
    """Images of one segment that may be among the best.

    Attributes:
        positions: (n,) of them.
        scores: (n,) float32 estimates of their cosines.
        errors: (n,) how far the estimates may be off, either way.
        beyond: Hardly any image that was left out has a higher cosine than this.
        tier: The product code that chose them; ``None`` for the scalar code.
        waiting: Rows that it chose too, and that are not scored yet.
        promised: What hardly any of these is above, descending.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]
    errors: NDArray[np.float32]
    beyond: float = _NOWHERE
    tier: int | None = None
    waiting: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    promised: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))

    @property
    def unseen(self) -> float:
        """Hardly any image that is not scored has a higher cosine than this."""
        return max(self.beyond, float(self.promised[0]) if len(self.promised) else _NOWHERE)


@dataclass(frozen=True, eq=False)
class Flat:
    """Images whose vectors are held as they are.

    Attributes:
        columns: (n,) of ``COLUMNS``, positions ascending.
        rows: (n, D) unit rows.
    """

    columns: Columns
    rows: NDArray[np.float32]

    @classmethod
    def empty(cls, dim: int) -> Self:
        """A segment of no image."""
        return cls(np.empty(0, COLUMNS), np.empty((0, dim), np.float32))

    @property
    def fields(self) -> Columns:
        """What a filter reads."""
        return self.columns

    @property
    def alive(self) -> NDArray[np.bool_]:
        """(n,) all: what is removed goes at once."""
        return np.ones(len(self.columns), bool)

    @property
    def count(self) -> int:
        """How many images these are."""
        return len(self.columns)

    def candidates(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]) -> Candidates:
        """Every image that may be among the ``k`` best of those ``allowed`` (n,)."""
        scores = np.vecdot(self.rows, query)  # a matrix product would start threads of its own
        error = rounding(len(query))
        standing = np.flatnonzero(allowed)
        if k < len(standing):
            kth = np.partition(scores[standing], len(standing) - k)[-k]
            standing = standing[scores[standing] >= kth - 2 * error]
        found = scores[standing]
        return Candidates(self.columns["position"][standing], found, np.full(len(found), error, np.float32))

    def without(self, positions: NDArray[np.int64]) -> Self:
        """The same without the images at these ascending positions."""
        kept = ~is_among(self.columns["position"], positions)
        return type(self)(self.columns[kept], self.rows[kept])


@dataclass(frozen=True, eq=False)
class Coded:
    """Images whose vectors are held as codes, side by side as ``lying_order`` says.

    Attributes:
        columns: (n,) of ``COLUMNS``.
        alive: (n,) which images are not removed.
        codec: What encoded them.
        fine: FAISS's index of the scalar codes.
        error: The longest way from a vector to what its scalar code stands for.
        quick: The codes of each tier.
        fits: How well each tier tells the cosines of these images.
        fields: What a filter reads: the columns.
        held: The same images on a device; ``None`` where the processor has them alone.
    """

    columns: Columns
    alive: NDArray[np.bool_]
    codec: Codec
    fine: Any
    error: float
    quick: tuple[Scan, ...]
    fits: tuple[Fit, ...]
    fields: Fields
    held: Held | None = None

    @classmethod
    def of(
        cls, columns: Columns, codec: Codec, fine: Any, error: float, coarse: Sequence[NDArray[np.uint8]]
    ) -> Self:
        """The segment of these scalar codes, and of (n, B) codes of each tier, all in their order."""
        pairs = list(zip(codec.tiers, coarse, strict=True))
        quick = tuple(Scan(tier, codes) for tier, codes in pairs)
        some = np.linspace(0, len(columns) - 1, min(len(columns), _MEASURED)).astype(int)
        rows = (scalar_codes(fine)[some].astype(np.float32) - ZERO) / np.float32(codec.scale)
        fits = tuple(tier.fit(rows, codes[some]) for tier, codes in pairs)
        alive = np.ones(len(columns), bool)
        return cls(columns, alive, codec, fine, error, quick, fits, Fields(columns))

    @classmethod
    def encoded(cls, columns: Columns, batches: Iterable[NDArray[np.float32]], codec: Codec) -> Self:
        """The segment of unit rows that come in batches, (n, D) in all, in the order of ``columns``."""
        order = lying_order(columns)
        fine, coarse = _empty(codec, len(columns))
        places, error, start = np.argsort(order), 0.0, 0
        for rows in batches:
            codes, farthest, quick = codec.encode(rows)
            there = places[start : start + len(rows)]
            for written, new in zip((scalar_codes(fine), *coarse), (codes, *quick), strict=True):
                written[there] = new
            start, error = start + len(rows), max(error, farthest)
        return cls.of(columns[order], codec, fine, error, coarse)

    @cached_property
    def count(self) -> int:
        """How many images are not removed."""
        return int(np.count_nonzero(self.alive))

    @property
    def strays(self) -> bool:
        """Whether these images are unlike those that their codec was learnt from."""
        pairs = zip(self.fits, self.codec.tiers, strict=True)
        return self.error > self.codec.farthest or any(
            fit.error > _STRAYS * tier.error for fit, tier in pairs
        )

    @classmethod
    def joined(cls, parts: Sequence["Coded"]) -> "Coded | None":
        """One segment of the images in several of one codec that are not removed; ``None`` of none."""
        columns, codec = np.concatenate([part.columns[part.alive] for part in parts]), parts[0].codec
        if not len(columns):
            return None
        order = lying_order(columns)
        fine, coarse = _empty(codec, len(columns))
        places, start = np.argsort(order), 0
        for part in parts:
            living = np.flatnonzero(part.alive)
            there = places[start : start + len(living)]
            for written, codes in zip((scalar_codes(fine), *coarse), part.codes, strict=True):
                for at in range(0, len(living), _MOVED):  # a copy of all would take the room of a segment
                    written[there[at : at + _MOVED]] = codes[living[at : at + _MOVED]]
            start += len(living)
        return cls.of(columns[order], codec, fine, max(part.error for part in parts), coarse)

    @property
    def codes(self) -> Iterator[NDArray[np.uint8]]:
        """(n, D) scalar codes, then (n, B) codes of each tier."""
        yield scalar_codes(self.fine)
        for tier in self.quick:
            yield tier.codes

    def on(self, device: Accelerator | None) -> Self:
        """The same, held by ``device`` too, where there is one and it has the room."""
        return self if device is None else replace(self, held=device.hold(scalar_codes(self.fine)))

    def without(self, positions: NDArray[np.int64]) -> Self:
        """The same without the images at these ascending positions."""
        leaving = is_among(self.columns["position"], positions)
        return replace(self, alive=self.alive & ~leaving) if leaving.any() else self

    def candidates(self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]) -> Candidates:
        """Every image that may be among the ``k`` best of those ``allowed`` (n,)."""
        available = int(np.count_nonzero(allowed))
        if available <= _ONE_BY_ONE:  # quicker than to have FAISS look for them among all
            return contenders(self._scored(query, np.flatnonzero(allowed)), k)
        if (sure := self._sure_by_device(query, k, allowed)) is not None:
            return sure
        fetch = k + 4 * SPARE
        while True:
            found, distances, slack = self._nearest(query, min(fetch, available), allowed)
            # An image nearer than this may be among the best, whatever its code hides.
            if fetch >= available or distances[-1] > distances[k - 1] + 2 * slack:
                keep = distances <= distances[min(k, available) - 1] + 2 * slack
                return contenders(self._scored(query, found[keep]), k)
            fetch *= _GROWTH

    def nearest(self, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_]) -> Candidates:
        """The ``count`` best by the scalar codes of those ``allowed`` (n,)."""
        rows = np.flatnonzero(allowed)
        if len(rows) > max(_FEW, count):
            rows, _, _ = self._nearest(query, count, allowed)
        return self._scored(query, rows)

    def by_device(
        self, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_]
    ) -> Candidates | None:
        """``nearest`` by the device; ``None`` where none holds these images, or it does not find enough."""
        available = int(np.count_nonzero(allowed))
        sought = min(count, available)
        fetch = _to_find(sought, available, len(allowed))
        if self.held is None or fetch > self.held.device.most:
            return None
        found = self.held.nearest(query, fetch)
        if found is None:
            return None
        rows, _ = found
        passing = rows[allowed[rows]]
        return self._scored(query, passing[:count]) if len(passing) >= sought else None

    def _sure_by_device(
        self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]
    ) -> Candidates | None:
        """``candidates`` by the device; ``None`` where none holds these images, or it cannot be sure."""
        most = 0 if self.held is None else min(len(allowed), self.held.device.most)
        if self.held is None or _to_find(k, int(np.count_nonzero(allowed)), len(allowed)) > most:
            return None
        found = self.held.nearest(query, most)
        if found is None:
            return None
        rows, products = found
        scores = products / np.float32(self.codec.scale)
        slack = self.error + ROUNDING + rounding(self.codec.dim)
        passing = allowed[rows]
        kept, all_seen = scores[passing], len(rows) == len(allowed)
        if len(kept) < k and not all_seen:
            return None
        bar = float(kept[min(k, len(kept)) - 1]) - 2 * slack
        if scores[-1] >= bar and not all_seen:
            return None
        return contenders(self._scored(query, rows[passing & (scores >= bar)]), k)

    def likely(
        self,
        query: NDArray[np.float32],
        first: int,
        tier: int,
        depth: int,
        allowed: NDArray[np.bool_] | None,
    ) -> Candidates:
        """The ``depth`` best by one tier of those ``allowed`` (n,), the ``first`` of them scored."""
        rows, estimates = self.quick[tier].search(query, depth, allowed)
        fit = self.fits[tier]
        cosines = estimates / np.float32(fit.gain)
        return replace(
            self._scored(query, rows[:first]),
            beyond=float(fit.ceiling(cosines)[-1]) if len(rows) == depth else _NOWHERE,
            tier=tier,
            waiting=rows[first:],
            promised=fit.ceiling(
                cosines[first:], _ERRORS if tier + 1 == len(self.fits) else _ERRORS_OF_QUICK
            ),
        )

    def further(self, query: NDArray[np.float32], k: int, before: Candidates, bar: float) -> Candidates:
        """``before`` and the ``k`` best by the scalar codes of what waits there and may be above ``bar``."""
        count = int(np.searchsorted(-before.promised, -bar))
        rows = before.waiting[:count]
        if count > max(_ONE_BY_ONE, k):
            chosen = np.zeros(len(self.columns), bool)
            chosen[rows] = True
            rows, _, _ = self._nearest(query, k, chosen)
        more = self._scored(query, rows)
        return replace(
            before,
            positions=np.concatenate([before.positions, more.positions]),
            scores=np.concatenate([before.scores, more.scores]),
            errors=np.concatenate([before.errors, more.errors]),
            waiting=before.waiting[count:],
            promised=before.promised[count:],
        )

    def _nearest(
        self, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], float]:
        """The ``count`` nearest rows by the scalar codes, their distances, and how far these may be off."""
        code, error = self.codec.scalar(query[np.newaxis])
        search = None if allowed.all() else faiss.SearchParameters(sel=selector(allowed))
        squares, rows = self.fine.search(code.astype(np.float32), count, params=search)
        distances = np.sqrt(squares[0]) / np.float32(self.codec.scale)
        return rows[0], distances, self.error + error + rounding(self.codec.dim)

    def _scored(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> Candidates:
        """These rows by the scalar codes' cosines with ``query`` itself, which its own code does not blur."""
        scores = products(scalar_codes(self.fine), rows, query) / np.float32(self.codec.scale)
        error = self.error + rounding(self.codec.dim)
        return Candidates(self.columns["position"][rows], scores, np.full(len(rows), error, np.float32))


Segment = Flat | Coded


def _to_find(sought: int, available: int, rows: int) -> int:
    """How many of so many rows are looked at to find ``sought`` of the ``available``, as a rule."""
    return min(rows, int(_GENEROUS * sought * rows / max(available, 1)) + SPARE)


def contenders(found: Candidates, k: int) -> Candidates:
    """Those that may be among the ``k`` best of ``found``."""
    if len(found.scores) <= k:
        return found
    lower = found.scores - found.errors
    bar = np.partition(lower, len(lower) - k)[-k]
    kept = found.scores + found.errors >= bar
    return Candidates(found.positions[kept], found.scores[kept], found.errors[kept])


def rounding(dim: int) -> float:
    """How far a cosine of unit rows in float32 may be off, and these rows from unit length."""
    return (dim + 1) * 2.0**-23


def scalar_index(dim: int, count: int) -> Any:
    """FAISS's index of ``count`` scalar codes, to be written through ``scalar_codes``."""
    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit_direct, faiss.METRIC_L2)
    index.is_trained = True
    index.codes.resize(count * dim)
    index.ntotal = count
    return index


def _empty(codec: Codec, count: int) -> tuple[Any, list[NDArray[np.uint8]]]:
    """Room for the scalar codes of so many images, and for (n, B) codes of each tier."""
    return scalar_index(codec.dim, count), [
        np.empty((count, tier.code_bytes), np.uint8) for tier in codec.tiers
    ]


def scalar_codes(index: Any) -> NDArray[np.uint8]:
    """(n, D) the codes that ``index`` holds, to be read and written in place."""
    if not index.ntotal:
        return np.empty((0, index.d), np.uint8)
    codes: NDArray[np.uint8] = faiss.rev_swig_ptr(index.codes.data(), index.ntotal * index.d)
    return codes.reshape(index.ntotal, index.d)
