"""Watchlists: what is compared, what is found, what survives a kill, what is erased, who may know."""

import hashlib
import io
import json
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
import server_site
from PIL import Image
from server_site import Process, Site, about, picture

from exporter.runtime import GreyPixelEncoder
from index.space import EmbeddingSpec
from server import watch_store
from server.access import Role
from server.audit import AuditLog
from server.keyring import KeyRing
from server.settings import Settings
from server.verification import verify_log
from server.watch_store import WatchStore
from server.watchlists import Watchlist

AsHolder = Callable[..., Site]


def watch(site: Site, *people: int, **fields: object) -> httpx.Response:
    """Watch for a person by one picture each of ``people``."""
    form = {"name": "the coat", "threshold": 0.999, "query_modality": "visible", **fields}
    given = {name: value for name, value in form.items() if value is not None}
    files = [("image", (f"q{person}.jpg", picture(person))) for person in people]
    return site.http.post("/watchlists", files=files, data=given)


def made(answer: httpx.Response) -> str:
    assert answer.status_code == 201, answer.text
    return str(answer.json()["watchlist_id"])


def hits(site: Site, watchlist_id: str, **query: object) -> list[dict[str, object]]:
    answer = site.http.get(f"/watchlists/{watchlist_id}/hits", params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, object]] = answer.json()["items"]
    return items


def records(settings: Settings) -> list[dict[str, object]]:
    lines = (settings.data_folder / "audit.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_an_image_ingested_later_is_a_hit(site: Site, settings: Settings) -> None:
    site.people(1)
    answer = watch(site, 1, case="2026-17", reason="missing child")
    watchlist_id = made(answer)
    assert answer.json()["webhook_secret"] is None
    site.people(3)
    (hit,) = hits(site, watchlist_id)
    assert (hit["image_id"], hit["name"], hit["modality"]) == ("p1", "the coat", "infrared")
    assert hit["score"] == pytest.approx(1, abs=1e-4)
    assert site.http.get(str(hit["thumbnail_url"])).status_code == 200
    told = site.http.get(f"/watchlists/{watchlist_id}").json()
    assert (told["hits"], told["live"], told["made_by"], told["gallery_modality"]) == (
        1,
        True,
        "admin",
        "infrared",
    )
    assert site.http.get(told["queries"][0]["thumbnail_url"]).headers["content-type"] == "image/jpeg"
    actions = [(one["action"], one.get("change")) for one in records(settings)]
    assert actions == [
        ("start", None),
        ("ingest", None),
        ("watchlist", "create"),
        ("ingest", None),
        ("hit", None),
        ("read", None),
    ]
    created, _, hit_record = records(settings)[2:5]
    assert (created["case"], created["reason"], created["key"]) == ("2026-17", "missing child", "admin")
    assert hit_record["hits"] == [
        {"watchlist_id": watchlist_id, "image_id": "p1", "camera_id": "cam3", "score": hit["score"]}
    ]
    assert verify_log(settings.data_folder).broken is None


def test_query_images_are_kept_without_what_their_files_told(site: Site, settings: Settings) -> None:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x010E] = "the flat of Ada"
    Image.open(io.BytesIO(picture(1))).save(buffer, "JPEG", exif=exif)
    form = {"name": "coat", "threshold": 0.999, "query_modality": "visible"}
    answer = site.http.post("/watchlists", files={"image": ("q.jpg", buffer.getvalue())}, data=form)
    made(answer)
    assert b"the flat of Ada" not in stored_bytes(settings.data_folder)
    told = answer.json()["queries"][0]["sha256"]
    assert told == hashlib.sha256(buffer.getvalue()).hexdigest()


def test_a_full_disk_takes_no_watchlist(start: Callable[..., Site]) -> None:
    answer = watch(start(min_free_disk_bytes=1 << 60), 1)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:storage-unavailable")


