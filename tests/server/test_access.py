"""Who may do what: roles, limits to cameras, expiry, rates, and what browsers are told."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from server_site import Site, about, picture

from clients.cli import main
from index.errors import InvalidInput
from index.records import Where
from server.access import Holder, Role
from server.audit import AuditLog
from server.auth import KeyedRoute
from server.errors import RateExceeded
from server.headers import SECURITY_HEADERS
from server.keyring import KeyRing
from server.keys import open_keys, read_keys, write_keys
from server.rates import RateLimit, SignInLimit
from server.settings import Settings

AsHolder = Callable[..., Site]


def test_a_route_that_asks_for_nothing_cannot_be_made() -> None:
    with pytest.raises(KeyError, match="x-peca-permission"):
        KeyedRoute("/everything", lambda: None)


def test_a_role_is_refused_before_the_body_is_read(site: Site, as_holder: AsHolder) -> None:
    camera = as_holder(site, "gate", Role.CAMERA)
    answer = camera.http.post(
        "/search",
        content=(bytes(100_000) for _ in range(500)),
        headers={"content-type": "multipart/form-data"},
    )
    assert (answer.status_code, answer.headers["connection"]) == (403, "close")


@pytest.fixture
def two_cameras(site: Site) -> Site:
    said = [about("a", image_id="a", camera_id="cam1"), about("b", image_id="b", camera_id="cam2")]
    assert site.ingest({"a": picture(1), "b": picture(2)}, said).status_code == 201
    return site


def test_an_operator_of_one_camera_sees_no_other(two_cameras: Site, as_holder: AsHolder) -> None:
    limited = as_holder(two_cameras, "Ada", Role.OPERATOR, camera_ids=["cam1", "cam9"])

    def found(site: Site, **fields: object) -> list[str]:
        return sorted(item["image_id"] for item in site.search(picture(2), **fields).json()["items"])

    assert found(two_cameras) == ["a", "b"]
    assert found(limited) == ["a"]
    assert found(limited, camera_ids="cam1") == ["a"]
    assert found(limited, exclude_camera_ids="cam1") == []
    for field in ("camera_ids", "exclude_camera_ids"):
        answer = limited.search(picture(2), **{field: "cam2"})
        assert answer.json()["type"] == "urn:peca:problem:unknown-camera"
        assert answer.json()["detail"].endswith("its cameras are: cam1")
    assert [camera["camera_id"] for camera in limited.http.get("/cameras").json()["items"]] == ["cam1"]
    assert limited.http.get("/images/a/thumbnail").status_code == 200
    assert limited.http.get("/images/a/file").content == picture(1)
    for path in ("/images/b", "/images/b/thumbnail", "/images/b/file"):
        answer = limited.http.get(path)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:peca:problem:image-unknown")


def test_a_camera_adds_images_of_itself_alone(site: Site, as_holder: AsHolder) -> None:
    gate = as_holder(site, "gate", Role.CAMERA, camera_ids=["cam1"])
    files = {"a": picture(1), "b": picture(2)}
    answer = gate.ingest(files, [about("a", camera_id="cam1"), about("b", camera_id="cam2")])
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:peca:problem:camera-refused")
    assert "cam2" in answer.json()["detail"]
    assert site.http.get("/cameras").json()["items"] == []
    assert gate.ingest({"a": picture(1)}, [about("a", camera_id="cam1")]).status_code == 201


@pytest.mark.parametrize("asked", [None, {"cam1"}, {"cam2"}, {"cam1", "cam2", "cam3"}, set()])
def test_a_filter_is_narrowed_and_never_widened(asked: set[str] | None) -> None:
    holder = Holder("Ada", "id", Role.OPERATOR, frozenset({"cam1", "cam3"}))
    narrowed = holder.narrowed(Where(camera_ids=asked)).camera_ids
    assert narrowed is not None
    assert set(narrowed) == {"cam1", "cam3"} & ({"cam1", "cam3"} if asked is None else asked)


def test_an_expired_key_is_refused(site: Site, as_holder: AsHolder, settings: Settings) -> None:
    ada = as_holder(site, "Ada", Role.OPERATOR, expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert ada.http.get("/cameras").status_code == 200
    past = datetime.now(UTC) - timedelta(seconds=1)
    keys = read_keys(settings.data_folder)
    write_keys(settings.data_folder, [keys[0], keys[1].model_copy(update={"expires_at": past})])
    answer = ada.http.get("/cameras")
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:peca:problem:key-refused")
    assert "expired or was revoked" in answer.json()["detail"]


def test_keys_that_changed_are_recorded_and_unreadable_ones_let_nobody_in(
    site: Site, as_holder: AsHolder, settings: Settings
) -> None:
    as_holder(site, "Ada", Role.OPERATOR)
    site.http.get("/cameras")
    log = [json.loads(line) for line in (settings.data_folder / "audit.jsonl").read_text().splitlines()]
    assert [(one["action"], one.get("change")) for one in log] == [
        ("start", None),
        ("keys", "create"),
        ("keys", "noticed"),
    ]
    assert log[1]["os_user"]
    assert [key["name"] for key in log[2]["keys"]] == ["admin", "Ada"]
    assert "sha256" not in log[2]["keys"][0]
    (settings.data_folder / "keys.json").write_text("{}")
    answer = site.http.get("/cameras")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:storage-unavailable")
    assert "keys.json" not in answer.text


def test_a_key_file_of_an_earlier_version_holds_admins(tmp_path: Path) -> None:
    key = open_keys(tmp_path)[1]
    stored = json.loads((tmp_path / "keys.json").read_text())["keys"][0]
    assert set(stored) == {"name", "sha256", "created_at", "role"}
    del stored["role"]
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [stored]}))
    assert open_keys(tmp_path)[0].holder(key or "").role is Role.ADMIN


def test_a_key_that_asks_too_often_is_told_when_to_come_again(
    start: Callable[..., Site], as_holder: AsHolder
) -> None:
    site = start(max_requests_per_minute=30)
    hasty = as_holder(site, "Ada", Role.OPERATOR, requests_per_minute=2)
    assert [hasty.http.get("/cameras").status_code for _ in range(3)] == [200, 200, 429]
    answer = hasty.http.get("/cameras")
    assert answer.json()["type"] == "urn:peca:problem:rate-exceeded"
    assert int(answer.headers["retry-after"]) in (29, 30)
    assert [site.http.get("/cameras").status_code for _ in range(4)] == [200] * 4


def test_a_rate_is_given_back_evenly() -> None:
    now, waits = 0.0, []
    limit = RateLimit(60, clock=lambda: now)
    one, other = (Holder("Ada", key_id, Role.OPERATOR) for key_id in "ab")

    def taken(holder: Holder) -> int:
        for count in range(100):
            try:
                limit.take(holder)
            except RateExceeded as error:
                waits.append(error.retry_after_s)
                return count
        return 100

    assert (taken(one), taken(other)) == (60, 60)
    now += 10
    assert (taken(one), taken(one)) == (10, 0)
    now += 3600
    assert taken(one) == 60
    assert set(waits) == {1}
    limit = RateLimit(None)
    assert taken(one) == 100


@pytest.mark.parametrize("path", ["/healthz", "/cameras", "/nowhere", "/searches/none"])
def test_every_answer_carries_the_security_headers(site: Site, path: str) -> None:
    for client in (site.http, httpx):
        answer = client.get(f"{site.http.base_url}{path}", headers={"Origin": "https://elsewhere.example"})
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers.get_list(name) == [value], name
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_failure_carries_the_security_headers_too(site: Site) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("unforeseen")

    site.app.state.parts.catalogue.cameras = fail
    answer = site.http.get("/cameras")
    assert answer.status_code == 500
    assert {name.lower() for name in SECURITY_HEADERS} <= set(answer.headers)


def test_the_key_ring(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    key, stored = ring.create("Ada", Role.OPERATOR, camera_ids=["cam1"], requests_per_minute=9)
    assert key not in (tmp_path / "keys.json").read_text() + (tmp_path / "audit.jsonl").read_text()
    with pytest.raises(InvalidInput, match="the name 'Ada' is taken"):
        ring.create("Ada", Role.ADMIN)
    with pytest.raises(InvalidInput, match="the key cannot be made: limits to cameras are for the roles"):
        ring.create("Eve", Role.AUDITOR, camera_ids=["cam1"])
    with pytest.raises(InvalidInput, match="must expire in the future"):
        ring.create("Eve", Role.ADMIN, expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    new, replaced = ring.rotate("Ada", timedelta(hours=1))
    assert (replaced.role, replaced.camera_ids, replaced.requests_per_minute) == (
        Role.OPERATOR,
        frozenset({"cam1"}),
        9,
    )
    store = open_keys(tmp_path)[0]
    assert store.holder(key).name == store.holder(new).name == "Ada"
    assert store.holder(key).key_id == stored.key_id != store.holder(new).key_id
    assert len(ring.revoke("Ada")) == 2
    assert store.usable() == 0
    with pytest.raises(InvalidInput, match="'Ada' holds no key; those who do: nobody"):
        ring.rotate("Ada")
    with pytest.raises(InvalidInput, match="there is no data folder"):
        KeyRing(tmp_path / "nowhere")


def test_a_key_that_cannot_be_recorded_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing(tmp_path)
    ring.create("Ada", Role.ADMIN)

    def full(*_: object, **__: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(AuditLog, "append", full)
    with pytest.raises(OSError, match="no space"):
        ring.create("Eve", Role.ADMIN)
    assert [key.name for key in ring.stored()] == ["Ada"]


def test_the_command_line_lists_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def peca(*words: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["keys", *words])
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    monkeypatch.setenv("PECA_DATA_DIR", str(tmp_path))
    code, said, _ = peca("create", "gate 1", "--role", "camera", "--camera-id", "cam1")
    assert code == 0
    assert said.startswith("camera key of gate 1 (shown once): peca_")
    assert peca("create", "gate 1", "--role", "camera")[0] == 1
    assert "expected a time zone" in peca("create", "x", "--role", "admin", "--expires", "2099-01-01")[2]
    peca("create", "Ada", "--role", "auditor", "--gallery", "north", "--expires", "2099-01-01T00:00:00Z")
    peca("revoke", "gate 1")
    _, table, _ = peca("list")
    for word in ("gate 1", "revoked", "cam1", "north", "expires"):
        assert word in table, table
    listed = json.loads(peca("list", "--json")[1])["items"]
    assert {key["name"]: key["role"] for key in listed} == {"gate 1": "camera", "Ada": "auditor"}


def test_no_more_names_are_kept_than_a_few_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tries from very many addresses at once fills no memory, and is forgotten before others."""
    monkeypatch.setattr("server.rates._MOST_NAMES", 3)
    limit = SignInLimit(1, clock=lambda: 0.0)
    for number in range(5):
        limit.take(f"10.0.0.{number}")
    assert list(limit._buckets._left) == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    with pytest.raises(RateExceeded):
        limit.take("10.0.0.2")
    limit.take("10.0.0.5")
    assert list(limit._buckets._left) == ["10.0.0.4", "10.0.0.2", "10.0.0.5"]
