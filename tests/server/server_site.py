"""A small site: pictures of people, an application over them, and a real server process."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
SERVE = """
import sys
from exporter.runtime import GreyPixelEncoder
from server.app import serve
from server.settings import Settings
serve(Settings(gallery="embedded:" + sys.argv[1], port=0), encoder=GreyPixelEncoder())
"""


def picture(person: int, form: str = "JPEG", size: tuple[int, int] = (48, 96)) -> bytes:
    """An image file that looks the same for the same person."""
    coarse = np.random.default_rng(person).integers(0, 255, (8, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize(size).save(buffer, form)
    return buffer.getvalue()


def about(filename: str, **said: object) -> dict[str, object]:
    """The metadata of one file."""
    return {
        "filename": filename,
        "camera_id": "cam3",
        "modality": "infrared",
        "captured_at": "2026-03-01T22:15:00Z",
        **said,
    }


@dataclass
class Site:
    """Calls to a server; ``app`` where it runs in this process."""

    http: httpx.Client
    app: FastAPI | None = None

    def ingest(
        self, files: dict[str, bytes], metadata: list[dict[str, object]] | None = None
    ) -> httpx.Response:
        said = [about(name) for name in files] if metadata is None else metadata
        parts = [("images", (name, data)) for name, data in files.items()]
        return self.http.post("/images", files=parts, data={"metadata": json.dumps(said)})

    def search(self, image: bytes, **fields: object) -> httpx.Response:
        form = {"query_modality": "visible", **fields}
        return self.http.post("/search", files={"image": ("query.jpg", image)}, data=form)

    def people(self, count: int, **said: object) -> httpx.Response:
        """Ingest one infrared image each of people 0 to count - 1, as p0.jpg, p1.jpg, ..."""
        names = {f"p{person}.jpg": picture(person) for person in range(count)}
        return self.ingest(names, [about(name, image_id=name[:-4], **said) for name in names])


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serve ``app`` by uvicorn in a thread; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def asked(site: Site, target: str, fields: str = "", body: str = "") -> socket.socket:
    """A connection on which a request, as ``GET /images``, was sent; closing it is to leave."""
    address = site.http.base_url
    headers = "".join(
        f"{name}: {value}\r\n"
        for name, value in site.http.headers.items()
        if name in ("authorization", "x-api-key")
    )
    wire = socket.create_connection((address.host, address.port), timeout=30)
    wire.sendall(f"{target} HTTP/1.1\r\nHost: peca\r\n{headers}{fields}\r\n{body}".encode())
    return wire


def watch(site: Site, **fields: object) -> str:
    """Watch for the person of ``picture(1)``; gives the watchlist's id."""
    form = {"name": "coat", "threshold": 0.999, "query_modality": "visible", **fields}
    answer = site.http.post("/watchlists", files={"image": ("q.jpg", picture(1))}, data=form)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["watchlist_id"])


def sighting(site: Site, name: str, camera_id: str = "cam3") -> None:
    """Ingest the image that ``watch`` watches for."""
    answer = site.ingest({name: picture(1)}, [about(name, image_id=name, camera_id=camera_id)])
    assert answer.status_code == 201, answer.text


class Process:
    """A server in a process of its own, over an embedded gallery."""

    def __init__(self, data: Path, log: Path) -> None:
        self.lines: list[str] = []
        self._stack = ExitStack()
        self.log = log
        self._log = self._stack.enter_context(log.open("ab"))
        self.process = self._stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", SERVE, str(data)],
                cwd=REPOSITORY,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        )

    def wait_until_serving(self) -> None:
        """Read its output up to its address, or, where it ends before, fail with what it said."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if self.lines[-1].startswith("PECA serves at "):
                return
        raise AssertionError(f"the server ended: {self.lines}, {Path(self._log.name).read_text()}")

    @property
    def address(self) -> str:
        return self.lines[-1].removeprefix("PECA serves at ")

    @property
    def key(self) -> str | None:
        shown = [
            line.removeprefix("admin key (shown once): ")
            for line in self.lines
            if line.startswith("admin key")
        ]
        return shown[0] if shown else None

    def site(self, key: str) -> Site:
        headers = {"Authorization": f"Bearer {key}"}
        return Site(
            self._stack.enter_context(httpx.Client(base_url=self.address, headers=headers, timeout=30))
        )

    def peak_bytes(self) -> int:
        """The most memory that the process ever held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024

    def processor_s(self) -> float:
        """The time of a processor that the process has taken, which does not grow with what else runs."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal where it runs, wait for its end and release what was held for it."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(timeout=30)
        self._stack.close()
        return code
