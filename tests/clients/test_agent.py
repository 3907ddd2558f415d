"""The parts of the camera agent: tracks, crops, the spool, reading of networks, the command line."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from peca_client import Modality
from peca_client.__main__ import main
from peca_client.watch.agent import Agent, CameraRules
from peca_client.watch.crops import Crop, CropPicker, CropRules, light_of, sharpness
from peca_client.watch.errors import WatchError
from peca_client.watch.networks import letterbox, read_yolo
from peca_client.watch.notes import FileNote
from peca_client.watch.sources import FolderSource, Frame, VideoSource, open_source, without_password
from peca_client.watch.spool import Spool
from peca_client.watch.tracks import Tracker

NOW = datetime(2026, 5, 1, 23, tzinfo=UTC)


def crop(number: int) -> Crop:
    return Crop("gate", "gate-1", NOW + timedelta(seconds=number), Modality.INFRARED, b"jpeg %d" % number)


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 5)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_the_client_alone_needs_neither_opencv_nor_numpy() -> None:
    code = (
        "import sys; sys.modules['cv2'] = sys.modules['numpy'] = sys.modules['scipy'] = None\n"
        "import peca_client\n"
        "from peca_client.__main__ import main\n"
        "server = ['--url', 'http://127.0.0.1:9', '--api-key', 'peca_x']\n"
        "sys.exit(main(['watch', 'x', '--camera', 'c', '--modality', 'auto', *server]))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "pip install './clients/python[watch]'" in ended.stderr


def test_two_who_cross_stay_two_tracks() -> None:
    tracker, seen = Tracker(0.5, lost_s=1.0), []
    for step in range(11):
        left, right = 40.0 * step, 400 - 40.0 * step
        rows = boxes((left, 0, left + 60, 200, 0.9), (right, 40, right + 60, 180, 0.9))
        seen.append(tracker.update(rows, NOW + timedelta(seconds=step / 5)))
    assert {id(pair[0]) for pair in seen} == {id(seen[0][0])}
    assert {id(pair[1]) for pair in seen} == {id(seen[0][1])}


def test_weak_boxes_carry_on_and_do_not_begin_and_a_gap_ends() -> None:
    tracker, weak, strong = Tracker(0.5, 1.0), (0, 0, 60, 200, 0.52), (0, 0, 60, 200, 0.9)
    assert tracker.update(boxes(weak), NOW) == [None]
    first = tracker.update(boxes(strong), NOW)[0]
    assert tracker.update(boxes(weak), NOW + timedelta(seconds=0.5))[0] is first
    assert tracker.update(boxes(strong), NOW + timedelta(seconds=3))[0] is not first


def test_the_sharpest_crops_some_time_apart_are_kept_and_the_others_counted() -> None:
    picker = CropPicker(CropRules(crops_per_track=2, apart_s=0.5))
    sharp, box = noise(200, 100), np.array([0, 0, 100, 200], np.float32)
    soft = cv2.GaussianBlur(sharp, (0, 0), 2)
    blurred = np.full_like(sharp, 90)
    tiny = np.array([0, 0, 20, 40], np.float32)
    looks = [(0.0, soft, box), (0.2, sharp, box), (0.4, soft, box), (1.0, soft, box), (2.0, sharp, box)]
    for seconds, pixels, where in (*looks, (3.0, blurred, box), (3.2, sharp, tiny)):
        picker.see("t", pixels, where, NOW + timedelta(seconds=seconds), Modality.INFRARED)
    assert picker.counts == {"blurred": 1, "tiny": 1}
    taken = picker.take("gate", "t")
    assert [(one.captured_at - NOW).total_seconds() for one in taken] == [0.2, 2.0]
    assert sharpness(sharp) > sharpness(soft) > sharpness(blurred) == 0


def test_a_frame_without_colours_is_infrared() -> None:
    assert light_of(noise(64, 64)) is Modality.VISIBLE
    assert light_of(np.repeat(noise(64, 64)[:, :, :1], 3, axis=2)) is Modality.INFRARED


def test_the_spool_keeps_once_bounds_and_lets_go(tmp_path: Path) -> None:
    with Spool(tmp_path, most_bytes=10) as spool:
        note = FileNote(Path("/in/v.avi"), 9, 7, "sample", NOW, 3)
        assert spool.add([crop(1), crop(1)], [note]) == 1
        assert not spool.full
        spool.add([crop(2)], [replace(note, frame=5)])
        assert spool.full
        with pytest.raises(WatchError, match="another agent"):
            Spool(tmp_path, 10)
    with Spool(tmp_path, most_bytes=10) as spool:
        assert spool.full
        assert spool.note(Path("/in/v.avi")) == replace(note, frame=5)
        assert (spool.noted(Path("/in")), spool.noted(Path("/i"))) == ([Path("/in/v.avi")], [])
        first, second = spool.oldest(5)
        assert (first.image_id, first.captured_at) == (crop(1).image_id, crop(1).captured_at)
        spool.refuse(str(second.image_id), "no")
        spool.remove([str(first.image_id)])
        assert (spool.waiting(), spool.refused(), spool.full) == (0, 1, False)
        assert spool.retry_refused() == 1
        assert spool.waiting() == 1


@pytest.mark.parametrize("form", ["v8", "v5", "end to end"])
def test_yolo_outputs_are_read(form: str) -> None:
    output = {
        "v8": np.zeros((1, 6, 2000), np.float32),
        "v5": np.zeros((1, 2000, 7), np.float32),
        "end to end": np.zeros((1, 300, 6), np.float32),
    }[form]
    if form == "v8":
        output[0, :5, 7] = (50, 60, 20, 40, 0.8)
    elif form == "v5":
        output[0, 7] = (50, 60, 20, 40, 1.0, 0.8, 0)
    else:
        output[0, :, 5] = 1
        output[0, 7] = (40, 40, 60, 80, 0.8, 0)
    found = read_yolo(output, 0)
    assert found[found[:, 4] > 0.5].tolist() == [pytest.approx([40, 40, 60, 80, 0.8])]


def test_a_letterbox_keeps_the_proportions() -> None:
    image, scale, border = letterbox(noise(100, 200), (64, 64))
    assert (image.shape, scale, border) == ((1, 3, 64, 64), 0.32, (0, 16))


def looked_at(source: FolderSource, spool: Spool) -> list[Frame]:
    """The frames of a run that ends well, each noted as done."""
    frames = []
    for one in source.frames(spool, threading.Event()):
        note = one if isinstance(one, FileNote) else one and one.note
        if note is not None:
            spool.keep(note)
        if isinstance(one, Frame):
            frames.append(one)
    return frames


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", 1 << 20) as opened:
        yield opened


def test_a_folder_gives_each_image_once_and_names_the_bad_one(tmp_path: Path, spool: Spool) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / name), noise(20, 20))
    (folder / "bad.jpg").write_bytes(b"no image")
    source = FolderSource(folder, fps=5, once=True)
    assert len(looked_at(source, spool)) == 2
    assert "bad.jpg is left out" in source.notices[0]
    cv2.imwrite(str(folder / "a.png"), noise(30, 20))
    cv2.imwrite(str(folder / "c.png"), noise(20, 20))
    again = looked_at(FolderSource(folder, fps=5, once=True), spool)
    assert [frame.note.path.name for frame in again if frame.note] == ["a.png", "c.png"]


def recorder(path: Path, code: str = "MJPG") -> cv2.VideoWriter:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 5, (320, 240))
    assert video.isOpened()
    return video


def numbered(number: int) -> np.ndarray:
    """A frame with its number as eight fields of black and white, rich enough to be written soon."""
    pixels = np.repeat(noise(240, 320)[:, :, :1], 3, axis=2)
    for bit in range(8):
        pixels[:40, 40 * bit : 40 * bit + 40] = 255 * (number >> bit & 1)
    return pixels


def write_video(path: Path, frames: int, first: int = 0) -> None:
    video = recorder(path)
    for number in range(first, first + frames):
        video.write(numbered(number))
    video.release()


def numbers(frames: list[Frame]) -> list[int]:
    fields = [frame.pixels[8:32].reshape(24, 8, 40, 3).mean(axis=(0, 2, 3)) > 127 for frame in frames]
    return [sum(int(field) << bit for bit, field in enumerate(one)) for one in fields]


@pytest.mark.parametrize(("form", "code"), [("mkv", "MJPG"), ("avi", "MJPG"), ("ts", "mp4v")])
def test_a_video_that_grows_is_gone_on_with_by_the_clock_that_it_began_with(
    tmp_path: Path, spool: Spool, form: str, code: str
) -> None:
    """The recorder has it open at the first look: it says no length, and its head is mended at the end."""
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / f"v.{form}"
    video = recorder(path, code)
    for number in range(60):
        video.write(numbered(number))
    os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    first = looked_at(FolderSource(folder, fps=5, once=True), spool)
    assert 5 < len(first) < 60
    assert first[0].captured_at == NOW - timedelta(seconds=len(first) / 5)
    for number in range(60, 80):
        video.write(numbered(number))
    video.release()
    rest = looked_at(FolderSource(folder, fps=5, once=True), spool)
    assert numbers(first + rest) == list(range(80))
    began = first[0].captured_at
    times = [round((frame.captured_at - began).total_seconds() * 5) for frame in first + rest]
    assert times == list(range(80))
    os.utime(path, (0, 0))
    assert looked_at(FolderSource(folder, fps=5, once=True), spool) == []


def test_another_video_of_the_same_name_is_another(tmp_path: Path, spool: Spool) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for first, frames in ((0, 10), (10, 20), (20, 5)):
        write_video(folder / "loop.avi", frames, first)
        seen = looked_at(FolderSource(folder, fps=5, once=True), spool)
        assert numbers(seen) == list(range(first, first + frames))


def test_a_video_that_is_done_is_not_opened_again_and_what_is_gone_is_forgotten(
    tmp_path: Path, spool: Spool
) -> None:
    folder = tmp_path / "in"
    (folder / "day").mkdir(parents=True)
    done, image = folder / "day" / "v.avi", folder / "i.png"
    write_video(done, 10)
    cv2.imwrite(str(image), noise(20, 20))
    assert len(looked_at(FolderSource(folder, fps=5, once=True), spool)) == 11
    about = done.stat()
    done.write_bytes(bytes(about.st_size))
    os.utime(done, ns=(about.st_atime_ns, about.st_mtime_ns))
    source = FolderSource(folder, fps=5, once=True)
    assert looked_at(source, spool) == []
    assert source.notices == [], "it can not be read any more, which nobody tried"
    assert len(spool.noted(folder)) == 2
    done.unlink()
    looked_at(FolderSource(folder, fps=5, once=True), spool)
    assert spool.noted(folder) == [image]
    image.unlink()
    looked_at(FolderSource(folder, fps=5, once=True), spool)
    assert len(spool.noted(folder)) == 1, "an empty folder is a disk that is away"


def test_a_video_counts_once_it_rests(tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By fits and starts a recorder adds to it; the clock alone is made."""
    path, now = tmp_path / "v.avi", [NOW.timestamp()]
    monkeypatch.setattr("peca_client.watch.sources.time.time", lambda: now[0])
    source = FolderSource(tmp_path, fps=5)
    write_video(path, 5)
    os.utime(path, (now[0], now[0]))

    def takes() -> bool:
        return bool(source._new_files(tmp_path, spool))

    assert not takes()
    now[0] += 8
    write_video(path, 9)
    os.utime(path, (now[0] + 3600, now[0] + 3600))  # a clock of the recorder that is an hour ahead
    assert not takes()
    now[0] += 8
    assert not takes()
    now[0] += 3
    assert takes()


