"""A real server under the corpus of hostile requests: refused as problems, in bounded time and memory."""

import contextlib
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path

import pytest
from hostile import BOUNDARY, MEGABYTE, Hostile, form, jpeg, refused, survived
from server_site import Process, picture

PROBLEM = "application/problem+json"
LONGEST_S = 5.0
MOST_BYTES = 500 * MEGABYTE
"""The largest picture that may be taken has 40 million pixels: 120 MB decoded, and as much on the way."""


@pytest.fixture
def process(launch: Callable[[], Process], monkeypatch: pytest.MonkeyPatch) -> Process:
    monkeypatch.setenv("PECA_BODY_TIMEOUT_S", "1")
    monkeypatch.setenv("PECA_MAX_OPEN_REQUESTS", "8")
    started = launch()
    assert started.key is not None
    return started


def ask(process: Process, one: Hostile) -> tuple[int, str, bytes, float]:
    """Status, content type and body of the answer, and how much time of a processor it took."""
    began = process.processor_s()
    host, port = process.address.removeprefix("http://").split(":")
    http = HTTPConnection(host, int(port), timeout=60)
    headers = {name: value for name, value in one.headers.items() if value}
    try:
        # A body that is refused before its end is cut off while it is sent; the answer is there all the same.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            http.request(one.method, one.path, one.body, {"X-API-Key": process.key or "", **headers})
        answer = http.getresponse()
        body = answer.read()
    finally:
        http.close()
    return answer.status, answer.headers.get("content-type", ""), body, process.processor_s() - began


def test_every_hostile_request_is_refused_as_a_problem(process: Process, tmp_path: Path) -> None:
    ask(process, Hostile("sound", form(image=jpeg(), query_modality="visible")))
    before, wrong, names = process.peak_bytes(), [], set[str]()
    for one in refused():
        assert one.name not in names
        names.add(one.name)
        status, kind, body, took = ask(process, one)
        if not (400 <= status < 500 and kind == PROBLEM and took < LONGEST_S):
            wrong.append((one.name, status, kind, round(took, 1), body[:200]))
        elif not json.loads(body)["detail"]:
            wrong.append((one.name, status, "no detail", 0.0, body))
    assert not wrong, "\n".join(map(str, wrong))
    assert len(names) >= 600
    assert process.peak_bytes() - before < MOST_BYTES
    check_sound(process)


def test_what_is_odd_does_no_harm(process: Process, tmp_path: Path) -> None:
    before, wrong = process.peak_bytes(), []
    for one in survived():
        status, kind, body, took = ask(process, one)
        sound = status in (200, 201) or (400 <= status < 500 and kind == PROBLEM)
        if not sound or took >= LONGEST_S:
            wrong.append((one.name, status, kind, round(took, 1), body[:200]))
    assert not wrong
    assert process.peak_bytes() - before < MOST_BYTES
    check_sound(process)
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not written & {"passwd", "win.ini", "boot.ini", "a.jpg"}
    for path in (tmp_path / "peca-data/images").rglob("*"):
        assert path.is_dir() or len(path.name) == 64, path


def check_sound(process: Process) -> None:
    """The server goes on: it takes an image, finds it, and is ready."""
    site = process.site(process.key or "")
    assert site.people(3).status_code in (200, 201)
    assert site.search(picture(1), limit=1).json()["items"][0]["image_id"] == "p1"
    assert site.http.get("/readyz").status_code == 200


@contextlib.contextmanager
def connected(process: Process) -> Iterator[socket.socket]:
    host, port = process.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as opened:
        yield opened


def answer_to(process: Process, *parts: bytes, pause_s: float = 0) -> bytes:
    """All that a server says to bytes as they stand."""
    with connected(process) as wire:
        heard = b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                wire.sendall(part)
                time.sleep(pause_s)
        with contextlib.suppress(ConnectionResetError):
            while more := wire.recv(65_536):
                heard += more
        return heard


HEAD = b"POST /search HTTP/1.1\r\nHost: peca\r\nX-API-Key: %s\r\n"
FORM = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n".encode()
BEGUN = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'.encode()
NO_HTTP = {
    "noise": b"\x00\x01\x02\xff\xfe\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "version 9": b"GET / HTTP/9.9\r\n\r\n",
    "a space in the path": b"GET /a b HTTP/1.1\r\nHost: peca\r\n\r\n",
    "a header without a colon": b"GET /healthz HTTP/1.1\r\nHost peca\r\n\r\n",
    "a null in a header": b"GET /healthz HTTP/1.1\r\nHost: pe\x00ca\r\n\r\n",
    "two lengths": b"POST /search HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "a negative length": b"POST /search HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "a length of letters": b"POST /search HTTP/1.1\r\nContent-Length: ten\r\n\r\n",
    "length, chunks": b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a head of 1 MB": b"GET / HTTP/1.1\r\n" + b"X-A: bbbbbbbbbbbbbbbb\r\n" * 50_000,
    "a path of 1 MB": b"GET /" + b"a" * MEGABYTE,
    "a tunnel": b"CONNECT peca:80 HTTP/1.1\r\nHost: peca\r\n\r\n" + bytes(MEGABYTE),
    "another protocol from here on": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an encoding of bodies": b"POST /session HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n{}",
}
SIGN_IN = b"POST /session HTTP/1.1\r\nHost: peca\r\nContent-Type: application/json\r\n"
IN_CHUNKS = SIGN_IN + b"Transfer-Encoding: chunked\r\n\r\n"
BESIDE = {
    "a million fields behind a body": [IN_CHUNKS, b"2\r\n{}\r\n0\r\n", *[b"a:b\r\n" * 10_000] * 100],
    "a field without end behind a body": [IN_CHUNKS, b"2\r\n{}\r\n0\r\na:", *[b"b" * 65_536] * 300],
    "a chunk whose head has no end": [IN_CHUNKS, b"2;", *[b"b" * 65_536] * 300],
    "a thousand fields": [SIGN_IN, b"a:b\r\n" * 1000, b"\r\n"],
}


