"""A gallery's vectors in memory as they come and go, and how they are coded beside the searches."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from index.embedded.ann import Fetch, Limits, View
from index.embedded.codec import SAMPLE, Codec
from index.embedded.columns import Columns, Described, Vocabulary, is_among
from index.embedded.device import Accelerator
from index.embedded.segments import Coded, Flat

_RELEARN = 4
_LEARNT = 1 << 19
_CHANGED = 3
_THIN = 4
_BATCH = 2048


class GrowingIndex:
    """Segments that one thread adds to and removes from, and one codes, while any number search.

    Args:
        dim: Length D of a vector.
        fetch: Gives the durable vectors.
        limits: When what is done.
        device: Holds the coded images too.

    Attributes:
        vocabulary: The names that the columns hold as numbers.
        limits: As given.
        codec: What new images are coded by; ``None`` while they are few.
        remade: How many images were moved to other segments so far by ``tidy``, or coded again.
        stopping: Set to end the present step early; ``step`` is then called no more.
    """

    def __init__(self, dim: int, fetch: Fetch, limits: Limits, device: Accelerator | None = None) -> None:
        self.vocabulary = Vocabulary()
        self.limits = limits
        self.remade = 0
        self.stopping = False
        self._dim = dim
        self._fetch = fetch
        self._device = device
        self._changing = Lock()
        self.codec: Codec | None = None
        self._view = View((), Flat.empty(dim))

    @property
    def view(self) -> View:
        """What is held now."""
        return self._view

    def take(self, view: View, vocabulary: Vocabulary) -> None:
        """Hold what was written to a file in the place of nothing."""
        self.vocabulary = vocabulary
        self._view = replace(view, coded=tuple(part.on(self._device) for part in view.coded))
        self.codec = max((part.codec for part in view.coded), key=lambda codec: codec.last, default=None)

    def append(self, images: Sequence[Described], rows: NDArray[np.float32]) -> None:
        """Take in images.

        Args:
            images: n images of ascending positions, above every one held.
            rows: (n, D) unit rows.
        """
        columns = self.vocabulary.columns(images)
        with self._changing:
            flat = self._view.flat
            grown = Flat(np.concatenate([flat.columns, columns]), np.concatenate([flat.rows, rows]))
            self._view = replace(self._view, flat=grown)

    def remove(self, positions: NDArray[np.int64]) -> None:
        """Let go of the images at these positions."""
        leaving = np.sort(positions)
        with self._changing:
            coded = tuple(part.without(leaving) for part in self._view.coded)
            self._view = View(coded, self._view.flat.without(leaving))

    def step(self) -> bool:
        """Do the next piece of work, if there is one; returns whether there was.

        One thread calls this, while others search, and one adds and removes.
        """
        return self.take_in() or self._learn_again() or self._code_again()

    def take_in(self) -> bool:
        """``step``, with the codec that there is."""
        return self._seal() or self._thin() or self._join()

    @property
    def untidy(self) -> bool:
        """Whether there is something to ``tidy``."""
        return self._small_neighbours() is not None

    def tidy(self) -> bool:
        """Make one of small neighbours, whatever their sizes; returns whether there was something to do.

        A search pays for each segment, and ``step`` leaves several small ones so as not to move the same
        images again and again while many come. The thread that calls ``step`` calls this.
        """
        if (found := self._small_neighbours()) is None:
            return False
        first, count = found
        joined = Coded.joined(self._view.coded[first : first + count])
        self._swap(first, count, joined)
        self.remade += 0 if joined is None else joined.count
        return True

    def _small_neighbours(self) -> tuple[int, int] | None:
        """The first of coded segments that together are no more than one may be, and how many they are."""
        coded = self._view.coded
        for first, part in enumerate(coded):
            images, count = 0, 0
            for other in coded[first:]:
                images += len(other.columns)
                if other.codec is not part.codec or images > self.limits.segment:
                    break
                count += 1
            if count > 1:
                return first, count
        return None

    def _seal(self) -> bool:
        """Code what is new."""
        flat = self._view.flat
        columns, rows = flat.columns[: self.limits.segment], flat.rows[: self.limits.segment]
        if rows.size < self.limits.seal or (self.codec is None and rows.size < self.limits.flat):
            return False
        if self.codec is None:
            last = int(columns["position"][-1])
            self.codec = Codec.learn(_evenly(rows, SAMPLE), len(rows), last)
        new = Coded.encoded(columns, _batches(rows), self.codec).on(self._device)
        with self._changing:
            flat = self._view.flat
            sealed = flat.columns["position"] <= columns["position"][-1]
            self._view = View(
                (*self._view.coded, _alive(new, flat.columns["position"][sealed])),
                Flat(flat.columns[~sealed], flat.rows[~sealed]),
            )
        return True

    def _thin(self) -> bool:
        """Drop from memory what was removed, where it is much."""
        for number, part in enumerate(self._view.coded):
            if _THIN * part.count <= (_THIN - 1) * len(part.alive):
                self._swap(number, 1, Coded.joined([part]))
                return True
        return False

    def _join(self) -> bool:
        """Make one of two neighbours of like size."""
        coded = self._view.coded
        for first in reversed(range(len(coded) - 1)):
            one, other = coded[first : first + 2]
            sizes = len(one.columns), len(other.columns)
            if one.codec is other.codec and sizes[0] <= 2 * sizes[1] and sum(sizes) <= self.limits.segment:
                self._swap(first, 2, Coded.joined([one, other]))
                return True
        return False

    def _learn_again(self) -> bool:
        """Learn a codec from what the gallery holds now, if that is much more, or of another nature."""
        positions = self._view.positions
        if self.codec is None or not (self._outgrown(self.codec) or self._strayed(self.codec, positions)):
            return False
        _, rows = self._fetch(_evenly(positions, SAMPLE))
        if len(rows) < len(positions) // _RELEARN and len(rows) < SAMPLE // _RELEARN:
            return False  # most of it is being removed
        self.codec = Codec.learn(rows, len(positions), int(positions[-1]))
        return True

    def _outgrown(self, codec: Codec) -> bool:
        """Whether there are several times as many images as ``codec`` was learnt from, and then few."""
        return codec.seen < _LEARNT and self._view.count >= _RELEARN * codec.seen

    def _strayed(self, codec: Codec, positions: NDArray[np.int64]) -> bool:
        """Whether many images are new since ``codec`` was learnt, and many unlike what it was learnt from."""
        new = len(positions) - int(np.searchsorted(positions, codec.last, side="right"))
        strays = [part for part in self._view.coded if part.codec is codec and part.strays]
        unlike = sum(part.count for part in strays)
        return _CHANGED * min(new, unlike) >= len(positions) > 0

    def _code_again(self) -> bool:
        """Code a segment anew by the present codec."""
        old = next((part for part in self._view.coded if part.codec is not self.codec), None)
        if self.codec is None or old is None:
            return False
        living = old.columns[old.alive]
        again = self._recoded(living[np.argsort(living["position"])], self.codec)
        if self.stopping:
            return False
        # What came meanwhile was coded and joined, and what was removed changed the segment but no code.
        number = next(n for n, part in enumerate(self._view.coded) if part.fine is old.fine)
        self._swap(number, 1, again)
        self.remade += len(living)
        return True

    def _recoded(self, columns: Columns, codec: Codec) -> Coded | None:
        """The segment of the durable vectors of these images by position, without those gone meanwhile.

        What it gives is whole only where ``stopping`` is not set.
        """
        gone = [np.empty(0, np.int64)]

        def batches() -> Iterator[NDArray[np.float32]]:
            for start in range(0, len(columns), _BATCH):
                self._keep_up()
                if self.stopping:
                    return
                sought = columns["position"][start : start + _BATCH]
                stored, rows = self._fetch(sought)
                there = is_among(sought, stored)
                gone.append(sought[~there])
                padded = np.zeros((len(sought), self._dim), np.float32)
                padded[there] = rows
                yield padded

        if not len(columns):
            return None
        again = Coded.encoded(columns, batches(), codec).without(np.concatenate(gone))
        return again if self.stopping or again.count == len(columns) else Coded.joined([again])

    def _keep_up(self) -> None:
        """Code what came meanwhile, or it piles up: each batch that comes moves all that is not coded."""
        while not self.stopping and (self._seal() or self._join()):
            pass

    def _swap(self, first: int, count: int, new: Coded | None) -> None:
        """Put ``new`` in the place of ``count`` segments, without what was removed meanwhile."""
        new = None if new is None else new.on(self._device)
        with self._changing:
            coded = self._view.coded
            old = coded[first : first + count]
            living = np.concatenate([part.columns["position"][part.alive] for part in old])
            kept = [] if new is None else [_alive(new, np.sort(living))]
            self._view = replace(self._view, coded=(*coded[:first], *kept, *coded[first + count :]))


def _alive(part: Coded, living: NDArray[np.int64]) -> Coded:
    """``part`` with those of its images that are at these ascending positions."""
    return replace(part, alive=is_among(part.columns["position"], living))


def _batches(rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    return (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))


def _evenly(items: NDArray[np.generic], most: int) -> NDArray:  # type: ignore[type-arg]
    """At most so many of ``items``, taken evenly from all parts."""
    return items if len(items) <= most else items[np.linspace(0, len(items) - 1, most).astype(int)]