def test_a_name_that_is_no_text_is_a_file_like_any(tmp_path: Path, spool: Spool) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), noise(20, 20))
    (folder / "a.png").rename(folder / os.fsdecode(b"caf\xe9.png"))
    assert len(looked_at(FolderSource(folder, fps=5, once=True), spool)) == 1
    assert looked_at(FolderSource(folder, fps=5, once=True), spool) == []


def test_images_of_a_folder_come_in_the_order_in_which_they_say_that_they_were_taken(
    tmp_path: Path, spool: Spool
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, hour in (("first.jpg", "11"), ("second.jpg", "09")):
        exif = Image.Exif()
        taken = {ExifTags.Base.DateTimeOriginal: f"2026:05:01 {hour}:00:00"}
        exif.get_ifd(ExifTags.IFD.Exif).update({**taken, ExifTags.Base.OffsetTimeOriginal: "+02:00"})
        Image.fromarray(noise(20, 20)).save(folder / name, exif=exif)
    Image.fromarray(noise(20, 20)).save(folder / "third.jpg")
    os.utime(folder / "third.jpg", (NOW.timestamp(), NOW.timestamp()))
    frames = looked_at(FolderSource(folder, fps=5, once=True), spool)
    assert [frame.captured_at for frame in frames] == [
        datetime(2026, 5, 1, 7, tzinfo=UTC),
        datetime(2026, 5, 1, 9, tzinfo=UTC),
        NOW,
    ]
    assert all(frame.still for frame in frames)


@pytest.mark.parametrize(("least_hits", "tracks", "short"), [(None, 1, 1), (1, 2, 0), (2, 0, 2)])
def test_of_a_folder_one_look_is_enough_in_a_still_image_and_not_in_a_video(
    tmp_path: Path, least_hits: int | None, tracks: int, short: int
) -> None:
    class Once:
        """Sees a person in the still image, and in one frame of the video."""

        seen = 0

        def detect(self, pixels: np.ndarray) -> np.ndarray:
            self.seen += 1
            return boxes((0, 0, pixels.shape[1], pixels.shape[0], 0.9)) if self.seen <= 2 else boxes()

    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "still.png"), noise(128, 64))
    os.utime(tmp_path / "in" / "still.png", (0, 0))
    video = cv2.VideoWriter(str(tmp_path / "in" / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 128))
    for _ in range(4):
        video.write(noise(128, 64))
    video.release()
    rules = CameraRules("gate", None, CropRules(), 0.3, least_hits, 1.0)
    with Spool(tmp_path / "spool", 1 << 20) as spool:
        agent = Agent(rules, Once(), spool, lambda _: None)
        agent.run(FolderSource(tmp_path / "in", fps=5, once=True), threading.Event(), lambda: None)
        assert (agent.counts["tracks"], agent.counts["short"]) == (tracks, short)


