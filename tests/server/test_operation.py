"""What a running server tells of itself: metrics, readiness, request ids, logs; and how it drops work."""

import json
import logging
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from server_site import SERVE, Process, Site, about, asked, picture

from exporter.runtime import GreyPixelEncoder
from index.space import Modality
from server.access import Role
from server.batching import WORKERS
from server.errors import StorageUnavailable
from server.readiness import check_space
from server.settings import Settings


class SlowEncoder(GreyPixelEncoder):
    """Takes its time, and counts what it encoded."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.encoded = 0
        self.entered = threading.Event()

    def encode(self, images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
        self.entered.set()
        time.sleep(self.seconds)
        self.encoded += len(images)
        return super().encode(images, modality)


class HeldEncoder(SlowEncoder):
    """Encodes once it is let go."""

    def __init__(self) -> None:
        super().__init__(0)
        self.go = threading.Event()
        self.inside = threading.Semaphore(0)

    def encode(self, images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
        self.inside.release()
        assert self.go.wait(60)
        return super().encode(images, modality)


FAILS = """
import sys
from exporter.runtime import GreyPixelEncoder
from server.app import serve
from server.settings import Settings

class Failing(GreyPixelEncoder):
    def encode(self, images, modality):
        raise RuntimeError("the device is gone")

serve(Settings(gallery="embedded:" + sys.argv[1], port=0), encoder=Failing())
"""

HELD = """
import time
from pathlib import Path

import server.images
import server.services.catalogue
from exporter.runtime import GreyPixelEncoder

def held(module, name):
    work = getattr(module, name)

    def wait_and_work(*said, **more):
        with Path({folder!r}, name).open("a") as begun:
            begun.write("x")
        while not Path({folder!r}, "go").exists():
            time.sleep(0.01)
        return work(*said, **more)

    setattr(module, name, wait_and_work)
