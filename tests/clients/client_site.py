"""Pictures of people, and a real server process for the tests of the clients."""

import io
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
NIGHT = datetime(2026, 5, 1, 23, 15, tzinfo=UTC)
SERVE = """
import sys
from exporter.runtime import GreyPixelEncoder
from server.app import serve
from server.settings import Settings
settings = Settings(gallery="embedded:" + sys.argv[1], port=0, max_batch_images=32, max_image_bytes=100_000)
serve(settings, encoder=GreyPixelEncoder())
"""


def serve_at(port: int, code: str = SERVE) -> str:
    """The code of a server at a port, so that it can be started there again."""
    return code.replace("port=0", f"port={port}")


def free_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def picture(person: int, form: str = "JPEG", **options: object) -> bytes:
    """An image file that looks the same for the same person."""
    coarse = np.random.default_rng(person).integers(0, 255, (8, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((48, 96)).save(buffer, form, **options)
    return buffer.getvalue()


def write_pictures(folder: Path, people: range, moment: float = 1_777_000_000.0) -> list[Path]:
    """One image file a person, p0.jpg and on, all of one modification time."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"p{person}.jpg" for person in people]
    for person, path in zip(people, paths, strict=True):
        path.write_bytes(picture(person))
        os.utime(path, (moment, moment))
    return paths


@dataclass
class Server:
    """A running server process."""

    process: subprocess.Popen[bytes]
    url: str
    key: str
    data: Path

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)


def start_again(server: Server, code: str) -> None:
    """Start a server that ended anew, over what it holds; it does not wait until it serves."""
    server.process = subprocess.Popen(
        [sys.executable, "-c", code, str(server.data)],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def start_server(folder: Path, code: str = SERVE) -> Server:
    """Start a server over a new embedded gallery in ``folder``, and wait until it serves."""
    data, log = folder / "data", folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(data)],
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        lines = log.read_text().splitlines()
        told = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in lines}
        if "PECA serves at" in told:
            return Server(process, told["PECA serves at"], told["admin key (shown once):"], data)
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise AssertionError(f"the server did not start: {log.read_text()}")