def test_addresses_and_messages() -> None:
    assert without_password("rtsp://me:secret@10.0.0.7/a") == "rtsp://10.0.0.7/a"
    assert without_password("rtsp://me:sec/ret@10.0.0.7/a") == "rtsp://10.0.0.7/a"
    assert without_password("http://10.0.0.7/mjpg?user=me&pwd=secret") == "http://10.0.0.7/mjpg?..."
    assert without_password("night.mp4") == "night.mp4"
    assert open_source("rtsp://x/y", 5, None, False).live
    with pytest.raises(WatchError, match="there is no nowhere"):
        open_source("nowhere", 5, None, False)


def test_a_wrong_command_line_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["watch", "x", "--camera", "c", "--modality", "auto", "--start", "2026-05-01T22:00:00"]
    with pytest.raises(SystemExit) as ended:
        main(line)
    assert ended.value.code == 2
    assert "expected a time zone" in capsys.readouterr().err


def test_a_spool_that_cannot_be_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WatchError, match="name by --spool a folder"):
        Spool(tmp_path / "file", 10)


@pytest.mark.parametrize("gap_s", [1.36, 0.2])
def test_a_slow_machine_still_follows_somebody_who_walks(gap_s: float) -> None:
    """200 pixels high, 60 wide, half a body's height a second: between two slow frames nothing overlaps."""
    tracker, seen = Tracker(0.5, lost_s=1.0), []
    for step in range(5):
        left = 100.0 * step * gap_s
        now = NOW + timedelta(seconds=step * gap_s)
        seen += tracker.update(boxes((left, 0, left + 60, 200, 0.9)), now)
    assert {id(track) for track in seen} == {id(seen[0])}
    assert seen[0] is not None
    assert seen[0].hits == 5
    assert tracker.patience_s == pytest.approx(max(1.0, 3 * gap_s))