"""
HELD_LOOKS = """
held(server.services.catalogue, "find")
held(server.images, "open_image")
"""
HELD_ENCODING = """
held(GreyPixelEncoder, "encode")
"""
A_FORM = "Content-Type: application/x-www-form-urlencoded\r\n"


def metric(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def await_begun(begun: Path, count: int) -> None:
    """Wait until so many calls are inside what ``HELD`` holds."""
    deadline = time.monotonic() + 20
    while not begun.exists() or len(begun.read_text()) < count:
        assert time.monotonic() < deadline, f"{begun.name} did not begin"
        time.sleep(0.02)


def is_listening(site: Site) -> bool:
    try:
        socket.create_connection((site.http.base_url.host, site.http.base_url.port), timeout=5).close()
    except OSError:
        return False
    return True


def test_metrics_count_what_happened(site: Site) -> None:
    before = site.http.get("/metrics").text
    site.people(3)
    site.search(picture(1))
    site.search(b"no image")
    answer = site.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    grew = {
        name: metric(answer.text, name) - metric(before, name)
        for name in (
            'peca_requests_total{route="POST /search",status="200"}',
            'peca_requests_total{route="POST /search",status="415"}',
            'peca_problems_total{problem="not-an-image"}',
            'peca_images_total{status="stored"}',
            'peca_stage_seconds_count{stage="search"}',
            'peca_stage_seconds_count{stage="store"}',
            'peca_request_seconds_count{route="POST /images"}',
            "peca_encoder_batch_images_sum",
        )
    }
    assert list(grew.values()) == [1, 1, 1, 3, 1, 1, 1, 4], grew
    for stage in ("decode", "wait", "encode", "audit"):
        name = f'peca_stage_seconds_count{{stage="{stage}"}}'
        assert metric(answer.text, name) > metric(before, name)
    assert metric(answer.text, "peca_gallery_images") == 3
    assert metric(answer.text, "peca_ready") == 1
    assert metric(answer.text, 'peca_encoder_queue_images{lane="search"}') == 0
    assert metric(answer.text, "peca_disk_free_bytes") > 0
    assert 'encoder="grey-pixels-32x16",gallery="memory",provider="numpy"' in answer.text


def test_metrics_are_for_admins_unless_they_are_open(
    start: Callable[..., Site], as_holder: Callable[..., Site]
) -> None:
    site = start()
    assert httpx.get(f"{site.http.base_url}/metrics").status_code == 401
    assert as_holder(site, "Ada", Role.OPERATOR).http.get("/metrics").status_code == 403
    opened = start(metrics_open=True)
    assert "peca_ready 1.0" in httpx.get(f"{opened.http.base_url}/metrics").text


def test_a_full_disk_is_told_and_takes_no_images(start: Callable[..., Site]) -> None:
    site = start(min_free_disk_bytes=10**18)
    for answer in (site.http.get("/readyz"), site.people(1)):
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:storage-unavailable")
        assert "expected at least 1,000,000,000,000,000,000 bytes free" in answer.json()["detail"]
    assert site.search(picture(1)).status_code == 200
    assert metric(site.http.get("/metrics").text, "peca_ready") == 0


def test_each_answer_carries_a_request_id(site: Site) -> None:
    first, second = (site.http.get("/healthz").headers["x-request-id"] for _ in range(2))
    assert first != second
    assert re.fullmatch("[0-9a-f]{32}", first)
    for path in ("/healthz", "/nowhere"):
        own = site.http.get(path, headers={"X-Request-ID": "gate-1.7_b"})
        assert own.headers["x-request-id"] == "gate-1.7_b"
    for strange in ("a b", "x" * 65, "", "<script>"):
        assert site.http.get("/healthz", headers={"X-Request-ID": strange}).headers["x-request-id"] != strange


def test_the_log_names_routes_and_keeps_secrets(
    launch: Callable[[], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PECA_LOG_FORM", "json")
    process = launch()
    key = process.key or ""
    site = process.site(key)
    site.people(1)
    answer = site.search(picture(1), case="case-of-Ada", reason="reason-of-Ada")
    site.http.get("/audit", params={"case": "case-of-Ada"})
    site.http.get("/images/p0-of-Ada")
    process.end()
    text = process.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["route"] for line in requests] == [
        "POST /images",
        "POST /search",
        "GET /audit",
        "GET /images/{image_id}",
    ]
    assert [line["status"] for line in requests] == [201, 200, 200, 404]
    assert requests[1]["request_id"] == answer.headers["x-request-id"]
    assert all(line["key_id"] and line["ms"] > 0 and line["timestamp"] for line in requests)
    for secret in (key, "of-Ada", "JFIF"):
        assert secret not in text
    assert "color_message" not in text


def test_the_log_says_whose_request_was_refused_and_where_it_came_from(
    launch: Callable[[], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PECA_LOG_FORM", "json")
    monkeypatch.setenv("PECA_TRUSTED_PROXIES", "127.0.0.1")
    process = launch()
    site = process.site(process.key or "")
    limits = {
        "Ada": {"role": "operator"},
        "Bo": {"role": "operator", "galleries": ["another"]},
        "Cy": {"role": "operator", "requests_per_minute": 1},
    }
    made = {
        name: site.http.post("/keys", json={"name": name, **limit}).json() for name, limit in limits.items()
    }
    ids = {name: key["key_id"] for name, key in made.items()}
    asks: list[tuple[str, str, dict[str, str], int, str | None]] = [
        ("GET", "/keys", {"X-API-Key": made["Ada"]["key"]}, 403, ids["Ada"]),
        ("GET", "/cameras", {"X-API-Key": made["Bo"]["key"]}, 403, ids["Bo"]),
        ("GET", "/cameras", {"X-API-Key": made["Cy"]["key"]}, 200, ids["Cy"]),
        ("GET", "/cameras", {"X-API-Key": made["Cy"]["key"]}, 429, ids["Cy"]),
        ("GET", "/cameras", {"X-API-Key": "peca_of-nobody"}, 401, None),
        ("GET", "/cameras", {}, 401, None),
    ]
    with httpx.Client(base_url=process.address, headers={"X-Forwarded-For": "203.0.113.7"}) as http:
        for method, path, headers, status, _ in asks:
            assert http.request(method, path, headers=headers).status_code == status
        assert http.post("/session", json={"key": "peca_of-nobody"}).status_code == 401
        assert http.post("/session", json={"key": made["Ada"]["key"]}).status_code == 201
        assert http.delete("/session").status_code == 403  # without its token
    process.end()
    text = process.log.read_text()
    lines = [line for line in map(json.loads, text.splitlines()) if line["event"] == "request"]
    told = [(line["status"], line.get("key_id"), line.get("address")) for line in lines[len(limits) :]]
    assert told == [
        *((status, key_id, None if status == 200 else "203.0.113.7") for *_, status, key_id in asks),
        (401, None, "203.0.113.7"),
        (201, None, None),
        (403, ids["Ada"], "203.0.113.7"),
    ]
    for secret in ("of-nobody", *(key["key"] for key in made.values())):
        assert secret not in text


def test_a_request_that_takes_too_long_is_given_up(start: Callable[..., Site]) -> None:
    encoder = SlowEncoder(1.0)
    site = start(encoder, request_timeout_s=0.2)
    for answer in (site.search(picture(1)), site.people(20)):
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:deadline-passed")
        assert answer.headers["retry-after"] == "1"
    time.sleep(1.5)
    assert encoder.encoded <= 17, "what nobody waited for was encoded"
    assert site.http.get("/cameras").json()["items"] == []


def test_the_time_limit_holds_for_the_gallery_too_and_such_a_search_is_not_recorded(
    start: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = start(request_timeout_s=0.3)
    site.people(3)
    gallery = site.app.state.parts.catalogue._gallery
    for name in ("search", "page"):
        quick = getattr(gallery, name)
        monkeypatch.setattr(
            gallery, name, lambda *said, quick=quick, **more: time.sleep(0.5) or quick(*said, **more)
        )
    for answer in (site.search(picture(1)), site.http.get("/quality")):
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:deadline-passed")
    assert site.http.get("/audit", params={"action": "search"}).json()["items"] == []


def test_the_work_of_clients_that_left_is_dropped(
    start: Callable[..., Site], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="peca.requests")
    encoder = HeldEncoder()
    site = start(encoder)
    first = [threading.Thread(target=site.search, args=(picture(0),)) for _ in range(WORKERS)]
    for thread in first:
        thread.start()
        assert encoder.inside.acquire(timeout=30)
    for _ in range(4):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{site.http.base_url}/search",
                files={"image": ("a.jpg", picture(1))},
                data={"query_modality": "visible"},
                headers=dict(site.http.headers),
                timeout=httpx.Timeout(30, read=0.5),
            )
    time.sleep(0.5)
    encoder.go.set()
    for thread in first:
        thread.join()
    assert site.search(picture(2)).status_code == 200
    assert encoder.encoded == WORKERS + 1, "images of clients that left were encoded"
    deadline = time.monotonic() + 30
    while [getattr(record, "status", None) for record in caplog.records].count(499) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_requests_without_a_body_notice_that_their_client_left(
    launch: Callable[[], Process], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("server_site.SERVE", HELD.format(folder=str(tmp_path)) + HELD_LOOKS + SERVE)
    process = launch()
    site = process.site(process.key or "")
    site.people(2)
    search, at_once = "POST /images/p0/search", os.cpu_count() or 1
    leaving = [
        asked(site, search),
        asked(site, search, "Content-Length: 0\r\n"),
        asked(site, search, "Content-Length: 0\r\n" + A_FORM),
        asked(site, search, "Content-Length: 7\r\n" + A_FORM, "limit=9"),
        asked(site, search, "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ]
    with asked(site, search, "Content-Length: 0\r\nConnection: close\r\n" + A_FORM) as staying:
        await_begun(tmp_path / "find", 6)
        leaving += [asked(site, "GET /images/p0/thumbnail") for _ in range(at_once + 3)]
        await_begun(tmp_path / "open_image", at_once)
        for wire in leaving:
            wire.close()
        time.sleep(0.5)
        (tmp_path / "go").touch()
        assert staying.makefile("rb").read().startswith(b"HTTP/1.1 200")
    dropped = {"POST /images/{image_id}/search": 5, "GET /images/{image_id}/thumbnail": 3}
    deadline = time.monotonic() + 20
    while {
        route: metric(site.http.get("/metrics").text, f'peca_requests_total{{route="{route}",status="499"}}')
        for route in dropped
    } != dropped:
        assert time.monotonic() < deadline, "they were answered"
        time.sleep(0.05)
    searches = site.http.get("/audit", params={"action": "search"}).json()["items"]
    assert len(searches) == 1, "a search is recorded whose results nobody saw"
    assert len((tmp_path / "open_image").read_text()) == at_once, "pictures were decoded for nobody"


def test_a_removal_whose_client_left_before_it_began_removes_nothing(
    start: Callable[..., Site], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="peca.requests")
    site = start()
    site.people(3)
    gallery, go_on, begun = site.app.state.parts.catalogue._gallery, threading.Event(), threading.Event()
    page = gallery.page

    def held(*said: object) -> object:
        begun.set()
        go_on.wait(40)
        return page(*said)

    monkeypatch.setattr(gallery, "page", held)
    with asked(site, "DELETE /images?modality=infrared&dry_run=false"):
        assert begun.wait(20)
    time.sleep(0.3)
    go_on.set()
    deadline = time.monotonic() + 20
    while [getattr(record, "status", None) for record in caplog.records][-1] != 499:
        assert time.monotonic() < deadline, "it was answered"
        time.sleep(0.05)
    assert site.http.get("/cameras").json()["items"][0]["count"] == 3
    assert site.http.get("/audit", params={"action": "delete"}).json()["items"] == []


def test_many_slow_requests_leave_the_probes_alone(start: Callable[..., Site]) -> None:
    encoder = HeldEncoder()
    site = start(encoder, max_open_requests=66)  # of which one key has 50
    callers = [threading.Thread(target=site.search, args=(picture(1),)) for _ in range(50)]
    for thread in callers:
        thread.start()
    try:
        while metric(site.http.get("/metrics").text, 'peca_encoder_queue_images{lane="search"}') < 50:
            time.sleep(0.05)
        assert httpx.get(f"{site.http.base_url}/readyz", timeout=10).status_code == 200
    finally:
        encoder.go.set()
        for thread in callers:
            thread.join()


def test_many_requests_are_bounded(start: Callable[..., Site]) -> None:
    site = start(SlowEncoder(0.5), max_open_requests=3)
    answers: list[httpx.Response] = []
    callers = [threading.Thread(target=lambda: answers.append(site.search(picture(1)))) for _ in range(9)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    refused = [answer for answer in answers if answer.status_code == 429]
    assert sum(answer.status_code == 200 for answer in answers) >= 3
    assert len(refused) >= 1
    assert {answer.json()["type"] for answer in refused} == {"urn:peca:problem:server-busy"}
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}


def test_bytes_in_work_are_bounded(start: Callable[..., Site]) -> None:
    site = start(SlowEncoder(0.5), max_open_bytes=2000)
    assert site.search(picture(1)).status_code == 200
    answers: list[httpx.Response] = []
    callers = [threading.Thread(target=lambda: answers.append(site.search(picture(1)))) for _ in range(6)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert {answer.status_code for answer in answers} == {200, 429}


def test_a_stop_finishes_what_was_accepted(launch: Callable[[], Process]) -> None:
    process = launch()
    key = process.key or ""
    acknowledged: list[str] = []

    def send(site: Site, first: int) -> None:
        for start in range(first, first + 2000, 8):
            names = [f"p{person}" for person in range(start, start + 8)]
            try:
                answer = site.ingest(
                    {name: picture(hash(name) % 1000) for name in names},
                    [about(name, image_id=name) for name in names],
                )
            except httpx.TransportError:  # not accepted: what lay in the listener's queue is reset
                return
            assert answer.status_code in (201, 503), answer.text
            acknowledged.extend(
                item["image_id"] for item in answer.json().get("items", []) if item["status"] == "stored"
            )

    senders = [threading.Thread(target=send, args=(process.site(key), 10_000 * n)) for n in range(6)]
    for thread in senders:
        thread.start()
    while len(acknowledged) < 64:
        time.sleep(0.02)
    assert process.end() == 0
    for thread in senders:
        thread.join()
    restarted = launch().site(key)
    held = sum(camera["count"] for camera in restarted.http.get("/cameras").json()["items"])
    assert held >= len(acknowledged) > 0
    for image_id in acknowledged:
        assert restarted.http.get(f"/images/{image_id}/thumbnail").status_code == 200


def test_a_stop_answers_the_requests_that_were_inside(
    launch: Callable[[], Process], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("server_site.SERVE", HELD.format(folder=str(tmp_path)) + HELD_ENCODING + SERVE)
    process = launch()
    site = process.site(process.key or "")
    with ThreadPoolExecutor(2) as callers:
        try:
            ingest, search = callers.submit(site.people, 2), callers.submit(site.search, picture(1))
            await_begun(tmp_path / "encode", 2)
            process.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 20
            while is_listening(site):
                assert time.monotonic() < deadline, "it takes connections"
                time.sleep(0.02)
            time.sleep(0.3)
        finally:
            (tmp_path / "go").touch()
        assert ingest.result().status_code == 201, ingest.result().text
        assert search.result().status_code == 200, search.result().text
    assert process.process.wait(timeout=30) == 0
    process.end()
    monkeypatch.undo()
    restarted = launch().site(process.key or "")
    assert restarted.http.get("/cameras").json()["items"][0]["count"] == 2
    (record,) = restarted.http.get("/audit", params={"action": "search"}).json()["items"]
    assert record["search_id"] == search.result().json()["search_id"]


def test_the_trace_of_a_failure_carries_the_id_that_the_client_was_told(
    launch: Callable[[], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PECA_LOG_FORM", "json")
    monkeypatch.setattr("server_site.SERVE", FAILS)
    process = launch()
    site = process.site(process.key or "")
    answer = site.http.post(
        "/search",
        files={"image": picture(1)},
        data={"query_modality": "visible"},
        headers={"X-Request-ID": "told-7"},
    )
    assert answer.status_code == 500, answer.text
    process.end()
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    traces = [line for line in lines if "exception" in line]
    assert [line["request_id"] for line in traces] == ["told-7"]


class FailingEncoder(GreyPixelEncoder):
    """Fails while it is told to."""

    fails = False

    def encode(self, images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
        if self.fails:
            raise RuntimeError("the device is gone")
        return super().encode(images, modality)


def test_an_encoder_that_fails_is_told_until_it_works_again(start: Callable[..., Site]) -> None:
    encoder = FailingEncoder()
    site = start(encoder)
    before = metric(site.http.get("/metrics").text, "peca_encoder_errors_total")
    encoder.fails = True
    assert site.search(picture(1)).status_code == 500
    assert metric(site.http.get("/metrics").text, "peca_encoder_errors_total") == before + 1
    answer = site.http.get("/readyz")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:encoder-fails")
    assert metric(site.http.get("/metrics").text, "peca_ready") == 0
    encoder.fails = False
    assert site.http.get("/readyz").status_code == 200


def test_an_audit_log_that_refuses_is_told_until_it_takes_records_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", refuse)
        assert site.search(picture(1)).status_code == 503
        answer = site.http.get("/readyz")
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:storage-unavailable")
    assert site.http.get("/readyz").status_code == 200
    (record,) = site.http.get("/audit", params={"action": "recovery"}).json()["items"]
    assert "Input/output error" in record["refused"]


@pytest.mark.parametrize("name", ["audit.jsonl", "keys.json"])
def test_a_file_that_is_gone_is_told(site: Site, settings: Settings, name: str) -> None:
    (settings.data_folder / name).unlink()
    answer = httpx.get(f"{site.http.base_url}/readyz")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:storage-unavailable")


def test_the_disk_of_an_embedded_gallery_counts_too(tmp_path: Path) -> None:
    """On a machine that has two disks: the fuller one is the gallery's, or the data folder's."""
    shared = Path("/dev/shm")  # another file system than that of temporary files
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    with tempfile.TemporaryDirectory(dir=shared) as other:
        left = {folder: shutil.disk_usage(folder).free for folder in (tmp_path, Path(other))}
        fuller, emptier = sorted(left, key=lambda folder: left[folder])
        between = sum(left.values()) // 2
        settings = Settings(gallery=f"embedded:{fuller}", data_dir=emptier, min_free_disk_bytes=between)
        with pytest.raises(StorageUnavailable, match="found"):
            check_space(settings)
        check_space(settings.model_copy(update={"gallery": f"embedded:{emptier}"}))
