"""What one key may have of the server at once: the others get their answers meanwhile."""

import asyncio
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from server_site import Site, asked, picture

from server.access import Role

AsHolder = Callable[..., Site]
ASKED = 300


@contextmanager
def flooded(site: Site, path: str, statuses: list[int]) -> Iterator[None]:
    """Ask for ``path`` many times at once, on as many connections."""

    async def ask_all() -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=site.http.base_url, headers=site.http.headers, timeout=60, limits=limits
        ) as http:
            for answer in await asyncio.gather(*(http.get(path) for _ in range(ASKED))):
                statuses.append(answer.status_code)

    flood = threading.Thread(target=lambda: asyncio.run(ask_all()))
    flood.start()
    try:
        yield
    finally:
        flood.join()


def until(found: Callable[[], object], wait_s: float = 20) -> None:
    end = time.monotonic() + wait_s
    while not found():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def test_a_flood_of_one_key_leaves_others_and_probes_their_answers(
    site: Site, as_holder: AsHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.people(2)
    eve, ada = as_holder(site, "Eve", Role.OPERATOR), as_holder(site, "Ada", Role.OPERATOR)
    catalogue, go_on = site.app.state.parts.catalogue, threading.Event()
    page, at_once, most = catalogue.page, 0, 0
    lock = threading.Lock()

    def slow(*args: object) -> object:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        go_on.wait(40)
        with lock:
            at_once -= 1
        return page(*args)

    statuses: list[int] = []
    monkeypatch.setattr(catalogue, "page", slow)
    with flooded(eve, "/images", statuses):
        try:
            lines = site.app.state.parts.turns._lines
            until(lambda: any(line.length == 256 for line in lines.values()))
            for path in ("/healthz", "/readyz"):
                assert httpx.get(f"{site.http.base_url}{path}", timeout=10).status_code == 200
            assert ada.http.get("/cameras").status_code == 200
            refused = eve.http.get("/images")
            assert (refused.status_code, refused.json()["type"]) == (429, "urn:peca:problem:server-busy")
            assert refused.headers["retry-after"] == "5"
        finally:
            go_on.set()
    assert sorted(set(statuses)) == [200, 429]
    assert statuses.count(200) == 256
    assert most == max(8, site.app.state.parts.turns._at_once)
    assert lines == {}


def test_what_waits_in_the_line_of_a_key_is_dropped_once_its_client_left(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue, go_on = site.app.state.parts.catalogue, threading.Event()
    page, begun = catalogue.page, threading.Semaphore(0)
    listed = 0

    def held(*said: object) -> object:
        nonlocal listed
        listed += 1
        begun.release()
        go_on.wait(40)
        return page(*said)

    monkeypatch.setattr(catalogue, "page", held)
    turns = site.app.state.parts.turns
    try:
        wires = [asked(site, "GET /images") for _ in range(turns._at_once + 5)]
        assert all(begun.acquire(timeout=20) for _ in range(turns._at_once))
        until(lambda: any(line.length == len(wires) for line in turns._lines.values()))
        for wire in wires:
            wire.close()
        time.sleep(0.5)
    finally:
        go_on.set()
    until(lambda: not turns._lines)
    assert listed == turns._at_once


def slow_upload(address: httpx.URL, key: str, announced: int, sent: int) -> socket.socket:
    """A connection that sends a form, and stops on its way."""
    connection = socket.create_connection((address.host, address.port), timeout=20)
    connection.sendall(
        f"POST /images HTTP/1.1\r\nHost: peca\r\nX-API-Key: {key}\r\nContent-Length: {announced}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'.encode()
        + b"x" * sent
    )
    return connection


def test_slow_bodies_of_a_camera_leave_room_for_a_search(
    start: Callable[..., Site], as_holder: AsHolder
) -> None:
    site = start(max_open_requests=8)
    gate = as_holder(site, "gate", Role.CAMERA)
    key = gate.http.headers["X-API-Key"]
    with ExitStack() as stack:
        uploads = [stack.enter_context(slow_upload(site.http.base_url, key, 10_000, 100)) for _ in range(8)]
        until(lambda: len(select.select(uploads, [], [], 0)[0]) == 2)
        answered, _, _ = select.select(uploads, [], [], 0)
        assert {one.recv(100).split(b"\r\n")[0] for one in answered} == {b"HTTP/1.1 429 Too Many Requests"}
        assert site.search(picture(1)).status_code == 200
        assert gate.people(1).status_code == 429
    until(lambda: gate.people(1).status_code in (200, 201))


def test_bytes_of_a_camera_leave_room_for_a_search(start: Callable[..., Site], as_holder: AsHolder) -> None:
    site = start(max_open_bytes=400_000)
    gate = as_holder(site, "gate", Role.CAMERA)
    key = gate.http.headers["X-API-Key"]
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(slow_upload(site.http.base_url, key, 200_000, 99_800))
        time.sleep(0.5)
        assert site.search(picture(1)).status_code == 200
