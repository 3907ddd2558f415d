"""A server process: its first start, its end, and what survives a SIGKILL."""

import json
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from server_site import Process, Site, about, picture

from clients.cli import main
from exporter.runtime import GreyPixelEncoder
from index.errors import PecaError
from server.access import Role
from server.app import _check_reach, serve
from server.keyring import KeyRing
from server.parts import opened
from server.settings import Settings
from server.verification import verify_log


def test_the_first_start_prints_one_key_and_the_next_none(launch: Callable[[], Process]) -> None:
    first = launch()
    key = first.key
    assert key is not None
    assert key.startswith("peca_")
    assert len([line for line in first.lines if key in line]) == 1
    told = first.site(key).http.get("/version").json()
    assert (told["gallery"], told["device"]) == ("embedded", "cpu")
    assert told["device_reason"] in first.log.read_text(), "why, where nobody forbade a GPU"
    assert told["device_reason"]
    assert "galleries are searched by the processor: " in first.log.read_text()
    assert "faiss.loader" not in first.log.read_text()
    assert first.end(signal.SIGTERM) == 0
    second = launch()
    assert second.key is None
    assert second.site(key).http.get("/cameras").status_code == 200
    assert second.end(signal.SIGINT) == 0


def test_a_second_server_on_the_same_folder_says_why_it_ends(
    launch: Callable[[], Process], tmp_path: Path
) -> None:
    launch()
    with pytest.raises(AssertionError, match=r"GalleryUnavailable: .* open for writing by process"):
        launch()


def test_what_was_acknowledged_survives_sigkill(launch: Callable[[], Process], tmp_path: Path) -> None:
    process = launch()
    key = process.key
    assert key is not None
    site = process.site(key)
    acknowledged: list[str] = []
    killer = threading.Event()

    def kill_after_the_third() -> None:
        killer.wait(30)
        process.process.kill()

    thread = threading.Thread(target=kill_after_the_third)
    thread.start()
    batches = [range(start, start + 8) for start in range(0, 400, 8)]
    try:
        for number, batch in enumerate(batches):
            acknowledged += stored(ingest_people(site, batch))
            if number == 2:
                killer.set()
    except httpx.TransportError:
        pass
    thread.join()
    process.end(signal.SIGKILL)
    assert len(acknowledged) >= 24
    assert len(acknowledged) < 400, "the kill came too late to test anything"

    restarted = launch().site(key)
    for image_id in acknowledged:
        assert restarted.http.get(f"/images/{image_id}").status_code == 200
        assert restarted.http.get(f"/images/{image_id}/thumbnail").status_code == 200
    for person in (0, 9, 23):
        assert restarted.search(picture(person), limit=1).json()["items"][0]["image_id"] == f"p{person}"
    before = count(restarted)
    again = ingest_people(restarted, batches[0]).json()
    assert again["counts"] == {"stored": 0, "unchanged": 8, "refused": 0, "conflict": 0}
    assert count(restarted) == before


def test_killed_at_once_after_the_answer(launch: Callable[[], Process]) -> None:
    process = launch()
    key = process.key
    assert key is not None
    acknowledged = stored(ingest_people(process.site(key), range(12)))
    process.end(signal.SIGKILL)
    restarted = launch().site(key)
    assert len(acknowledged) == 12
    found = restarted.search(picture(4), limit=100).json()["items"]
    assert sorted(item["image_id"] for item in found) == sorted(acknowledged)
    assert found[0]["image_id"] == "p4"
    assert ingest_people(restarted, range(12)).json()["counts"]["unchanged"] == 12
    assert count(restarted) == 12


def ingest_people(site: Site, people: range) -> httpx.Response:
    files = {f"p{person}.jpg": picture(person) for person in people}
    return site.ingest(files, [about(name, image_id=name.removesuffix(".jpg")) for name in files])