def test_many_hits_are_recorded_in_parts(
    site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.services.watching._HITS_A_RECORD", 3)
    made(watch(site, 1, threshold=-1))
    site.people(8)
    told = [len(record["hits"]) for record in records(settings) if record["action"] == "hit"]  # type: ignore[arg-type]
    assert told == [3, 3, 2]


def test_what_is_compared(site: Site) -> None:
    site.ingest({"a": picture(8)}, [about("a", camera_id="cam1")])
    site.ingest({"b": picture(9)}, [about("b", camera_id="cam2")])
    same_light = made(watch(site, 1, gallery_modality="visible"))
    one_camera = made(watch(site, 1, camera_ids="cam2"))
    looser = made(watch(site, 1, threshold=-1))
    files = {name: picture(1) for name in ("v", "c1", "c2")}
    site.ingest(
        files,
        [
            about("v", image_id="v", modality="visible"),
            about("c1", image_id="c1", camera_id="cam1"),
            about("c2", image_id="c2", camera_id="cam2"),
        ],
    )
    site.ingest({"x": picture(7)}, [about("x", image_id="x")])
    found = {one: [hit["image_id"] for hit in hits(site, one)] for one in (same_light, one_camera, looser)}
    assert found == {same_light: ["v"], one_camera: ["c2"], looser: ["x", "c2", "c1"]}


def test_several_images_are_one_person_as_in_a_search(site: Site) -> None:
    both = made(watch(site, 1, 2, threshold=-1))
    site.people(4)
    found = {str(hit["image_id"]): hit["score"] for hit in hits(site, both)}
    files = [("image", (f"{person}.jpg", picture(person))) for person in (1, 2)]
    searched = site.http.post("/search", files=files, data={"query_modality": "visible"}).json()["items"]
    assert found == pytest.approx({item["image_id"]: item["score"] for item in searched}, abs=1e-5)


def test_an_image_that_is_sent_again_is_no_new_hit(site: Site) -> None:
    watchlist_id = made(watch(site, 1))
    site.people(2)
    site.people(2)
    assert len(hits(site, watchlist_id)) == 1
    site.http.delete("/images/p1")
    site.people(2)
    assert len(hits(site, watchlist_id)) == 2


def test_hits_come_in_pages(site: Site) -> None:
    watchlist_id = made(watch(site, 1, threshold=-1))
    site.people(5)
    seen, cursor = [], None
    for _ in range(3):
        query = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        answer = site.http.get(f"/watchlists/{watchlist_id}/hits", params=query).json()
        seen += [item["event_id"] for item in answer["items"]]
        cursor = answer["next_cursor"]
    assert seen == [5, 4, 3, 2, 1]
    assert cursor is None


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"threshold": 2}, "invalid-request"),
        ({"name": None}, "invalid-request"),
        ({"nmae": "x"}, "invalid-request"),
        ({"name": "  "}, "invalid-request"),
        ({"camera_ids": ""}, "invalid-request"),
        ({"camera_ids": "cam9"}, "unknown-camera"),
        ({"query_modality": "thermal"}, "unknown-modality"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "invalid-request"),
        ({"expires_at": "2999-01-01T00:00:00Z"}, "invalid-request"),
        ({"webhook_url": "https://127.0.0.1/x"}, "webhook-refused"),
    ],
)
def test_a_watchlist_that_is_refused(site: Site, fields: dict[str, object], kind: str) -> None:
    answer = watch(site, 1, **fields)
    assert (answer.status_code, answer.json()["type"]) == (422, f"urn:peca:problem:{kind}")
    assert site.http.get("/watchlists").json()["items"] == []


