"""Where frames come from: video files, folders of images and videos, live streams."""

import os
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from peca_client.exif import captured_at
from peca_client.watch.errors import WatchError
from peca_client.watch.notes import FileNote, Notes

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm"})
_QUIET_IMAGE_S, _QUIET_VIDEO_S = 1.0, 10.0
_POLL_S = 0.5
# Of the time, at most a tenth goes into looking through a folder.
_REST_OF_A_LOOK = 10
_STREAM_TIMEOUT_MS = 10_000
_LONGEST_RECONNECT_S = 30.0

Pixels = NDArray[np.uint8]
_Look = tuple[int, int]
"""Size and time of change of a file, as it looked."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a camera.

    Attributes:
        pixels: uint8 (H, W, 3), blue, green, red.
        captured_at: When, UTC.
        note: Of its file, up to this frame; ``None`` where it cannot be had again (a live stream).
        still: It is a picture by itself, and no frame of a video.
    """

    pixels: Pixels
    captured_at: datetime
    note: FileNote | None
    still: bool = False


class Source(Protocol):
    """Gives frames until it ends or is stopped.

    Attributes:
        live: Frames that are not taken now are gone.
        notices: What went wrong with single files or the connection, in words.
    """

    live: bool
    notices: list[str]

    def frames(self, notes: Notes, stop: threading.Event) -> Iterator[Frame | FileNote | None]:
        """Frames in the order of capture, without those that ``notes`` know as done.

        A note says that a file was read to its end; ``None`` comes while no frame does.
        """
        ...


@dataclass
class VideoSource:
    """A video file, of which ``fps`` frames a second are taken.

    Attributes:
        path: The file.
        fps: Frames a second to take; the file's own where it has fewer.
        start: When the recording began; by the file's time of change and its length where not given.
    """

    path: Path
    fps: float
    start: datetime | None = None
    live: bool = False
    notices: list[str] = field(default_factory=list)

    def frames(self, notes: Notes, stop: threading.Event) -> Iterator[Frame | FileNote]:
        """See ``Source``.

        Raises:
            WatchError: OpenCV cannot read the file.
            OSError: The file cannot be read.
        """
        path = self.path.absolute()
        about = path.stat()
        known = notes.note(path)
        note = known.now(about) if known else FileNote.of(path, about)
        if note.whole:
            notes.keep(note)
            return
        video = cv2.VideoCapture(str(path))
        try:
            if not video.isOpened():
                raise WatchError(f"expected a video file, but OpenCV cannot read {self.path}")
            native_fps = video.get(cv2.CAP_PROP_FPS) or 25.0
            start = self.start or note.start or _began(path, video, native_fps, about)
            note = replace(note, start=start.astimezone(UTC))
            notes.keep(note)
            yield from self._sampled(video, native_fps, note, stop)
        finally:
            video.release()

    def _sampled(
        self, video: cv2.VideoCapture, native_fps: float, note: FileNote, stop: threading.Event
    ) -> Iterator[Frame | FileNote]:
        start, step = note.start or datetime.now(UTC), max(1.0, native_fps / self.fps)
        due, number, done = 0.0, -1, note.frame
        while not stop.is_set():
            if not video.grab():
                yield replace(note, frame=max(number, done), whole=True)
                return
            number += 1
            if number < due:
                continue
            due += step
            if number <= done:
                continue
            read, pixels = video.retrieve()
            if read:
                moment = start + timedelta(seconds=number / native_fps)
                yield Frame(np.asarray(pixels, np.uint8), moment, replace(note, frame=number))


