"""One camera: frames to people, people to tracks, tracks to a few crops, crops to the spool."""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from peca_client.models import Modality
from peca_client.watch.crops import Crop, CropPicker, CropRules, light_of
from peca_client.watch.detectors import Detector
from peca_client.watch.notes import FileNote
from peca_client.watch.sources import Frame, Source
from peca_client.watch.spool import Spool
from peca_client.watch.tracks import Track, Tracker
from peca_client.wording import counted, tracks_told

_NEWS_S = 60.0
# A disk that wears, as cards by cameras do, is not written to for each frame in which nobody is.
_NOTES_S = 1.0
_ROOM_POLL_S = 0.5
_OF_VIDEOS = 2
_OF_STILLS = 1
_TIMED_FRAMES = 5
_FRAMES_OF_A_LOSS = 3


@dataclass(frozen=True, slots=True)
class CameraRules:
    """What the agent makes of a camera's frames.

    Attributes:
        camera_id: The site's name of the camera.
        modality: Its light; ``None`` judges each frame, infrared where it has no colours.
        crops: Which crops are kept.
        threshold: Least score of a box.
        least_hits: A track seen in fewer frames is taken for an error of the detector; ``None`` is 2, and
            1 of people in a still image.
        lost_s: Seconds without a box after which a track is over; longer where frames come slowly.
    """

    camera_id: str
    modality: Modality | None
    crops: CropRules
    threshold: float
    least_hits: int | None
    lost_s: float