def test_the_limits_of_the_server(start: Callable[..., Site]) -> None:
    site = start(max_watchlists=1, max_watchlist_days=2, require_case=True)
    assert watch(site, 1).json()["type"] == "urn:peca:problem:case-missing"
    answer = watch(site, 1, case="x", reason="y")
    made(answer)
    left = datetime.fromisoformat(answer.json()["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=1.9) < left <= timedelta(days=2)
    again = watch(site, 1, case="x", reason="y")
    assert (again.status_code, again.json()["type"]) == (409, "urn:peca:problem:watchlists-exceeded")


def test_who_may_know_of_a_watchlist(site: Site, as_holder: AsHolder) -> None:
    said = [about(name, image_id=name, camera_id=name) for name in ("cam1", "cam2")]
    site.ingest({"cam1": picture(5), "cam2": picture(6)}, said)
    ada = as_holder(site, "Ada", Role.OPERATOR, camera_ids=["cam1"])
    eve = as_holder(site, "Eve", Role.OPERATOR)
    hers, wide = made(watch(ada, 1)), made(watch(eve, 1))
    assert site.http.get(f"/watchlists/{hers}").json()["camera_ids"] == ["cam1"]
    assert watch(ada, 1, camera_ids="cam2").json()["type"] == "urn:peca:problem:unknown-camera"
    said = [about("a", image_id="a", camera_id="cam1"), about("b", image_id="b", camera_id="cam2")]
    site.ingest({"a": picture(1), "b": picture(1)}, said)
    assert [hit["image_id"] for hit in hits(ada, hers)] == ["a"]
    assert [hit["image_id"] for hit in hits(eve, wide)] == ["b", "a"]
    assert [len(one.http.get("/watchlists").json()["items"]) for one in (ada, eve, site)] == [1, 1, 2]
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/hits"), ("GET", "/images/0")):
        answer = eve.http.request(method, f"/watchlists/{hers}{path}")
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:peca:problem:watchlist-unknown")
    assert ada.http.delete(f"/watchlists/{hers}").status_code == 204


def stored_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("watchlists.sqlite3*"))


def test_a_removed_watchlist_leaves_nothing(site: Site, settings: Settings) -> None:
    watchlist_id = made(watch(site, 1, case="secret-case"))
    site.people(2)
    picture_bytes = picture(1)[100:400]
    assert picture_bytes in stored_bytes(settings.data_folder)
    assert site.http.delete(f"/watchlists/{watchlist_id}").status_code == 204
    left = stored_bytes(settings.data_folder)
    assert picture_bytes not in left
    assert b"secret-case" not in left
    assert watchlist_id.encode() not in left
    assert site.http.get(f"/watchlists/{watchlist_id}").status_code == 404
    site.people(3)
    assert [one.get("change") for one in records(settings) if one["action"] == "watchlist"] == [
        "create",
        "delete",
    ]


def test_an_expired_watchlist_is_compared_with_nothing_and_its_pictures_are_erased(
    site: Site, settings: Settings
) -> None:
    watchlist_id = made(watch(site, 1))
    site.people(2)
    watching = site.app.state.parts.catalogue._watching
    watching.expire(datetime.now(UTC) + timedelta(days=91))
    site.ingest({"z": picture(1)}, [about("z", image_id="z")])
    assert len(hits(site, watchlist_id)) == 1
    told = site.http.get(f"/watchlists/{watchlist_id}").json()
    assert (told["expired"], told["live"], told["hits"]) == (True, False, 1)
    assert told["ended_for"] == "time"
    assert told["queries"][0]["thumbnail_url"] is None
    assert site.http.get(f"/watchlists/{watchlist_id}/images/0").status_code == 404
    assert picture(1)[100:400] not in stored_bytes(settings.data_folder)
    assert [one["change"] for one in records(settings) if one["action"] == "watchlist"] == [
        "create",
        "expire",
    ]


def until(found: Callable[[], object], wait_s: float = 20) -> None:
    end = time.monotonic() + wait_s
    while not found():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def test_a_watchlist_ends_with_the_last_key_of_its_maker(
    site: Site, as_holder: AsHolder, settings: Settings
) -> None:
    ada = as_holder(site, "Ada", Role.OPERATOR)
    watchlist_id, kept = made(watch(ada, 1, case="2026-17")), made(watch(site, 1))
    site.people(2)
    ring = KeyRing(settings.data_folder)
    ring.rotate("Ada", timedelta(hours=1))
    ring.revoke_one(next(key.key_id for key in ring.stored() if key.name == "Ada" and key.expires_at))
    site.ingest({"y": picture(1)}, [about("y", image_id="y")])
    assert [hit["image_id"] for hit in hits(site, watchlist_id)] == ["y", "p1"], "she has another key"

    ring.revoke("Ada")
    site.ingest({"z": picture(1)}, [about("z", image_id="z")])
    assert [hit["image_id"] for hit in hits(site, kept)] == ["z", "y", "p1"]
    assert [hit["image_id"] for hit in hits(site, watchlist_id)] == ["y", "p1"], "what it found stays"
    until(lambda: site.http.get(f"/watchlists/{watchlist_id}").json()["expired"])
    told = site.http.get(f"/watchlists/{watchlist_id}").json()
    assert (told["live"], told["queries"][0]["thumbnail_url"], told["ended_for"]) == (False, None, "maker")
    (end,) = [one for one in records(settings) if one.get("change") == "end"]
    assert (end["watchlist_id"], end["made_by"], end["case"]) == (watchlist_id, "Ada", "2026-17")
    assert site.http.get(f"/watchlists/{kept}").json()["live"] is True
    removed = site.http.delete(f"/watchlists/{watchlist_id}")
    assert (removed.status_code, "content-type" in removed.headers) == (204, False)


def test_an_expired_key_ends_what_it_watched_for_also_while_the_server_was_down(
    start: Callable[..., Site], as_holder: AsHolder, settings: Settings
) -> None:
    site = start()
    soon = datetime.now(UTC) + timedelta(seconds=2)
    watchlist_id = made(watch(as_holder(site, "guest", Role.OPERATOR, expires_at=soon), 1))
    time.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()))
    site.people(2)
    assert hits(site, watchlist_id) == []
    root = as_holder(start(), "root", Role.ADMIN)
    until(lambda: root.http.get(f"/watchlists/{watchlist_id}").json()["expired"])
    assert picture(1)[100:400] not in stored_bytes(settings.data_folder)


