"""The stream of hits: resumed, limited, with heartbeats, and ended with key, session and server."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from server_site import Process, Site, sighting, watch

from server.access import Role
from server.keyring import KeyRing
from server.settings import Settings

AsHolder = Callable[..., Site]


@contextmanager
def listening(http: httpx.Client, **request: object) -> Iterator[Iterator[str]]:
    with http.stream("GET", "/events", **request) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines) == "retry: 3000"
        assert next(lines) == ""
        yield lines


def next_event(lines: Iterator[str]) -> tuple[int, str, dict[str, object]]:
    told: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            told[name] = value
        elif told:
            return int(told["id"]), told["event"], json.loads(told["data"])
    raise AssertionError("the stream ended")


def test_hits_come_as_they_are_stored(site: Site) -> None:
    watchlist_id = watch(site)
    sighting(site, "before")
    with listening(site.http) as lines:
        sighting(site, "a")
        number, kind, told = next_event(lines)
        assert (number, kind) == (2, "hit")
        assert told == {
            "event_id": 2,
            "watchlist_id": watchlist_id,
            "name": "coat",
            "image_id": "a",
            "camera_id": "cam3",
            "captured_at": "2026-03-01T22:15:00Z",
            "modality": "infrared",
            "score": told["score"],
            "thumbnail_url": "/images/a/thumbnail",
        }
        sighting(site, "b")
        assert next_event(lines)[2]["image_id"] == "b"


@pytest.mark.parametrize("form", ["header", "query", "both"])
def test_a_stream_is_resumed_where_it_broke(site: Site, form: str) -> None:
    watch(site)
    for name in "abcd":
        sighting(site, name)
    headers = {} if form == "query" else {"Last-Event-ID": "2"}
    params = {} if form == "header" else {"after": "2" if form == "query" else "0"}
    with listening(site.http, headers=headers, params=params) as lines:
        assert [next_event(lines)[2]["image_id"] for _ in range(2)] == ["c", "d"]
        sighting(site, "e")
        assert next_event(lines)[0] == 5


@pytest.mark.parametrize("given", ["x", "-1", "1.5"])
def test_an_id_that_is_none_is_refused(site: Site, given: str) -> None:
    answer = site.http.get("/events", headers={"Last-Event-ID": given})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:peca:problem:invalid-request")


def test_a_listener_hears_of_its_own_watchlists_and_cameras(site: Site, as_holder: AsHolder) -> None:
    ada = as_holder(site, "Ada", Role.OPERATOR)
    eve = as_holder(site, "Eve", Role.OPERATOR)
    watch(eve)
    watch(ada)
    limited = site.http.post("/keys", json={"name": "Bo", "role": "operator", "camera_ids": ["cam1"]}).json()[
        "key"
    ]
    with httpx.Client(base_url=site.http.base_url, headers={"X-API-Key": limited}) as http:
        watch(Site(http))
        sighting(site, "far", "cam2")
        sighting(site, "near", "cam1")
        with listening(http, params={"after": 0}) as lines:
            assert next_event(lines)[2]["image_id"] == "near"
    for one in (ada, eve):
        with listening(one.http, params={"after": 0}) as lines:
            told = [next_event(lines)[2] for _ in range(2)]
            assert [one["image_id"] for one in told] == ["far", "near"]
            assert len({one["watchlist_id"] for one in told}) == 1
    with listening(site.http, params={"after": 0}) as lines:
        assert len([next_event(lines) for _ in range(5)]) == 5


def test_heartbeats_and_the_end_of_a_key(
    start: Callable[..., Site], as_holder: AsHolder, settings: Settings
) -> None:
    site = start()
    site.app.state.parts.events._heartbeat_s = 0.2
    ada = as_holder(site, "Ada", Role.OPERATOR)
    with listening(ada.http) as lines:
        assert [next(lines) for _ in range(4)] == [": heartbeat", "", ": heartbeat", ""]
        KeyRing(settings.data_folder).revoke("Ada")
        began = time.monotonic()
        assert set(lines) <= {": heartbeat", ""}
        assert time.monotonic() - began < 10
    assert ada.http.get("/events").status_code == 401


def test_a_heart_beats_also_while_others_have_hits(start: Callable[..., Site], as_holder: AsHolder) -> None:
    site = start()
    site.app.state.parts.events._heartbeat_s = 0.3
    ada = as_holder(site, "Ada", Role.OPERATOR)
    watch(site)
    ended = threading.Event()

    def go_on() -> None:
        for number in range(1000):
            if ended.is_set():
                return
            sighting(site, f"one-{number}")

    others = threading.Thread(target=go_on)
    with listening(ada.http) as lines:
        others.start()
        began = time.monotonic()
        try:
            assert [next(lines) for _ in range(6)] == [": heartbeat", ""] * 3
        finally:
            ended.set()
            others.join()
        assert time.monotonic() - began < 5


def test_a_stream_ends_with_its_session(site: Site) -> None:
    site.app.state.parts.events._heartbeat_s = 0.2
    with httpx.Client(base_url=site.http.base_url, timeout=30) as http:
        signed_in = http.post("/session", json={"key": site.http.headers["X-API-Key"]}).json()
        token = {"X-CSRF-Token": signed_in["csrf_token"]}
        watch(site)
        with listening(http) as lines:
            sighting(site, "a")
            assert next_event(lines)[0] == 1
            assert http.delete("/session", headers=token).status_code == 204
            assert set(lines) <= {": heartbeat", ""}


def test_listening_is_recorded(site: Site, settings: Settings) -> None:
    watch(site)
    with listening(site.http) as lines:
        sighting(site, "a")
        next_event(lines)

    def told() -> list[dict[str, object]]:
        log = (settings.data_folder / "audit.jsonl").read_text().splitlines()
        return [record for line in log if (record := json.loads(line)).get("stream") == "events"]

    end = time.monotonic() + 20
    while len(told()) < 2 and time.monotonic() < end:
        sighting(site, f"x{time.monotonic_ns()}")
        time.sleep(0.05)
    opened, ended = told()
    assert (opened["action"], opened["key"], opened["after"]) == ("read", "admin", 0)
    assert ended["ended"] is True
    assert ended["shown"] >= 1


def seats_are_free(site: Site, wait_s: float = 10) -> bool:
    end = time.monotonic() + wait_s
    while (taken := site.app.state.parts.events.seats.taken) and time.monotonic() < end:
        time.sleep(0.02)
    return not taken


def refusal(http: httpx.Client) -> tuple[int, str, str, str]:
    answer = http.get("/events")
    told = answer.json()
    return answer.status_code, told["type"], told["detail"], answer.headers["retry-after"]


def test_there_are_not_too_many_streams(
    site: Site, as_holder: AsHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.app.state.parts.events.seats, "most", 2)
    ada = as_holder(site, "Ada", Role.OPERATOR)
    with listening(site.http), listening(ada.http):
        status, kind, detail, wait_s = refusal(site.http)
    assert (status, kind, wait_s) == (429, "urn:peca:problem:streams-exceeded", "10")
    assert detail.startswith("2 event streams are open")
    assert seats_are_free(site)
    with listening(site.http):
        pass


def test_a_key_has_not_all_streams_however_fast_it_asks(
    site: Site, as_holder: AsHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.app.state.parts.events.seats, "most_of_a_key", 3)
    ada = as_holder(site, "Ada", Role.OPERATOR)
    statuses, ended, all_asked = [], threading.Event(), threading.Barrier(13)

    def ask() -> None:
        all_asked.wait()
        with ada.http.stream("GET", "/events") as answer:
            statuses.append(answer.status_code)
            ended.wait(30)

    askers = [threading.Thread(target=ask) for _ in range(12)]
    for asker in askers:
        asker.start()
    all_asked.wait()
    end = time.monotonic() + 20
    while len(statuses) < 12 and time.monotonic() < end:
        time.sleep(0.02)
    try:
        assert sorted(statuses) == [200] * 3 + [429] * 9
        assert refusal(ada.http)[2].startswith("3 event streams of this key are open")
        with listening(site.http):
            pass
    finally:
        ended.set()
        for asker in askers:
            asker.join()
    assert seats_are_free(site)


def test_an_id_from_before_a_restore_leaves_no_stream_silent(site: Site, settings: Settings) -> None:
    watch(site)
    sighting(site, "a")
    sighting(site, "b")
    with listening(site.http, headers={"Last-Event-ID": "500"}) as lines:
        assert [next_event(lines)[0] for _ in range(2)] == [1, 2]
        sighting(site, "c")
        assert next_event(lines)[0] == 3
    log = (settings.data_folder / "audit.jsonl").read_text().splitlines()
    assert [record["after"] for line in log if "after" in (record := json.loads(line))] == [0]


def test_an_open_stream_does_not_keep_the_server_from_ending(launch: Callable[[], Process]) -> None:
    process = launch()
    assert process.key is not None
    site = process.site(process.key)
    watch(site)
    sighting(site, "a")
    ended = threading.Event()
    with listening(site.http, params={"after": 0}) as lines:
        next_event(lines)
        process.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert set(lines) <= {": heartbeat", ""}
        ended.set()
    assert process.process.wait(30) == 0
    assert time.monotonic() - began < 15