@dataclass
class Agent:
    """Runs a source to its end, or until it is stopped.

    Attributes:
        rules: What is made of the frames.
        detector: Finds people.
        spool: Takes the crops.
        say: Takes messages for people.
        counts: ``frames``, ``people`` (boxes), ``tracks``, ``short`` (tracks of too few frames), ``spooled``,
            and crops that were ``blurred``, ``tiny``, or ``dropped`` since the spool was full.
    """

    rules: CameraRules
    detector: Detector
    spool: Spool
    say: Callable[[str], None]
    counts: Counter[str] = field(default_factory=Counter)
    _tracks: dict[str, Track] = field(default_factory=dict)
    _stills: set[str] = field(default_factory=set)
    _notes: dict[Path, FileNote] = field(default_factory=dict)
    _noted_at: float = -math.inf
    _was_full: bool = False
    _was_slow: bool = False

    def __post_init__(self) -> None:
        self._tracker = Tracker(self.rules.threshold, self.rules.lost_s)
        self._picker = CropPicker(self.rules.crops, self.counts)
        self._detector_s: deque[float] = deque(maxlen=_TIMED_FRAMES)

    def run(self, source: Source, stop: threading.Event, check: Callable[[], None]) -> None:
        """Take frames until the source ends or ``stop`` is set; ``check`` is asked after each.

        A source that is no live one waits while the spool is full; of a live one crops are dropped then.
        """
        heard_at = news_at = time.monotonic()
        for frame in source.frames(self.spool, stop):
            check()
            self._pass_on(source)
            now = time.monotonic()
            if isinstance(frame, FileNote):
                self._notes[frame.path] = frame
                self._give_away([], [], source.live, stop)
            elif frame is not None:
                self._take(frame, source.live, stop)
                heard_at = time.monotonic()
            elif now - heard_at > self._tracker.patience_s:
                self._end_tracks(source.live, stop)
            if now - news_at >= _NEWS_S:
                news_at = now
                self.say(self.news())
        self._pass_on(source)
        self._noted_at = -math.inf
        if not stop.is_set() or source.live:
            self._end_tracks(source.live, stop)
        else:
            self._give_away([], [], source.live, stop)

    def news(self) -> str:
        """Where it stands, in one line."""
        count = self.counts
        return (
            f"{counted(count['frames'], 'frame')}, {tracks_told(count)}, "
            f"{counted(count['spooled'], 'crop')} kept, "
            f"{count['blurred']} blurred and {count['tiny']} tiny left out, {self.spool.waiting()} to be sent"
        )

    def _take(self, frame: Frame, live: bool, stop: threading.Event) -> None:
        began = time.monotonic()
        boxes = self.detector.detect(frame.pixels)
        if live:
            self._tell_slow(time.monotonic() - began)
        self.counts["frames"] += 1
        self.counts["people"] += len(boxes)
        modality = self.rules.modality or light_of(frame.pixels)
        for box, track in zip(
            boxes, self._tracker.update(boxes, frame.captured_at, frame.still), strict=True
        ):
            if track is not None:
                name = self._name(track)
                self._tracks[name] = track
                if frame.still:
                    self._stills.add(name)
                self._picker.see(name, frame.pixels, box[:4], frame.captured_at, modality)
        if frame.note is not None:
            self._notes[frame.note.path] = frame.note
        going_on = {self._name(track) for track in self._tracker.live}
        over = [name for name in self._picker.tracks() if name not in going_on]
        long = [name for name in self._picker.due(frame.captured_at) if name in going_on]
        self._give_away(over, long, live, stop)

    def _least_hits(self, name: str) -> int:
        if self.rules.least_hits is not None:
            return self.rules.least_hits
        return _OF_STILLS if name in self._stills else _OF_VIDEOS

    def _end_tracks(self, live: bool, stop: threading.Event) -> None:
        self._tracker.end()
        self._give_away(self._picker.tracks(), [], live, stop)

    def _give_away(self, over: Sequence[str], long: Sequence[str], live: bool, stop: threading.Event) -> None:
        """Spool the crops of tracks; where none goes on, the frames up to here are done for good.

        Frames are noted no sooner, so that after a kill each track is seen again from its beginning and
        gives the same crops, which the server knows by their content.
        """
        crops: list[Crop] = []
        for name in (*over, *long):
            picked = self._picker.take(self.rules.camera_id, name)
            if self._tracks[name].hits >= self._least_hits(name):
                crops += picked
        for name in over:
            kept = self._tracks[name].hits >= self._least_hits(name)
            del self._tracks[name]
            self._stills.discard(name)
            self.counts["tracks" if kept else "short"] += 1
        notes: list[FileNote] = []
        now = time.monotonic()
        if not self._tracker.live and (crops or now - self._noted_at >= _NOTES_S):
            notes, self._notes, self._noted_at = list(self._notes.values()), {}, now
        if crops or notes:
            self._store(crops, notes, live, stop)

    def _store(self, crops: list[Crop], notes: list[FileNote], live: bool, stop: threading.Event) -> None:
        if crops and self.spool.full:
            self._tell_full(live)
            while self.spool.full and not live and not stop.wait(_ROOM_POLL_S):
                pass
            if self.spool.full:
                self.counts["dropped"] += len(crops) if live else 0
                return
        self._was_full = False
        self.counts["spooled"] += self.spool.add(crops, notes)

    def _tell_slow(self, detector_s: float) -> None:
        """Say once that of a live stream few frames are seen: the agent finds fewer people, and goes on."""
        self._detector_s.append(detector_s)
        usual_s = median(self._detector_s)
        if self._was_slow or len(self._detector_s) < _TIMED_FRAMES:
            return
        if usual_s * _FRAMES_OF_A_LOSS > self.rules.lost_s:
            self._was_slow = True
            self.say(
                f"the detector takes {usual_s:.1f} s a frame: who passes within {2 * usual_s:.1f} s may be "
                "missed; a network (--detector FILE), a smaller stream or a faster machine sees more"
            )

    def _tell_full(self, live: bool) -> None:
        if not self._was_full:
            what = "new crops are dropped" if live else "the agent waits"
            self.say(
                f"the spool {self.spool.folder} is full (--spool-mb): {what} until the server takes some"
            )
        self._was_full = True

    def _pass_on(self, source: Source) -> None:
        while source.notices:
            self.say(source.notices.pop(0))

    def _name(self, track: Track) -> str:
        """The same for the same frames, in whichever run; no two tracks of a camera share it."""
        began = f"{track.began_at:%Y%m%dT%H%M%S}.{track.began_at.microsecond // 1000:03d}Z"
        return f"{self.rules.camera_id}-{began}-{track.number}"