def test_far_away_or_of_another_size_is_another_person_on_a_slow_machine_too() -> None:
    tracker = Tracker(0.5, lost_s=1.0)
    (first,) = tracker.update(boxes((0, 0, 60, 200, 0.9)), NOW)
    far, small = (900, 0, 960, 200, 0.9), (100, 50, 130, 150, 0.9)
    assert first not in tracker.update(boxes(far, small), NOW + timedelta(seconds=1.36))


def test_neither_stills_nor_a_break_of_the_stream_make_tracks_last_longer() -> None:
    tracker = Tracker(0.5, lost_s=1.0)
    for hours in range(3):
        tracker.update(boxes(), NOW + timedelta(hours=hours), still=True)
    for seconds in (0.0, 30.0, 60.0):
        tracker.update(boxes(), NOW + timedelta(hours=9, seconds=seconds))
    assert tracker.patience_s == 1.0


class SlowStream:
    """A live source of somebody who walks through, as a detector of 1.36 s a frame gets to see it."""

    live = True

    def __init__(self) -> None:
        self.notices: list[str] = []

    def frames(self, *_: object) -> Iterator[Frame]:
        for step in range(6):
            pixels = np.full((220, 800, 3), 90, np.uint8)
            pixels[10:210, 100 * step : 100 * step + 80] = noise(200, 80)
            yield Frame(pixels, NOW + timedelta(seconds=1.36 * step), None)