@dataclass
class FolderSource:
    """A folder of images and videos, taken in the order of their times; new files as they come.

    A file counts once it has not changed for a while, so that no half-written one is read: an image for a
    second, a video, to which a recorder adds by fits and starts, for ten. A video that grows even so is gone
    on with where it was left. An image's time is EXIF's where it has one, else its file's.

    Attributes:
        folder: The folder; folders in it are looked at too.
        fps: As for ``VideoSource``.
        once: End when all that is there was taken.
    """

    folder: Path
    fps: float
    once: bool = False
    live: bool = False
    notices: list[str] = field(default_factory=list)
    _given: dict[Path, _Look | None] = field(default_factory=dict)
    _restless: dict[Path, tuple[_Look, float]] = field(default_factory=dict)

    def frames(self, notes: Notes, stop: threading.Event) -> Iterator[Frame | FileNote | None]:
        """See ``Source``."""
        folder = self.folder.absolute()
        # What was noted in earlier runs is forgotten too once it is gone.
        self._given = dict.fromkeys(notes.noted(folder))
        while not stop.is_set():
            began = time.monotonic()
            files = self._new_files(folder, notes)
            looked_s = time.monotonic() - began
            for taken, path, about in files:
                if stop.is_set():
                    break
                self._given[path] = _look(about)
                yield from self._frames_of(path, taken, about, notes, stop)
            if self.once:
                return
            yield None
            stop.wait(max(_POLL_S, _REST_OF_A_LOOK * looked_s))

    def _new_files(self, folder: Path, notes: Notes) -> list[tuple[datetime, Path, os.stat_result]]:
        """The files that are to be taken now, each with its time, by time."""
        new, there, unread = [], set[Path](), list[OSError]()
        for inside, _, names in os.walk(folder, onerror=unread.append):
            for name in names:
                path = Path(inside, name)
                if path.suffix.lower() not in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
                    continue
                try:
                    about = path.stat()
                    there.add(path)
                    if stat.S_ISREG(about.st_mode) and self._is_new(path, about, notes):
                        new.append((_taken_at(path, about), path, about))
                except OSError:
                    continue
        # An empty folder is rather a disk that is not there than one that was cleared.
        if there and not unread:
            self._forget(self._given.keys() - there, notes)
        return sorted(new, key=lambda file: file[:2])

    def _is_new(self, path: Path, about: os.stat_result, notes: Notes) -> bool:
        if self._given.get(path) == _look(about):
            return False
        note = notes.note(path)
        if note is not None and note.whole and note.is_of(about):
            self._given[path] = _look(about)
            return False
        return self.once or self._is_quiet(path, about)

    def _is_quiet(self, path: Path, about: os.stat_result) -> bool:
        now = time.time()
        seen, since = self._restless.get(path, (_look(about), min(now, about.st_mtime)))
        since = since if seen == _look(about) else now
        quiet = now - since >= (_QUIET_VIDEO_S if path.suffix.lower() in VIDEO_SUFFIXES else _QUIET_IMAGE_S)
        if quiet:
            self._restless.pop(path, None)
        else:
            self._restless[path] = _look(about), since
        return quiet

    def _forget(self, gone: set[Path], notes: Notes) -> None:
        if gone:
            notes.forget(gone)
        for path in gone:
            del self._given[path]
            self._restless.pop(path, None)

    def _frames_of(
        self, path: Path, taken: datetime, about: os.stat_result, notes: Notes, stop: threading.Event
    ) -> Iterator[Frame | FileNote]:
        try:
            if path.suffix.lower() in VIDEO_SUFFIXES:
                yield from VideoSource(path, self.fps).frames(notes, stop)
                return
            pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
            if pixels is None:
                raise WatchError(f"expected an image, but OpenCV cannot read {path}")
        except (OSError, cv2.error, WatchError) as error:
            until = "" if self.once else " until it changes"
            self.notices.append(f"{path.name} is left out{until}: {error}")
        else:
            note = FileNote(path, about.st_size, about.st_mtime_ns, sample="", whole=True)
            yield Frame(np.asarray(pixels, np.uint8), taken, note, still=True)