def test_a_watchlist_that_finds_too_much_ends_and_says_so(
    start: Callable[..., Site], settings: Settings
) -> None:
    site = start(max_watchlist_hits=5)
    loose, kept = made(watch(site, 1, threshold=-1, case="2026-17")), made(watch(site, 1))
    site.people(3)
    assert site.http.get(f"/watchlists/{loose}").json()["ended_for"] is None
    # One batch is never a hit in part.
    site.ingest({name: picture(person) for person, name in enumerate("abc", 10)})
    until(lambda: site.http.get(f"/watchlists/{loose}").json()["expired"])
    told = site.http.get(f"/watchlists/{loose}").json()
    assert (told["ended_for"], told["live"], told["hits"]) == ("hits", False, 6)
    site.ingest({"z": picture(1)}, [about("z", image_id="z")])
    assert len(hits(site, loose)) == 6
    assert [hit["image_id"] for hit in hits(site, kept)] == ["z", "p1"]
    (full,) = [one for one in records(settings) if one.get("change") == "full"]
    assert (full["watchlist_id"], full["case"]) == (loose, "2026-17")
    assert picture(1)[100:400] in stored_bytes(settings.data_folder), "the other one's"


def test_hits_are_counted_across_a_restart(start: Callable[..., Site], as_holder: AsHolder) -> None:
    loose = made(watch(start(), 1, threshold=-1))
    as_holder(start(), "root", Role.ADMIN).people(3)
    root = as_holder(start(max_watchlist_hits=4), "root 2", Role.ADMIN)
    root.ingest({"a": picture(8)}, [about("a", image_id="a")])
    until(lambda: root.http.get(f"/watchlists/{loose}").json()["ended_for"] == "hits")


def test_what_goes_on_beside_ingest_reads_no_more_hits_than_it_needs(site: Site) -> None:
    store = site.app.state.parts.hits._store
    watchlist_id = made(watch(site, 1, threshold=-1))
    site.people(3)
    asked = []
    store._database.set_trace_callback(asked.append)
    store.due(time.time(), 100)
    store.hit_counts([watchlist_id])
    store._database.set_trace_callback(None)
    # The thread that sends hits may have asked for some meanwhile; nobody may go through all of them.
    asked_of_hits = [one for one in asked if "FROM hits" in one]
    steps = [row[-1] for one in asked_of_hits for row in store._read(f"EXPLAIN QUERY PLAN {one}")]
    assert any("hits_to_deliver" in step for step in steps), steps
    assert any("COVERING INDEX hits_with_state" in step for step in steps), steps
    assert not any(step.startswith("SCAN hits") for step in steps), steps