def stored(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 201, answer.text
    return [item["image_id"] for item in answer.json()["items"] if item["status"] == "stored"]


def count(site: Site) -> int:
    return sum(camera["count"] for camera in site.http.get("/cameras").json()["items"])


def test_the_audit_log_goes_on_after_a_kill(launch: Callable[[], Process], tmp_path: Path) -> None:
    process = launch()
    key = process.key
    assert key is not None
    process.site(key).search(picture(1))
    process.end(signal.SIGKILL)
    log = tmp_path / "peca-data" / "audit.jsonl"
    with log.open("ab") as file:
        file.write(b'{"at": "torn by a power cu')
    launch().site(key).search(picture(1))
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [record["action"] for record in records] == ["start", "search", "recovery", "start", "search"]
    assert records[2]["torn"] == '{"at": "torn by a power cu'
    assert verify_log(log.parent).broken is None


def test_a_kill_loses_no_search_that_was_answered(launch: Callable[[], Process], tmp_path: Path) -> None:
    process = launch()
    key = process.key
    assert key is not None
    site = process.site(key)
    answered: list[str] = []
    killer = threading.Timer(0.4, process.process.kill)
    killer.start()
    try:
        while True:
            answered.append(site.search(picture(1)).json()["search_id"])
    except httpx.TransportError:
        pass
    killer.join()
    assert answered, "the kill came too soon to test anything"
    found = verify_log(tmp_path / "peca-data")
    assert found.broken is None
    lines = (tmp_path / "peca-data" / "audit.jsonl").read_text().splitlines()
    recorded = [json.loads(line).get("search_id") for line in lines]
    assert [search_id for search_id in recorded if search_id in answered] == answered


def test_keys_change_beside_a_running_server(
    launch: Callable[[], Process], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = launch()
    assert process.key is not None
    folder = str(tmp_path / "peca-data")

    def peca(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--data-dir", folder])
        assert ended.value.code in (0, None)
        return capsys.readouterr().out.strip()

    key = peca("keys", "create", "Ada", "--role", "operator").rpartition(" ")[2]
    operator = process.site(key)
    assert operator.http.get("/cameras").status_code == 200
    assert operator.http.get("/audit").status_code == 403
    new = process.site(peca("keys", "rotate", "Ada").rpartition(" ")[2])
    assert (operator.http.get("/cameras").status_code, new.http.get("/cameras").status_code) == (401, 200)
    assert peca("keys", "revoke", "Ada").startswith("revoked: key ")
    assert new.http.get("/cameras").status_code == 401
    assert process.site(process.key).http.get("/cameras").status_code == 200
    assert "records sound" in peca("audit", "verify")


def test_listening_beyond_this_machine_needs_a_key(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    ring.create("Ada", Role.ADMIN)
    ring.revoke("Ada", force=True)
    settings = Settings(gallery="memory:", data_dir=tmp_path, host="0.0.0.0", port=0)
    with pytest.raises(PecaError, match=r"listening on 0\.0\.0\.0 is refused"):
        serve(settings, encoder=GreyPixelEncoder())


def test_a_taken_port_is_told_before_a_key_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(gallery=f"embedded:{tmp_path / 'data'}", port=taken.getsockname()[1])
        with pytest.raises(
            PecaError, match=r"cannot listen on 127\.0\.0\.1, port \d+: Address already in use"
        ):
            serve(settings, encoder=GreyPixelEncoder())
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("trusted", "seen"), [(None, "127.0.0.1"), ("127.0.0.1", "203.0.113.9")])
def test_only_a_trusted_proxy_says_where_people_come_from(
    launch: Callable[[], Process],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trusted: str | None,
    seen: str,
) -> None:
    if trusted:
        monkeypatch.setenv("PECA_TRUSTED_PROXIES", trusted)
    process = launch()
    for said in ("203.0.113.9", "<script>"):
        headers = {"X-Forwarded-For": said, "X-Forwarded-Proto": "https"}
        answer = httpx.post(f"{process.address}/session", json={"key": process.key}, headers=headers)
        assert ("Secure" in answer.headers["set-cookie"]) == (trusted is not None)
    lines = (tmp_path / "peca-data/audit.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    told = [one["address"] for one in records if one["action"] == "session"]
    assert told == [seen, "unknown" if trusted else "127.0.0.1"]


@pytest.mark.parametrize(
    ("host", "trusted", "warned"),
    [("0.0.0.0", "", True), ("0.0.0.0", "10.0.0.1", False), ("127.0.0.1", "", False)],
)
def test_reach_beyond_this_machine_in_clear_is_warned_of(
    settings: Settings, caplog: pytest.LogCaptureFixture, host: str, trusted: str, warned: bool
) -> None:
    reached = settings.model_copy(update={"host": host, "trusted_proxies": trusted})
    with opened(settings, GreyPixelEncoder()) as parts:
        _check_reach(reached, parts)
    assert ("without TLS" in caplog.text) == warned
