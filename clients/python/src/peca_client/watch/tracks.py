"""Which boxes of successive frames are one person.

The trackers that are kept on the package index bring PyAV, OpenCV 5 (without HOG) or numpy 1 with them, so
the agent has its own: boxes move on evenly, and are assigned by overlap with SciPy's solver; weak boxes
carry a track on but begin none (the idea of ByteTrack, Zhang et al., ECCV 2022, without its Kalman filter).
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from peca_client.watch.detectors import Boxes

_LEAST_OVERLAP = 0.2
_NEW_SPEED_SHARE = 0.5
_NEW_TRACK_MARGIN = 0.1


@dataclass
class Track:
    """One person before one camera.

    Attributes:
        number: Its place among the tracks that began in the same frame.
        began_at: When it was first seen.
        seen_at: When it was last seen.
        box: float32 (4,), left, top, right, bottom in pixels, where it was last seen.
        speed: float32 (4,), change of the box, in pixels a second.
        hits: In how many frames it was seen.
    """

    number: int
    began_at: datetime
    seen_at: datetime
    box: NDArray[np.float32]
    speed: NDArray[np.float32]
    hits: int = 1

    def expected(self, now: datetime) -> NDArray[np.float32]:
        """Where it should be now."""
        return self.box + self.speed * np.float32((now - self.seen_at).total_seconds())

    def move(self, box: NDArray[np.float32], now: datetime) -> None:
        """It was seen there now."""
        seconds = max(1e-3, (now - self.seen_at).total_seconds())
        speed = (box - self.box) / np.float32(seconds)
        share = 1.0 if self.hits == 1 else _NEW_SPEED_SHARE
        self.speed = np.asarray(share * speed + (1 - share) * self.speed, np.float32)
        self.box, self.seen_at, self.hits = box, now, self.hits + 1


class Tracker:
    """Assigns boxes to tracks, frame by frame.

    Args:
        threshold: Least score of a box; a new track needs a little more.
        lost_s: Seconds without a box after which a track is over.
    """

    def __init__(self, threshold: float, lost_s: float) -> None:
        self._begin_from = threshold + _NEW_TRACK_MARGIN
        self._lost_s = lost_s
        self._tracks: list[Track] = []

    @property
    def live(self) -> tuple[Track, ...]:
        """The tracks that may go on."""
        return tuple(self._tracks)

    def update(self, boxes: Boxes, now: datetime) -> list[Track | None]:
        """Take the boxes of the next frame; returns the track of each, in their order.

        A weak box that carries on no track belongs to none.
        """
        self._tracks = [one for one in self._tracks if self._may_go_on(one, now)]
        owners: dict[int, Track] = {}
        strong = boxes[:, 4] >= self._begin_from
        for chosen in (np.flatnonzero(strong), np.flatnonzero(~strong)):
            free = [one for one in self._tracks if all(one is not owner for owner in owners.values())]
            for row, column in _assigned(free, boxes[chosen, :4], now):
                owners[int(chosen[column])] = free[row]
        for place, track in owners.items():
            track.move(boxes[place, :4].copy(), now)
        fresh = [int(place) for place in np.flatnonzero(strong) if int(place) not in owners]
        for number, place in enumerate(fresh):
            owners[place] = Track(number, now, now, boxes[place, :4].copy(), np.zeros(4, np.float32))
            self._tracks.append(owners[place])
        return [owners.get(place) for place in range(len(boxes))]

    def end(self) -> None:
        """No track goes on."""
        self._tracks = []

    def _may_go_on(self, track: Track, now: datetime) -> bool:
        return 0 <= (now - track.seen_at).total_seconds() <= self._lost_s


def _assigned(tracks: list[Track], boxes: NDArray[np.float32], now: datetime) -> list[tuple[int, int]]:
    """Pairs of places in ``tracks`` and ``boxes`` with the largest sum of overlaps."""
    if not tracks or len(boxes) == 0:
        return []
    overlaps = overlap(np.stack([one.expected(now) for one in tracks]), boxes)
    pairs = zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
    return [(int(row), int(column)) for row, column in pairs if overlaps[row, column] >= _LEAST_OVERLAP]


def overlap(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of boxes (N, 4) and (M, 4), as (N, M)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(shared / np.maximum(union, 1e-6), np.float32)
