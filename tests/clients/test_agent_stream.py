"""The camera agent before real streams: RTSP, served on this machine by GStreamer, and MJPEG over HTTP."""

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

# A camera of the simplest kind: JPEG after JPEG, five a second, and the video from its beginning at its end.
HTTP_CAMERA = """
import base64, itertools, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import cv2
video, frames = cv2.VideoCapture(sys.argv[2]), []
while (read := video.read())[0]:
    frames.append(cv2.imencode(".jpg", read[1])[1].tobytes())
class Camera(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.headers["Authorization"] != "Basic " + base64.b64encode(b"viewer:secret").decode():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            return self.end_headers()
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        for frame in itertools.cycle(frames):
            head = f"--next\\r\\nContent-Type: image/jpeg\\r\\nContent-Length: {len(frame)}\\r\\n\\r\\n"
            self.wfile.write(head.encode() + frame + b"\\r\\n")
            time.sleep(0.2)
server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Camera)
print("ready", flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people, 7 s; a stream of it by RTSP ends and is connected to again."""
    path = tmp_path_factory.mktemp("stream") / "night.avi"
    agent_video.write_night_video(path, [2, 3])
    return path


@pytest.mark.parametrize("kind", ["rtsp", "http"])
def test_a_stream_that_breaks_is_watched_on(kind: str, video: Path, server: Server, tmp_path: Path) -> None:
    told = PYTHON and subprocess.run([PYTHON, "-c", MODULES], capture_output=True, text=True, check=False)
    if kind == "rtsp" and (not told or told.returncode):
        pytest.skip(
            "needs GStreamer's RTSP server: apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi "
            "gstreamer1.0-plugins-good"
        )
    port, began = free_port(), datetime.now(UTC)
    with watching(f"{kind}://viewer:secret@127.0.0.1:{port}/gate", kind, server, tmp_path) as agent:
        wait_for(agent, lambda: "no picture from" in messages(tmp_path))
        with camera(kind, port, video):
            wait_for(agent, lambda: len(tracks(server, kind)) >= 2)
        known, broken = tracks(server, kind), messages(tmp_path).count("no picture from")
        wait_for(agent, lambda: messages(tmp_path).count("no picture from") > broken)
        with camera(kind, port, video):
            wait_for(agent, lambda: len(tracks(server, kind)) > len(known))
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(timeout=60) == 0
    assert f"{kind}://127.0.0.1:{port}/gate" in messages(tmp_path)
    assert "secret" not in messages(tmp_path)
    with PecaClient(server.url, server.key) as client:
        moments = [image.captured_at for image in client.images(camera_ids=[kind]).items]
    assert began < min(moments) <= max(moments) < datetime.now(UTC)


def test_of_a_stream_at_a_slow_machines_pace_people_are_kept(
    video: Path, server: Server, tmp_path: Path
) -> None:
    """A frame each 1.4 s, as HOG manages on a slow machine: each person is there for one or two of them."""
    port, address = free_port(), "http://viewer:secret@127.0.0.1:{}/gate"
    with (
        camera("http", port, video),
        watching(address.format(port), "slow", server, tmp_path, "--fps", "0.7") as agent,
    ):
        wait_for(agent, lambda: len(tracks(server, "slow")) >= 2)
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(timeout=60) == 0


@contextmanager
def camera(kind: str, port: int, video: Path) -> Iterator[None]:
    """A camera that asks for name and password, and shows the video to whoever connects."""
    line = [str(PYTHON), "-c", CAMERA] if kind == "rtsp" else [sys.executable, "-c", HTTP_CAMERA]
    with subprocess.Popen(
        [*line, str(port), str(video)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()


@contextmanager
def watching(
    address: str, name: str, server: Server, folder: Path, *more: str
) -> Iterator[subprocess.Popen[bytes]]:
    line = [sys.executable, "-m", "peca_client", "watch", address, "--url", server.url, *more]
    line += ["--camera", name, "--modality", "infrared", "--spool", str(folder / "spool")]
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


def tracks(server: Server, name: str) -> set[str]:
    with PecaClient(server.url, server.key) as client:
        if name not in {known.camera_id for known in client.cameras()}:
            return set()
        return {str(image.track_id) for image in client.images(camera_ids=[name]).items}


def wait_for(agent: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert agent.poll() is None, "the agent ended"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
