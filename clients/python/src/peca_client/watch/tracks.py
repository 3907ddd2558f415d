"""Which boxes of successive frames are one person.

The trackers that are kept on the package index bring PyAV, OpenCV 5 (without HOG) or numpy 1 with them, so
the agent has its own: boxes move on evenly, and are assigned by overlap with SciPy's solver; weak boxes
carry a track on but begin none (the idea of ByteTrack, Zhang et al., ECCV 2022, without its Kalman filter).

It follows a slow machine too: the fewer frames a second there are, the longer a track may go unseen, and the
further away the second sight of somebody who walks may be.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from statistics import median_low

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from peca_client.watch.detectors import Boxes

_LEAST_OVERLAP = 0.2
_NEW_SPEED_SHARE = 0.5
_NEW_TRACK_MARGIN = 0.1
# Somebody at a brisk walk, in their own heights a second, and how unlike two sights of them are in height.
_WALK_HEIGHTS = 1.2
_LEAST_HEIGHT_RATIO = 0.75
# A longer gap is a break of the source and no pace.
_LONGEST_GAP_S = 10.0
_GAPS_OF_A_LOSS = 3
_REMEMBERED_GAPS = 9


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
        lost_s: Seconds without a box after which a track is over, or longer where frames come slowly.
    """

    def __init__(self, threshold: float, lost_s: float) -> None:
        self._begin_from = threshold + _NEW_TRACK_MARGIN
        self._lost_s = lost_s
        self._tracks: list[Track] = []
        self._gaps_s: deque[float] = deque(maxlen=_REMEMBERED_GAPS)
        self._last_at: datetime | None = None

    @property
    def patience_s(self) -> float:
        """Seconds without a box after which a track is over: that long, and at least some frames."""
        return max(self._lost_s, _GAPS_OF_A_LOSS * median_low(self._gaps_s) if self._gaps_s else 0.0)

    @property
    def live(self) -> tuple[Track, ...]:
        """The tracks that may go on."""
        return tuple(self._tracks)

    def update(self, boxes: Boxes, now: datetime, still: bool = False) -> list[Track | None]:
        """Take the boxes of the next frame; returns the track of each, in their order.

        A weak box that carries on no track belongs to none.

        Args:
            boxes: Those of the frame.
            now: When it was captured.
            still: It is a picture by itself, so that its distance to the one before is no pace.
        """
        before, self._last_at = self._last_at, now
        if before is not None and not still:
            self._keep_pace((now - before).total_seconds())
        self._tracks = [one for one in self._tracks if self._may_go_on(one, now)]
        owners: dict[int, Track] = {}
        strong = boxes[:, 4] >= self._begin_from
        for chosen in (np.flatnonzero(strong), np.flatnonzero(~strong)):
            free = [one for one in self._tracks if all(one is not owner for owner in owners.values())]
            for row, column in _assigned(free, boxes[chosen, :4], now, before):
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

    def _keep_pace(self, gap_s: float) -> None:
        if 0 < gap_s <= _LONGEST_GAP_S:
            self._gaps_s.append(gap_s)

    def _may_go_on(self, track: Track, now: datetime) -> bool:
        return 0 <= (now - track.seen_at).total_seconds() <= self.patience_s


def _assigned(
    tracks: list[Track], boxes: NDArray[np.float32], now: datetime, before: datetime | None
) -> list[tuple[int, int]]:
    """Pairs of places in ``tracks`` and ``boxes`` that are most alike in sum."""
    if not tracks or len(boxes) == 0:
        return []
    overlaps = overlap(np.stack([one.expected(now) for one in tracks]), boxes)
    # What only may be reached by walking goes behind all that overlaps.
    reached = _LEAST_OVERLAP * np.stack([_within_reach(one, boxes, now, before) for one in tracks])
    alike = np.where(overlaps >= _LEAST_OVERLAP, overlaps, reached)
    pairs = zip(*linear_sum_assignment(alike, maximize=True), strict=True)
    return [(int(row), int(column)) for row, column in pairs if alike[row, column] > 0]


def _within_reach(
    track: Track, boxes: NDArray[np.float32], now: datetime, before: datetime | None
) -> NDArray[np.float32]:
    """How near boxes (N, 4) are to a person who was first seen in the frame before, in [0, 1).

    Their speed is not known yet. Who was missed in between could be anywhere: any box would do.
    """
    if track.hits > 1 or track.seen_at != before:
        return np.zeros(len(boxes), np.float32)
    height, heights = track.box[3] - track.box[1], boxes[:, 3] - boxes[:, 1]
    reach = height * _WALK_HEIGHTS * (now - track.seen_at).total_seconds()
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2 - (track.box[:2] + track.box[2:]) / 2
    nearness = 1 - np.linalg.norm(middles, axis=1) / max(1e-6, reach)
    same_size = np.minimum(height, heights) >= _LEAST_HEIGHT_RATIO * np.maximum(height, heights)
    return np.asarray(np.where(same_size, nearness.clip(0, 1), 0), np.float32)


def overlap(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of boxes (N, 4) and (M, 4), as (N, M)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(shared / np.maximum(union, 1e-6), np.float32)
