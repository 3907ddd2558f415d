"""Where frames come from: video files, folders of images and videos, live streams."""

import os
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from peca_client.exif import captured_at
from peca_client.watch.errors import WatchError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm"})
_SETTLED_S = 1.0
_POLL_S = 0.5
_STREAM_TIMEOUT_MS = 10_000
_LONGEST_RECONNECT_S = 30.0

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a camera.

    Attributes:
        pixels: uint8 (H, W, 3), blue, green, red.
        captured_at: When, UTC.
        mark: Names the frame in its source for good; ``None`` where it cannot be had again (a live stream).
        still: It is a picture by itself, and no frame of a video.
    """

    pixels: Pixels
    captured_at: datetime
    mark: str | None
    still: bool = False


class Source(Protocol):
    """Gives frames until it ends or is stopped.

    Attributes:
        live: Frames that are not taken now are gone.
        notices: What went wrong with single files or the connection, in words.
    """

    live: bool
    notices: list[str]

    def frames(self, done: Collection[str], stop: threading.Event) -> Iterator[Frame | None]:
        """Frames in the order of capture, without those marked in ``done``; ``None`` while none comes."""
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

    def frames(self, done: Collection[str], stop: threading.Event) -> Iterator[Frame]:
        """See ``Source``.

        Raises:
            WatchError: OpenCV cannot read the file.
        """
        video = cv2.VideoCapture(str(self.path))
        try:
            if not video.isOpened():
                raise WatchError(f"expected a video file, but OpenCV cannot read {self.path}")
            yield from self._sampled(video, done, stop)
        finally:
            video.release()

    def _sampled(
        self, video: cv2.VideoCapture, done: Collection[str], stop: threading.Event
    ) -> Iterator[Frame]:
        native_fps = video.get(cv2.CAP_PROP_FPS) or 25.0
        length_s = max(0.0, video.get(cv2.CAP_PROP_FRAME_COUNT) / native_fps)
        start = self.start.astimezone(UTC) if self.start else self._recorded_from(length_s)
        name, step, due, number = file_mark(self.path), max(1.0, native_fps / self.fps), 0.0, -1
        while not stop.is_set() and video.grab():
            number += 1
            if number < due:
                continue
            due += step
            mark = f"{name}#{number}"
            if mark in done:
                continue
            read, pixels = video.retrieve()
            if read:
                moment = start + timedelta(seconds=number / native_fps)
                yield Frame(np.asarray(pixels, np.uint8), moment, mark)

    def _recorded_from(self, length_s: float) -> datetime:
        ended = datetime.fromtimestamp(self.path.stat().st_mtime, UTC)
        return ended - timedelta(seconds=length_s)


@dataclass
class FolderSource:
    """A folder of images and videos, taken in the order of their times; new files as they come.

    A file counts once it has not changed for a second, so that no half-written one is read. An image's time
    is EXIF's where it has one, else its file's.

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

    def frames(self, done: Collection[str], stop: threading.Event) -> Iterator[Frame | None]:
        """See ``Source``."""
        given: set[str] = set()
        while not stop.is_set():
            for taken, path in self._files(given):
                if stop.is_set():
                    break
                name = file_mark(path)
                given.add(name)
                if name not in done:
                    yield from self._frames_of(path, taken, done, stop)
            if self.once:
                return
            yield None
            stop.wait(_POLL_S)

    def _files(self, given: Collection[str]) -> list[tuple[datetime, Path]]:
        """The files but for those ``given``, each with its time, by time."""
        known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
        found = []
        for path in self.folder.rglob("*"):
            try:
                settled = self.once or time.time() - path.stat().st_mtime >= _SETTLED_S
                if (
                    path.suffix.lower() in known
                    and path.is_file()
                    and settled
                    and file_mark(path) not in given
                ):
                    found.append((_taken_at(path), path))
            except FileNotFoundError:
                continue
        return sorted(found)

    def _frames_of(
        self, path: Path, taken: datetime, done: Collection[str], stop: threading.Event
    ) -> Iterator[Frame]:
        try:
            if path.suffix.lower() in VIDEO_SUFFIXES:
                yield from VideoSource(path, self.fps).frames(done, stop)
                return
            pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
            if pixels is None:
                raise WatchError(f"expected an image, but OpenCV cannot read {path}")
        except (OSError, cv2.error, WatchError) as error:
            self.notices.append(f"{path.name} is left out: {error}")
        else:
            yield Frame(np.asarray(pixels, np.uint8), taken, file_mark(path), still=True)


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

    def frames(self, done: Collection[str], stop: threading.Event) -> Iterator[Frame | None]:  # noqa: ARG002
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
            f"expected a video file, a folder or an rtsp:// address; there is no {without_password(address)}"
        )
    if start is not None:
        raise WatchError(
            "--start is for a video file; images carry their own or their file's time, streams the present"
        )
    return source


def _taken_at(path: Path) -> datetime:
    """When a file's picture was taken, or its video ended."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        try:
            return captured_at(path)
        except PermissionError:
            pass  # it is left out, with a notice, when it is to be taken
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def file_mark(path: Path) -> str:
    """Names a file with its content's size and time, so that a changed file is another."""
    about = path.stat()
    return f"{path.resolve()}|{about.st_size}|{about.st_mtime_ns}"


def without_password(address: str) -> str:
    """An address without the name and password that it may carry."""
    scheme, mark, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else address