@dataclass
class StreamSource:
    """A live stream, by RTSP or HTTP; connected again, after a growing wait, whenever it breaks.

    A thread reads all frames and keeps the newest, so that a slow detector never falls behind.

    Attributes:
        url: The stream's address; its password is never shown.
        fps: Frames a second to take.
    """

    url: str
    fps: float
    live: bool = True
    notices: list[str] = field(default_factory=list)

    def frames(self, notes: Notes, stop: threading.Event) -> Iterator[Frame | None]:  # noqa: ARG002
        """See ``Source``; a frame was captured when it arrived."""
        newest = _Newest()
        reader = threading.Thread(target=self._read, args=(newest, stop), daemon=True, name="stream")
        reader.start()
        while not stop.is_set():
            began = time.monotonic()
            frame = newest.take(timeout_s=_POLL_S)
            yield frame
            if frame is not None:
                stop.wait(max(0.0, 1.0 / self.fps - (time.monotonic() - began)))
        reader.join(timeout=1.0)

    def _read(self, newest: "_Newest", stop: threading.Event) -> None:
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
        # OpenCV's own warning repeats what the notice says; FFmpeg's lines, which say why, stay.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _STREAM_TIMEOUT_MS]
        limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, _STREAM_TIMEOUT_MS]
        wait_s = 1.0
        while not stop.is_set():
            video = cv2.VideoCapture(self.url, cv2.CAP_FFMPEG, limits)
            while not stop.is_set():
                read, pixels = video.read()
                if not read:
                    break
                newest.put(Frame(np.asarray(pixels, np.uint8), datetime.now(UTC), None))
                wait_s = 1.0
            video.release()
            if not stop.is_set():
                self.notices.append(f"no picture from {without_password(self.url)}; again in {wait_s:.0f} s")
            stop.wait(wait_s)
            wait_s = min(_LONGEST_RECONNECT_S, 2 * wait_s)


class _Newest:
    """Holds one frame; a newer one takes its place."""

    def __init__(self) -> None:
        self._frame: Frame | None = None
        self._came = threading.Condition()

    def put(self, frame: Frame) -> None:
        with self._came:
            self._frame = frame
            self._came.notify()

    def take(self, timeout_s: float) -> Frame | None:
        with self._came:
            self._came.wait_for(lambda: self._frame is not None, timeout_s)
            frame, self._frame = self._frame, None
            return frame


def open_source(address: str, fps: float, start: datetime | None, once: bool) -> Source:
    """The source that an address names.

    Raises:
        WatchError: There is no such file or folder, or ``start`` was given for another than a video file.
    """
    if address.lower().startswith(("rtsp://", "rtsps://", "http://", "https://")):
        source: Source = StreamSource(address, fps)
    elif Path(address).is_dir():
        source = FolderSource(Path(address), fps, once)
    elif Path(address).is_file():
        return VideoSource(Path(address), fps, start)
    else:
        raise WatchError(
            "expected a video file, a folder, or an rtsp:// or http:// address; there is no "
            f"{without_password(address)}"
        )
    if start is not None:
        raise WatchError(
            "--start is for a video file; images carry their own or their file's time, streams the present"
        )
    return source


def _began(path: Path, video: cv2.VideoCapture, native_fps: float, about: os.stat_result) -> datetime:
    """When a video began that ended at its file's time; one that a recorder still has open says no length."""
    frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    if frames <= 0:
        counted = cv2.VideoCapture(str(path))
        frames = 0
        while counted.grab():
            frames += 1
        counted.release()
    return _file_time(about) - timedelta(seconds=frames / native_fps)


def _taken_at(path: Path, about: os.stat_result) -> datetime:
    """When a file's picture was taken, or its video ended."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        try:
            return captured_at(path)
        except PermissionError:
            pass  # it is left out, with a notice, when it is to be taken
    return _file_time(about)


def _file_time(about: os.stat_result) -> datetime:
    return datetime.fromtimestamp(about.st_mtime, UTC)


def _look(about: os.stat_result) -> _Look:
    return about.st_size, about.st_mtime_ns


def without_password(address: str) -> str:
    """An address without the name and password that it may carry, before its host or in its query."""
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    place, query, _ = rest.rpartition("@")[2].partition("?")
    return f"{scheme}{mark}{place}{query and '?...'}"
