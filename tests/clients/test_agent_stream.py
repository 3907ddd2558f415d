"""The camera agent before a real RTSP stream, served on this machine by GStreamer."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import agent_video
import pytest
from client_site import REPOSITORY, Server, free_port

from peca_client import PecaClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# Run by the system's Python, for which Debian packages GStreamer's RTSP server.
MODULES = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
assert Gst.ElementFactory.find("avidemux") and Gst.ElementFactory.find("rtpjpegpay")
"""
CAMERA = (
    MODULES
    + """
import sys
factory = GstRtspServer.RTSPMediaFactory(shared=True)
factory.set_launch(
    f"( filesrc location={sys.argv[2]} ! avidemux ! jpegdec ! jpegenc ! rtpjpegpay name=pay0 pt=26 )"
)
permissions = GstRtspServer.RTSPPermissions()
for right in ("media.factory.access", "media.factory.construct"):
    permissions.add_permission_for_role("viewer", right, True)
factory.set_permissions(permissions)
token = GstRtspServer.RTSPToken()
token.set_string("media.factory.role", "viewer")
auth = GstRtspServer.RTSPAuth()
auth.add_basic(GstRtspServer.RTSPAuth.make_basic("viewer", "secret"), token)
server = GstRtspServer.RTSPServer(address="127.0.0.1", service=sys.argv[1])
server.set_auth(auth)
server.get_mount_points().add_factory("/gate", factory)
assert server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
"""
)
PYTHON = shutil.which("python3", path="/usr/bin")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people, 7 s; a stream of it ends and is connected to again."""
    told = PYTHON and subprocess.run([PYTHON, "-c", MODULES], capture_output=True, text=True, check=False)
    if not told or told.returncode:
        pytest.skip(
            "needs GStreamer's RTSP server: apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi "
            "gstreamer1.0-plugins-good"
        )
    path = tmp_path_factory.mktemp("stream") / "night.avi"
    agent_video.write_night_video(path, [2, 3])
    return path


def test_a_stream_that_breaks_is_watched_on(video: Path, server: Server, tmp_path: Path) -> None:
    port, began = free_port(), datetime.now(UTC)
    with watching(f"rtsp://viewer:secret@127.0.0.1:{port}/gate", server, tmp_path) as agent:
        wait_for(agent, lambda: "no picture from" in messages(tmp_path))
        with camera(port, video):
            wait_for(agent, lambda: len(tracks(server)) >= 2)
        known, broken = tracks(server), messages(tmp_path).count("no picture from")
        wait_for(agent, lambda: messages(tmp_path).count("no picture from") > broken)
        with camera(port, video):
            wait_for(agent, lambda: len(tracks(server)) > len(known))
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(timeout=60) == 0
    assert f"rtsp://127.0.0.1:{port}/gate" in messages(tmp_path)
    assert "secret" not in messages(tmp_path)
    with PecaClient(server.url, server.key) as client:
        moments = [image.captured_at for image in client.images(camera_ids=["stream"]).items]
    assert began < min(moments) <= max(moments) < datetime.now(UTC)


@contextmanager
def camera(port: int, video: Path) -> Iterator[None]:
    """A camera that asks for name and password, and shows the video to whoever connects."""
    with subprocess.Popen(
        [str(PYTHON), "-c", CAMERA, str(port), str(video)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()


@contextmanager
def watching(address: str, server: Server, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    line = [sys.executable, "-m", "peca_client", "watch", address, "--url", server.url]
    line += ["--camera", "stream", "--modality", "infrared", "--spool", str(folder / "spool")]
    surroundings = {**os.environ, "PECA_API_KEY": server.key, "OMP_NUM_THREADS": "1"}
    with (folder / "messages").open("wb") as told:
        agent = subprocess.Popen(
            line, env=surroundings, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=told
        )
        try:
            yield agent
        finally:
            agent.kill()
            agent.wait()


def messages(folder: Path) -> str:
    return (folder / "messages").read_text()


def tracks(server: Server) -> set[str]:
    with PecaClient(server.url, server.key) as client:
        if "stream" not in {known.camera_id for known in client.cameras()}:
            return set()
        return {str(image.track_id) for image in client.images(camera_ids=["stream"]).items}


def wait_for(agent: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert agent.poll() is None, "the agent ended"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
