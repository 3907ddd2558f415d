"""A server process and clients that cost next to nothing: requests made beforehand, sent over asyncio."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        process: Its process.
        host: Its address.
        port: Its port.
        key: An admin key.
        data: Its data folder.
    """

    process: subprocess.Popen[bytes]
    host: str
    port: int
    key: str
    data: Path

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.host}:{self.port}"

    def resident_bytes(self) -> int:
        """The memory that it holds now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024


@contextmanager
def serving(folder: Path, encoder: Path | None = None, key: str | None = None) -> Iterator[Server]:
    """A server process on the gallery under ``folder``; it is stopped in the end.

    Args:
        folder: Holds the gallery.
        encoder: The bundle; the one that ships where not given.
        key: Of a gallery that was served before; a new one prints its own.
    """
    log = folder / "log"
    command = [sys.executable, "-m", "clients.cli", "serve", "--gallery", f"embedded:{folder / 'data'}"]
    if encoder is not None:
        command += ["--encoder", str(encoder)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", "0"],
            stdout=output,
            stderr=output,
            env={**os.environ, "PECA_LOG_LEVEL": "warning"},
        )
    try:
        yield _started(process, log, folder / "data", key)
    finally:
        process.terminate()
        process.wait()


def _started(process: subprocess.Popen[bytes], log: Path, data: Path, known: str | None) -> Server:
    while process.poll() is None:
        text = log.read_text()
        address, shown = re.search(r"http://([\d.]+):(\d+)", text), re.search(r"peca_\S+", text)
        key = known or (shown and shown[0])
        if address and key:
            return Server(process, address[1], int(address[2]), key, data)
        time.sleep(0.1)
    raise SystemExit(log.read_text())


def search_request(server: Server, image: bytes, **fields: str) -> bytes:
    """A search as it goes over the wire."""
    form = {"query_modality": "visible", "limit": "20", **fields}
    return _wire(server, "/search", {"image": ("query.jpg", image)}, form)


def ingest_request(server: Server, images: list[bytes], first: int) -> bytes:
    """A batch as it goes over the wire; the images are new, since each has an instant of its own."""
    said = [
        {
            "filename": str(number),
            "image_id": f"load-{first + number}",
            "camera_id": f"cam{number % 4}",
            "modality": "infrared",
            "captured_at": (BEGAN + timedelta(seconds=first + number)).isoformat(),
        }
        for number in range(len(images))
    ]
    files = [("images", (str(number), image)) for number, image in enumerate(images)]
    return _wire(server, "/images", files, {"metadata": json.dumps(said)})


def get_request(server: Server, path: str) -> bytes:
    """A GET as it goes over the wire."""
    return _head(server, "GET", path) + b"\r\n"


def json_request(server: Server, path: str, body: object) -> bytes:
    """A POST of JSON as it goes over the wire."""
    data = json.dumps(body).encode()
    told = f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return _head(server, "POST", path) + told.encode() + data


def _head(server: Server, method: str, path: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {server.host}\r\nX-API-Key: {server.key}\r\n".encode()


def _wire(server: Server, path: str, files: object, fields: dict[str, str]) -> bytes:
    request = httpx.Request("POST", f"{server.url}{path}", files=files, data=fields)  # type: ignore[arg-type]
    body = request.read()
    told = f"Content-Type: {request.headers['content-type']}\r\nContent-Length: {len(body)}\r\n\r\n"
    return _head(server, "POST", path) + told.encode() + body


@dataclass
class Tally:
    """What a load brought: seconds of each answer, how many of each status, and the bodies wanted."""

    seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    def note(self, status: int, seconds: float) -> None:
        """Count an answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status < 300:
            self.seconds.append(seconds)

    def quantile_ms(self, share: float) -> float:
        """The time that this share of the answers did not exceed, in milliseconds; 0 where there was none."""
        ordered = sorted(self.seconds) or [0.0]
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, bytes]:
    """Send a request on an open connection; status and body of its answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    body = await (reader.readexactly(int(length[1])) if length else _chunks(reader))
    return int(head[9:12]), body


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """A body whose length was not told."""
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


async def client(
    server: Server,
    requests: Iterator[bytes],
    until: float,
    tally: Tally,
    seen: Callable[[int, bytes], Awaitable[None]] | None = None,
) -> None:
    """Ask one request after another over one connection until the monotonic clock says ``until``."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    while time.monotonic() < until:
        request, began = next(requests), time.monotonic()
        status, body = await ask(reader, writer, request)
        tally.note(status, time.monotonic() - began)
        if seen is not None:
            await seen(status, body)
    writer.close()
