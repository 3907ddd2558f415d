"""How long a server waits for a client to take its answer."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

import server.connections
from server.connections import Connection

SIZE = 24 << 20
ASKED = b"GET / HTTP/1.1\r\nHost: peca\r\nConnection: close\r\n\r\n"


async def large_answer(scope: Scope, receive: Receive, send: Send) -> None:
    """One picture of 24 MB, at once."""
    if scope["type"] == "http":
        length = (b"content-length", str(SIZE).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": bytes(SIZE)})


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(server.connections, "WRITE_TIMEOUT_S", 0.5)
    its = uvicorn.Server(
        uvicorn.Config(large_answer, port=0, http=Connection, lifespan="off", log_level="critical")
    )
    thread = threading.Thread(target=its.run)
    thread.start()
    while not its.started:
        time.sleep(0.005)
    yield its.servers[0].sockets[0].getsockname()
    its.should_exit = True
    thread.join()


def connected(address: tuple[str, int]) -> socket.socket:
    """A client with little room for what it was sent."""
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    wire.settimeout(10)
    wire.connect(address)
    wire.sendall(ASKED)
    return wire


def taken(wire: socket.socket, pause_s: float) -> int:
    """How many bytes come until the end."""
    count = 0
    with contextlib.suppress(ConnectionResetError):
        while more := wire.recv(1 << 20):
            count += len(more)
            time.sleep(pause_s)
    return count


def test_a_client_that_takes_nothing_is_left(address: tuple[str, int]) -> None:
    with connected(address) as wire:
        time.sleep(2)
        assert taken(wire, 0) < SIZE


def test_a_slow_client_gets_all_of_its_answer(address: tuple[str, int]) -> None:
    with connected(address) as wire:
        began = time.monotonic()
        assert taken(wire, 0.01) > SIZE
        assert time.monotonic() - began > 1