@pytest.mark.parametrize("name", NO_HTTP)
def test_what_is_no_http_is_refused(site_process: Process, name: str) -> None:
    heard = answer_to(site_process, NO_HTTP[name])
    assert heard.startswith(b"HTTP/1.1 4"), heard[:200]
    assert PROBLEM.encode() in heard


@pytest.mark.parametrize("name", BESIDE)
def test_what_stands_beside_a_body_is_bounded(site_process: Process, name: str) -> None:
    before = site_process.peak_bytes()
    heard = answer_to(site_process, *BESIDE[name])
    assert heard.startswith(b"HTTP/1.1 400"), heard[:200]
    assert b"expected at most" in heard
    assert site_process.peak_bytes() - before < 8 * MEGABYTE


def test_what_is_no_http_is_counted(site_process: Process) -> None:
    def counted() -> float:
        text = site_process.site(site_process.key or "").http.get("/metrics").text
        return sum(map(float, re.findall(r'peca_problems_total{problem="malformed-body"} (\S+)', text)))

    before = counted()
    answer_to(site_process, NO_HTTP["noise"])
    answer_to(site_process, *BESIDE["a thousand fields"])
    assert counted() == before + 2


def test_fields_behind_a_body_are_left_out(site_process: Process) -> None:
    key = site_process.key or ""
    body = b'%x\r\n{"key": "%s"}\r\n0\r\n' % (len(key) + 11, key.encode())
    trailers = b"Digest: none\r\nX-Request-ID: late\r\n\r\n"
    heard = answer_to(
        site_process, SIGN_IN + b"Connection: close\r\n" + IN_CHUNKS[len(SIGN_IN) :] + body + trailers
    )
    assert heard.startswith(b"HTTP/1.1 201"), heard[:200]
    assert b"late" not in heard


@pytest.fixture(scope="module")
def site_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One server for the tests of the wire."""
    folder = tmp_path_factory.mktemp("wire")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PECA_BODY_TIMEOUT_S", "1")
        patch.setenv("PECA_MAX_REQUEST_BYTES", "1000000")
        patch.setenv("PECA_MAX_OPEN_REQUESTS", "8")
        started = Process(folder / "peca-data", folder / "server.log")
        started.wait_until_serving()
    yield started
    started.end()


def test_chunks_beyond_the_limit_are_refused(site_process: Process) -> None:
    head = HEAD % (site_process.key or "").encode() + FORM + b"Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"
    heard = answer_to(site_process, head, b"%x\r\n%s\r\n" % (len(BEGUN), BEGUN), *[chunk] * 40)
    assert heard.startswith(b"HTTP/1.1 413"), heard[:200]
    assert b"body-too-large" in heard
    heard = answer_to(site_process, head, b"xyz\r\n" + bytes(100))
    assert heard.startswith(b"HTTP/1.1 400"), heard[:200]
    assert PROBLEM.encode() in heard


def test_a_slow_body_is_not_waited_for(site_process: Process) -> None:
    head = HEAD % (site_process.key or "").encode() + FORM + b"Content-Length: 5000\r\n\r\n"
    began = time.monotonic()
    heard = answer_to(site_process, head, BEGUN, *[b"-"] * 12, pause_s=0.2)
    assert heard.startswith(b"HTTP/1.1 408"), heard[:200]
    assert b"body-too-slow" in heard
    assert time.monotonic() - began < 10


def test_a_head_that_never_ends_is_not_waited_for(site_process: Process) -> None:
    began = time.monotonic()
    with connected(site_process) as silent, connected(site_process) as begun, connected(site_process) as kept:
        begun.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
        kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: peca\r\n\r\n")
        heard = b""
        while not heard.endswith(b'{"status":"ok"}'):
            heard += kept.recv(65_536)
        time.sleep(0.1)
        kept.sendall(b"\r\n")
        assert (silent.recv(10), begun.recv(10), kept.recv(10)) == (b"", b"", b"")
    assert 5 < time.monotonic() - began < 25


def test_slow_bodies_leave_room_for_others_and_are_bounded(site_process: Process) -> None:
    key = (site_process.key or "").encode()
    slow = HEAD % key + FORM + b"Content-Length: 5000\r\n\r\n-"
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(connected(site_process)) for _ in range(12)]
        for wire in wires:
            wire.sendall(slow)
        http = site_process.site(site_process.key or "").http
        assert http.get("/healthz").status_code == 200
        heads = [wire.recv(12) for wire in wires]
    assert heads.count(b"HTTP/1.1 408") == 6, "of the eight that the server takes, two are for other keys"
    assert heads.count(b"HTTP/1.1 429") == 6


def test_a_body_that_breaks_off_does_no_harm(site_process: Process) -> None:
    head = HEAD % (site_process.key or "").encode() + FORM + b"Content-Length: 5000\r\n\r\n--peca"
    for _ in range(20):
        with connected(site_process) as wire:
            wire.sendall(head)
    site = site_process.site(site_process.key or "")
    deadline = time.monotonic() + 10
    while "peca_open_requests 0.0" not in site.http.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with contextlib.suppress(RemoteDisconnected):
        assert site.search(picture(0)).status_code == 200