def test_a_slow_detector_keeps_crops_of_a_stream_and_says_that_it_is_slow(tmp_path: Path) -> None:
    class Slow:
        """Finds the walker, and once a shadow."""

        step = -1

        def detect(self, _: np.ndarray) -> np.ndarray:
            self.step += 1
            time.sleep(0.05)
            walker = (100 * self.step, 10, 100 * self.step + 80, 210, 0.9)
            return boxes(walker, (700, 0, 730, 100, 0.8)) if self.step == 0 else boxes(walker)

    told: list[str] = []
    rules = CameraRules("gate", Modality.INFRARED, CropRules(), 0.3, None, lost_s=0.12)
    with Spool(tmp_path, 1 << 20) as spool:
        agent = Agent(rules, Slow(), spool, told.append)
        agent.run(SlowStream(), threading.Event(), lambda: None)
        assert (agent.counts["tracks"], agent.counts["short"], agent.counts["spooled"]) == (1, 1, 3)
        assert "1 track (1 of too few frames left out)" in agent.news()
    (slow,) = told
    assert slow.startswith("the detector takes 0.1 s a frame")


def test_frames_in_which_nobody_is_are_noted_now_and_then_and_all_at_the_end(tmp_path: Path) -> None:
    class Counted(Spool):
        steps = 0

        def add(self, *arguments: object) -> int:
            self.steps += 1
            return super().add(*arguments)

    class Nobody:
        def detect(self, _: np.ndarray) -> np.ndarray:
            return boxes()

    write_video(tmp_path / "v.avi", 60)
    rules = CameraRules("gate", None, CropRules(), 0.3, None, 1.0)
    with Counted(tmp_path / "spool", 1 << 20) as spool:
        agent = Agent(rules, Nobody(), spool, lambda _: None)
        agent.run(VideoSource(tmp_path / "v.avi", 5), threading.Event(), lambda: None)
        note = spool.note(tmp_path / "v.avi")
        assert note is not None
        assert (agent.counts["frames"], note.frame, note.whole) == (60, 59, True)
        assert spool.steps < 10
