"""The camera agent as a process, from a night video to what a search by day finds."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import agent_video
import pytest
import web_site
from client_site import REPOSITORY, Server, free_port, serve_at, start_again, start_server

from peca_client import ConnectionFailed, PecaClient

# The encoder finds these two by day; of four pairs tried it takes the people of one (0 and 1) for each other.
PEOPLE = [2, 3]
START = "2026-05-01T23:00:00+02:00"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "night.avi"
    agent_video.write_night_video(path, PEOPLE)
    return path


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "server"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def site_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = start_server(tmp_path_factory.mktemp("agent"), web_site.SERVE)
    yield started
    started.end()


def command(video: Path, url: str, camera: str, spool: Path, *more: str) -> list[str]:
    line = [sys.executable, "-m", "peca_client", "watch", str(video), "--url", url, "--camera", camera]
    line += ["--modality", "infrared", "--start", START, "--spool", str(spool)]
    return [*line, "--json", *more]


def environment(key: str) -> dict[str, str]:
    return {**os.environ, "PECA_API_KEY": key, "OMP_NUM_THREADS": "1"}


def run(line: list[str], key: str) -> tuple[int, dict[str, object], str]:
    ended = subprocess.run(
        line, env=environment(key), cwd=REPOSITORY, capture_output=True, text=True, timeout=200, check=False
    )
    return ended.returncode, json.loads(ended.stdout or "{}"), ended.stderr


def stored(server: Server, camera: str) -> set[str]:
    with PecaClient(server.url, server.key) as client:
        if camera not in {known.camera_id for known in client.cameras()}:
            return set()
        items = client.images(camera_ids=[camera], limit=100).items
    assert len({item.image_id for item in items}) == len(items)
    return {item.image_id for item in items}


def test_people_of_a_night_video_are_found_by_day(video: Path, site_server: Server, tmp_path: Path) -> None:
    code, told, messages = run(command(video, site_server.url, "gate-ir", tmp_path / "s"), site_server.key)
    assert code == 0, messages
    assert told["tracks"] == len(PEOPLE)
    assert told["sent"]["stored"] == told["spooled"] == 3 * len(PEOPLE)
    assert told["waiting"] == told["refused"] == told["dropped"] == 0
    with PecaClient(site_server.url, site_server.key) as client:
        images = client.images(camera_ids=["gate-ir"], limit=100).items
        tracks = sorted({str(image.track_id) for image in images})
        assert len(tracks) == len(PEOPLE)
        assert all(track.startswith("gate-ir-20260501T2100") for track in tracks)
        first = min(image.captured_at for image in images)
        assert datetime(2026, 5, 1, 21, 0, tzinfo=UTC) <= first < datetime(2026, 5, 1, 21, 0, 3, tzinfo=UTC)
        for person, track in zip(PEOPLE, tracks, strict=True):
            day = [agent_video.day_picture(person, phase) for phase in (0.5, 2.0, 3.5, 5.0)]
            found = client.search(day, "visible", camera_ids=["gate-ir"], group_by="track_id").items
            assert len(found) == len(PEOPLE)
            assert found[0].track_id == track


@pytest.mark.slow
def test_the_same_video_again_stores_nothing_twice(video: Path, site_server: Server, tmp_path: Path) -> None:
    line = command(video, site_server.url, "again", tmp_path / "one")
    code, told, _ = run(line, site_server.key)
    assert code == 0
    before = stored(site_server, "again")
    assert len(before) == told["spooled"] > 0

    code, told, messages = run(line, site_server.key)
    assert (code, told["frames"], told["spooled"]) == (0, 0, 0)
    assert "were looked at before" in messages

    code, told, _ = run(command(video, site_server.url, "again", tmp_path / "two"), site_server.key)
    assert code == 0
    assert (told["sent"]["stored"], told["sent"]["unchanged"]) == (0, len(before))
    assert stored(site_server, "again") == before


def test_a_server_away_loses_nothing(video: Path, data: Path, port: int, tmp_path: Path) -> None:
    spool, url = tmp_path / "spool", f"http://127.0.0.1:{port}"
    code, told, messages = run(command(video, url, "away", spool, "--patience", "0"), "none yet")
    assert code == 3
    assert told["waiting"] == told["spooled"] > 0
    assert "crops wait in" in messages

    server = start_server(data, serve_at(port))
    try:
        code, after, _ = run(command(video, url, "away", spool), server.key)
        assert code == 0
        assert (after["frames"], after["sent"]["stored"], after["waiting"]) == (0, told["spooled"], 0)
        assert len(stored(server, "away")) == told["spooled"]
    finally:
        server.end()


@pytest.mark.parametrize("outage_s", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_a_server_that_stops_in_the_middle_loses_nothing(
    video: Path, data: Path, port: int, tmp_path: Path, outage_s: float
) -> None:
    """Of a watched folder: one video before the outage, one in it, one after it, all by one agent."""
    code, folder = serve_at(port), tmp_path / "recordings"
    folder.mkdir()
    server = start_server(data, code)
    try:
        with watching(folder, server.url, server.key, "comes", tmp_path / "spool", tmp_path) as agent:
            arrive(video, folder, 1)
            wait_for(agent, lambda: len(stored(server, "comes")) == 3 * len(PEOPLE))
            server.end()
            ended = time.monotonic()
            arrive(video, folder, 2)
            wait_for(agent, lambda: "crops wait in" in (tmp_path / "messages").read_text())
            time.sleep(max(0.0, outage_s - (time.monotonic() - ended)))
            start_again(server, code)
            wait_for(agent, lambda: answers(server))
            arrive(video, folder, 3)
            wait_for(agent, lambda: len(stored(server, "comes")) == 9 * len(PEOPLE))
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(timeout=60) == 0
    finally:
        server.end()
    told = json.loads((tmp_path / "summary").read_text())
    assert told["tracks"] == 3 * len(PEOPLE)
    assert (told["sent"]["stored"], told["waiting"], told["dropped"]) == (9 * len(PEOPLE), 0, 0)


@pytest.mark.slow
def test_a_killed_agent_goes_on_and_sends_nothing_twice(
    video: Path, site_server: Server, tmp_path: Path
) -> None:
    expected = stored_by_one_run(video, site_server, "killed", tmp_path / "whole")
    with PecaClient(site_server.url, site_server.key) as client:
        client.delete_images(camera_ids=["killed"], dry_run=False)
    spool, nobody = tmp_path / "spool", "http://127.0.0.1:9"
    line = command(video, nobody, "killed", spool)
    agent = subprocess.Popen(line, env=environment("none"), cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    wait_for(agent, lambda: waiting_in(spool) > 0)
    agent.kill()
    agent.wait()
    assert 0 < waiting_in(spool) <= len(expected)

    code, told, messages = run(command(video, site_server.url, "killed", spool), site_server.key)
    assert code == 0, messages
    assert told["waiting"] == 0
    assert stored(site_server, "killed") == expected


def stored_by_one_run(video: Path, server: Server, camera: str, spool: Path) -> set[str]:
    code, _, messages = run(command(video, server.url, camera, spool), server.key)
    assert code == 0, messages
    return stored(server, camera)


@contextmanager
def watching(
    folder: Path, url: str, key: str, camera: str, spool: Path, logs: Path
) -> Iterator[subprocess.Popen[bytes]]:
    # A person must be seen twice, as of a video by itself: HOG takes a shadow for one now and then.
    whole = command(folder, url, camera, spool, "--min-hits", "2")
    line = [part for part in whole if part not in ("--start", START)]
    with (logs / "summary").open("wb") as summary, (logs / "messages").open("wb") as messages:
        agent = subprocess.Popen(line, env=environment(key), cwd=REPOSITORY, stdout=summary, stderr=messages)
        try:
            yield agent
        finally:
            agent.kill()
            agent.wait()


def arrive(video: Path, folder: Path, number: int) -> None:
    """A recording of its own hour comes into a folder."""
    taken = 1_777_000_000 + 3600 * number
    shutil.copy(video, folder / f"{number}.avi")
    os.utime(folder / f"{number}.avi", (taken, taken))


def waiting_in(spool: Path) -> int:
    """Crops in a spool that another process may hold: counted in a copy of its files."""
    with tempfile.TemporaryDirectory() as copied:
        for path in spool.glob("spool.sqlite3*"):
            shutil.copy(path, copied)
        try:
            with closing(sqlite3.connect(Path(copied) / "spool.sqlite3")) as base:
                return int(base.execute("SELECT count(*) FROM crops").fetchone()[0])
        except sqlite3.DatabaseError:
            return 0


def answers(server: Server) -> bool:
    with PecaClient(server.url, server.key, retries=0) as client:
        try:
            return client.ready().ready
        except ConnectionFailed:
            return False


def wait_for(agent: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert agent.poll() is None, "the agent ended"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