def test_those_that_have_ended_cost_nothing_however_many_there_are(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchlist_id = made(watch(site, 1))
    store, watching = site.app.state.parts.hits._store, site.app.state.parts.catalogue._watching
    ended = replace(store.get(watchlist_id), ended_at=datetime.now(UTC))
    for number in range(50):
        store.add(replace(ended, watchlist_id=f"ended-{number}"), np.zeros(4, np.float32), [], None)
    read, from_json = [], Watchlist.from_json
    monkeypatch.setattr(Watchlist, "from_json", lambda facts: read.append(1) or from_json(facts))
    watching.expire(datetime.now(UTC))
    watching.refresh()
    assert 1 <= len(read) < 50
    plans = [
        store._read(f"EXPLAIN QUERY PLAN SELECT facts FROM watchlists WHERE {condition}")[0][-1]
        for condition in (watch_store._LIVES, f"{watch_store._MAKER} = 'Ada' ORDER BY position DESC")
    ]
    assert all("USING INDEX watchlists_" in plan for plan in plans), plans


class Other(GreyPixelEncoder):
    """The same with another fingerprint."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = EmbeddingSpec(self.spec.dim, "another")


def test_a_watchlist_belongs_to_its_encoder(start: Callable[..., Site], as_holder: AsHolder) -> None:
    watchlist_id = made(watch(start(), 1))
    other = as_holder(start(Other()), "root", Role.ADMIN)
    other.people(2)
    assert hits(other, watchlist_id) == []
    assert other.http.get(f"/watchlists/{watchlist_id}").json()["live"] is False


def test_a_hit_that_cannot_be_recorded_is_not_acknowledged_and_comes_later(
    site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchlist_id = made(watch(site, 1))
    write = AuditLog._write

    def full(log: AuditLog, facts: dict[str, object]) -> None:
        if facts["action"] == "hit":
            raise OSError("no space")
        write(log, facts)

    with monkeypatch.context() as patched:
        patched.setattr(AuditLog, "_write", full)
        assert site.people(2).status_code == 503
    assert site.people(2).json()["counts"]["unchanged"] == 2
    site.app.state.parts.catalogue._watching.recover()
    assert [hit["image_id"] for hit in hits(site, watchlist_id)] == ["p1"]


def test_an_ingest_that_fails_leaves_no_hit(
    site: Site, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    watchlist_id = made(watch(site, 1))
    gallery = site.app.state.parts.catalogue._gallery

    def full(*_: object) -> None:
        raise OSError("no space")

    with monkeypatch.context() as patched:
        patched.setattr(gallery, "add", full)
        assert site.people(2).status_code >= 500
    site.app.state.parts.catalogue._watching.recover()
    assert hits(site, watchlist_id) == []
    with sqlite3.connect(settings.data_folder / "watchlists.sqlite3") as file:
        assert file.execute("SELECT count(*) FROM expected").fetchone() == (0,)
    file.close()


KILLED = """
import os, signal
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
from index.embedded.engine import EmbeddedGallery
from server.watch_store import WatchStore
from server.watchlists import Watchlist
from server.images import ImageStore
{}.{} = die
"""


@pytest.mark.parametrize(
    ("where", "method", "stored"),
    [
        ("EmbeddedGallery", "add", False),
        ("ImageStore", "write", True),
        ("WatchStore", "settle", True),
    ],
)
def test_a_kill_at_any_step_loses_no_hit_and_doubles_none(
    launch: Callable[[], Process],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    method: str,
    stored: bool,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(server_site, "SERVE", KILLED.format(where, method) + server_site.SERVE)
        dying = launch()
    key = dying.key
    assert key is not None
    watchlist_id = made(watch(dying.site(key), 1))
    with pytest.raises(httpx.TransportError):
        dying.site(key).people(2)
    assert dying.process.wait(30) == -signal.SIGKILL
    again = launch().site(key)
    assert [hit["image_id"] for hit in hits(again, watchlist_id)] == (["p1"] if stored else [])
    again.people(2)
    assert [hit["image_id"] for hit in hits(again, watchlist_id)] == ["p1"]


def test_watchlists_and_hits_survive_a_restart(launch: Callable[[], Process]) -> None:
    first = launch()
    key = first.key
    assert key is not None
    watchlist_id = made(watch(first.site(key), 1))
    first.site(key).people(2)
    first.end(signal.SIGKILL)
    again = launch().site(key)
    assert [hit["event_id"] for hit in hits(again, watchlist_id)] == [1]
    again.ingest({"z": picture(1)}, [about("z", image_id="z")])
    assert [hit["event_id"] for hit in hits(again, watchlist_id)] == [2, 1]


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    store = WatchStore(tmp_path)
    store.close()
    for path in tmp_path.glob("watchlists.sqlite3*"):
        assert path.stat().st_mode & 0o077 == 0


def test_vectors_are_kept_as_they_were(start: Callable[..., Site], settings: Settings) -> None:
    site = start()
    watchlist_id = made(watch(site, 1))
    store = site.app.state.parts.watchlists._store
    vector = store.vector(watchlist_id)
    assert vector is not None
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_looking_at_what_others_watch_for_is_recorded(
    site: Site, as_holder: AsHolder, settings: Settings
) -> None:
    ada = as_holder(site, "Ada", Role.OPERATOR)
    watchlist_id = made(watch(ada, 1))
    paths = ("/watchlists", f"/watchlists/{watchlist_id}", f"/watchlists/{watchlist_id}/images/0")
    for own in paths:
        assert ada.http.get(own).status_code == 200
    assert [one for one in records(settings) if one["action"] == "read"] == []
    for others in paths:
        assert site.http.get(others).status_code == 200
    told = [
        (one["key"], one.get("watchlist_ids"), one.get("watchlist_id"), one.get("image"))
        for one in records(settings)
        if one["action"] == "read"
    ]
    assert told == [
        ("admin", [watchlist_id], None, None),
        ("admin", None, watchlist_id, None),
        ("admin", None, watchlist_id, 0),
    ]
