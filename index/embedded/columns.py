"""What a filter asks of images, held in memory as numbers, so that a filter reads no disk."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.records import Where
from index.space import Modality

COLUMNS = np.dtype(
    [("position", "<i8"), ("captured_at", "<i8"), ("camera", "<i4"), ("person", "<i4"), ("modality", "u1")]
)
"""A row for each image; ``captured_at`` in microseconds since 1970, names by their number in ``Names``."""

_NUMBERS = {str(modality): number for number, modality in enumerate(Modality)}
_NAMED = ("camera", "person")
_NONE = -1

Columns = NDArray[np.void]
Described = tuple[int, str, str, int, str | None]
"""Position, modality, camera, microseconds and person of an image, as SQLite gives them."""


class Names:
    """A number for each name that was ever given; one thread adds names, any number reads them.

    Args:
        names: As ``kept`` gave them.
    """

    def __init__(self, names: Sequence[str | None] = ()) -> None:
        self._numbers = {name: number for number, name in enumerate(names) if name is not None}
        self._next = len(names)

    def kept(self, numbers: NDArray[np.int32]) -> list[str | None]:
        """The names of these numbers, each at its place; the others are left out."""
        names: list[str | None] = [None] * self._next
        used = set(numbers.tolist())
        for name, number in self._numbers.copy().items():  # at once, since names may be added meanwhile
            if number in used:
                names[number] = name
        return names

    def number(self, name: str | None) -> int:
        """The number of ``name``, a new one where it has none."""
        if name is None:
            return _NONE
        if name not in self._numbers:
            self._numbers[name] = self._next
            self._next += 1
        return self._numbers[name]

    def table(self, names: Collection[str]) -> NDArray[np.bool_]:
        """For each number whether it is of one of ``names``; at the end, for images without a name, no."""
        count = self._next  # names may be added meanwhile
        numbers = [self._numbers.get(name, count) for name in names]
        table = np.zeros(count + 1, bool)
        table[[number for number in numbers if number < count]] = True
        return table


class Vocabulary:
    """The names of a gallery's cameras and of its people."""

    def __init__(self, cameras: Sequence[str | None] = (), people: Sequence[str | None] = ()) -> None:
        self.cameras = Names(cameras)
        self.people = Names(people)

    def columns(self, images: Sequence[Described]) -> Columns:
        """(n,) of ``COLUMNS`` for images by ascending position."""
        rows = [
            (position, captured_at, self.cameras.number(camera), self.people.number(person), _modality(light))
            for position, light, camera, captured_at, person in images
        ]
        return np.array(rows, COLUMNS)


def lying_order(columns: Columns) -> NDArray[np.int64]:
    """The rows of (n,) of ``COLUMNS`` by modality, camera and position."""
    return np.lexsort((columns["position"], columns["camera"], columns["modality"]))


class Fields:
    """The fields of columns that do not change, each in one piece once it was asked for.

    A filter reads them several times as fast as from rows of all fields, and numbers of names as NumPy looks
    them up.

    Args:
        columns: (n,) of ``COLUMNS``.

    Attributes:
        firsts: (r,) of ``COLUMNS``, of each run of images of one modality and camera the first.
        lengths: (r,) of how many images each run is.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._whole: dict[str, NDArray[Any]] = {}
        kinds = columns["modality"], columns["camera"]
        changes = [kind[1:] != kind[:-1] for kind in kinds]
        starts = np.flatnonzero(np.append(len(columns) > 0, changes[0] | changes[1]))
        self.firsts = columns[starts]
        self.lengths = np.diff(starts, append=len(columns))

    def __len__(self) -> int:
        return len(self._columns)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._whole:
            field = self._columns[name]
            self._whole[name] = field.astype(np.intp if name in _NAMED else field.dtype)
        return self._whole[name]


class RowFilter:
    """``Where`` over the columns of a view that was taken before.

    Args:
        where: The filter; what it asks of single images and tracks is asked by ``among`` in its place.
        vocabulary: Of the gallery.
        after: ``where.after`` in microseconds.
        before: ``where.before`` in microseconds.
        among: (n,) ascending positions; ``None`` for all.
    """

    def __init__(
        self,
        where: Where,
        vocabulary: Vocabulary,
        after: int | None,
        before: int | None,
        among: NDArray[np.int64] | None,
    ) -> None:
        self._modality = None if where.modality is None else _NUMBERS[where.modality]
        self._cameras = _asked(vocabulary.cameras, where.camera_ids)
        self._not_cameras = _asked(vocabulary.cameras, where.exclude_camera_ids or None)
        self._people = _asked(vocabulary.people, where.person_ids)
        self._after, self._before, self._among = after, before, among

    def mask(self, columns: Columns | Fields) -> NDArray[np.bool_]:
        """(n,) which rows pass."""
        if isinstance(columns, Fields):
            passing = np.repeat(self._of_kind(columns.firsts), columns.lengths)
        else:
            passing = self._of_kind(columns)
        if self._among is not None:
            passing &= is_among(columns["position"], self._among)
        if self._people is not None:
            passing &= self._people.take(columns["person"])
        if self._after is not None:
            passing &= columns["captured_at"] >= self._after
        if self._before is not None:
            passing &= columns["captured_at"] < self._before
        return passing

    def _of_kind(self, columns: Columns) -> NDArray[np.bool_]:
        """(n,) which rows are of a modality and a camera that pass."""
        passing = np.ones(len(columns), bool)
        if self._modality is not None:
            passing &= columns["modality"] == self._modality
        if self._cameras is not None:
            passing &= self._cameras.take(columns["camera"])
        if self._not_cameras is not None:
            passing &= ~self._not_cameras.take(columns["camera"])
        return passing


def is_among(positions: NDArray[np.int64], sought: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n,) which of (n,) ``positions`` are in (m,) ``sought``, which ascends."""
    if not len(sought):
        return np.zeros(len(positions), bool)
    places = np.minimum(np.searchsorted(sought, positions), len(sought) - 1)
    found: NDArray[np.bool_] = sought[places] == positions
    return found


def _asked(names: Names, wanted: Collection[str] | None) -> NDArray[np.bool_] | None:
    return None if wanted is None else names.table(wanted)


def _modality(name: str) -> int:
    """The number of a modality; a name that is none gets one that no filter asks for."""
    return _NUMBERS.get(name, len(_NUMBERS))
