"""Keys over HTTP: made, listed, rotated, revoked, recorded; the last admin key; limits to galleries."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from server_site import Site

from clients.cli import main
from index.errors import InvalidInput
from server.access import Role
from server.errors import LastAdminKey
from server.keyring import KeyRing
from server.settings import Settings

AsHolder = Callable[..., Site]


def status(site: Site, key: str, path: str = "/cameras") -> int:
    return httpx.get(f"{site.http.base_url}{path}", headers={"X-API-Key": key}).status_code


def make(site: Site, name: str, role: str, **limits: object) -> dict[str, str]:
    answer = site.http.post("/keys", json={"name": name, "role": role, **limits})
    assert answer.status_code == 201, answer.text
    made: dict[str, str] = answer.json()
    return made


def test_a_key_is_made_shown_once_and_taken_at_once(site: Site, settings: Settings) -> None:
    end = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    made = make(site, "Ada", "operator", camera_ids=["cam2", "cam1"], expires_at=end, requests_per_minute=9)
    assert status(site, made["key"]) == 200
    answer = site.http.get("/keys")
    told = answer.json()["items"]
    assert [one["name"] for one in told] == ["admin", "Ada"]
    assert told[1] == {name: value for name, value in made.items() if name != "key"}
    assert (told[1]["camera_ids"], told[1]["requests_per_minute"]) == (["cam1", "cam2"], 9)
    stored = (settings.data_folder / "keys.json").read_text()
    log = (settings.data_folder / "audit.jsonl").read_text()
    assert made["key"] not in answer.text + stored + log
    record = next(one for one in map(json.loads, log.splitlines()) if one.get("change") == "create")
    assert (record["key"], record["role"], record["keys"][0]["name"]) == ("admin", "admin", "Ada")
    assert "os_user" not in record


@pytest.mark.parametrize(
    ("wanted", "code", "kind"),
    [
        ({"name": "admin", "role": "camera"}, 409, "key-name-taken"),
        ({"name": "Eve", "role": "auditor", "camera_ids": ["cam1"]}, 422, "invalid-request"),
        ({"name": "Eve", "role": "boss"}, 422, "invalid-request"),
        ({"name": " \u3000", "role": "camera"}, 422, "invalid-request"),
        ({"name": "Eve", "role": "camera", "camera_ids": []}, 422, "invalid-request"),
        ({"name": "Eve", "role": "camera", "expires_at": "2020-01-01T00:00:00Z"}, 422, "invalid-request"),
        ({"name": "Eve", "role": "camera", "admin": True}, 422, "invalid-request"),
    ],
)
def test_a_key_that_is_not_made(site: Site, wanted: dict[str, object], code: int, kind: str) -> None:
    answer = site.http.post("/keys", json=wanted)
    assert (answer.status_code, answer.json()["type"]) == (code, f"urn:peca:problem:{kind}")
    assert len(site.http.get("/keys").json()["items"]) == 1


def test_a_name_of_blanks_alone_is_refused_in_plain_words(site: Site, settings: Settings) -> None:
    told = site.http.post("/keys", json={"name": "  ", "role": "camera"}).json()["detail"]
    assert told == "body.name: expected a name of one line, not of blanks alone, without control characters"
    with pytest.raises(InvalidInput, match="its name must hold more than blanks"):
        KeyRing(settings.data_folder).create("  ", Role.CAMERA)


def test_rotating_and_revoking(site: Site) -> None:
    first = make(site, "gate", "operator", camera_ids=["cam1"])
    second = site.http.post(f"/keys/{first['key_id']}/rotate", json={"overlap_hours": 1}).json()
    assert second["camera_ids"] == ["cam1"]
    assert [status(site, one["key"]) for one in (first, second)] == [200, 200]
    revoked = site.http.delete(f"/keys/{first['key_id']}")
    assert (revoked.status_code, "content-type" in revoked.headers) == (204, False)
    assert [status(site, one["key"]) for one in (first, second)] == [401, 200]
    third = site.http.post(f"/keys/{second['key_id']}/rotate").json()
    assert [status(site, one["key"]) for one in (second, third)] == [401, 200]
    for method, path in (
        ("DELETE", f"/keys/{first['key_id']}"),
        ("DELETE", "/keys/none"),
        ("POST", "/keys/none/rotate"),
    ):
        answer = site.http.request(method, path)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:peca:problem:key-unknown")


def test_the_last_admin_key_is_kept(site: Site) -> None:
    admin = site.http.get("/keys").json()["items"][0]
    make(site, "Ada", "operator")
    answer = site.http.delete(f"/keys/{admin['key_id']}")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:peca:problem:last-admin-key")
    assert "peca keys create NAME --role admin" in answer.json()["detail"]
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    other = make(site, "root", "admin", expires_at=soon)
    assert site.http.delete(f"/keys/{admin['key_id']}").status_code == 204
    assert status(site, other["key"], "/keys") == 200


def test_the_command_line_asks_for_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PECA_DATA_DIR", str(tmp_path))
    ring = KeyRing(tmp_path)
    ring.create("Ada", Role.ADMIN)

    def revoke(*words: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as ended:
            main(["keys", "revoke", "Ada", *words])
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out + captured.err

    code, said = revoke()
    assert code == 1
    assert "no admin key would be left without that of 'Ada'" in said
    assert ring.stored()[0].revoked_at is None
    assert revoke("--force")[0] == 0
    assert ring.stored()[0].revoked_at is not None


def test_both_keys_of_the_last_admin_are_kept(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    ring.create("Ada", Role.ADMIN)
    ring.rotate("Ada", timedelta(hours=1))
    with pytest.raises(LastAdminKey):
        ring.revoke("Ada")
    ring.revoke_one(ring.stored()[0].key_id)


def test_a_key_for_another_gallery_is_refused(start: Callable[..., Site]) -> None:
    site = start(gallery_name="harbour")
    here = make(site, "Ada", "operator", galleries=["harbour", "airport"])
    there = make(site, "Eve", "operator", galleries=["airport"])
    assert (status(site, here["key"]), status(site, there["key"])) == (200, 403)
    answer = httpx.get(f"{site.http.base_url}/cameras", headers={"X-API-Key": there["key"]})
    assert answer.json()["type"] == "urn:peca:problem:gallery-refused"
    assert "'harbour'" in answer.json()["detail"]
    assert here["galleries"] == ["airport", "harbour"]


def test_a_key_for_another_gallery_does_not_sign_in(start: Callable[..., Site], settings: Settings) -> None:
    site = start(gallery_name="harbour")
    there = make(site, "Eve", "operator", galleries=["airport"])
    answer = httpx.post(f"{site.http.base_url}/session", json={"key": there["key"]})
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:peca:problem:gallery-refused")
    assert "set-cookie" not in answer.headers
    last = (settings.data_folder / "audit.jsonl").read_text().splitlines()[-1]
    record = json.loads(last)
    assert (record["action"], record["change"], record["key"]) == ("session", "refuse", "Eve")


def test_reading_the_keys_is_recorded(site: Site, settings: Settings) -> None:
    assert site.http.get("/keys").status_code == 200
    record = json.loads((settings.data_folder / "audit.jsonl").read_text().splitlines()[-1])
    assert (record["action"], record["listed"], record["key"]) == ("read", "keys", "admin")
