"""Browser sessions: cookies, CSRF, how they end, limits of attempts, and TLS."""

import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import server_site
import trustme
from server_site import REPOSITORY, Process, Site, picture

from exporter.runtime import GreyPixelEncoder
from index.errors import InvalidInput
from server.access import Permission, Role
from server.app import serve
from server.audit import AuditLog
from server.errors import KeyRefused, SessionEnded
from server.keyring import KeyRing
from server.keys import open_keys, read_keys, write_keys
from server.sessions import Sessions
from server.settings import Settings

AsHolder = Callable[..., Site]


def browser_of(site: Site) -> httpx.Client:
    return httpx.Client(base_url=site.http.base_url, timeout=30)


def key_of(site: Site) -> str:
    return site.http.headers["X-API-Key"]


@pytest.fixture
def browser(site: Site) -> Iterator[httpx.Client]:
    """A browser that signed in as admin, whose next calls carry its CSRF token."""
    with browser_of(site) as http:
        answer = http.post("/session", json={"key": key_of(site)})
        assert answer.status_code == 201, answer.text
        http.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
        yield http


def test_a_session_works_as_its_key_does(site: Site, browser: httpx.Client) -> None:
    assert Site(browser).people(2).status_code == 201
    assert len(Site(browser).search(picture(0)).json()["items"]) == 2
    told = browser.get("/session").json()
    assert (told["name"], told["role"]) == ("admin", "admin")
    assert set(told["permissions"]) == set(Permission)
    assert told["csrf_token"] == browser.headers["X-CSRF-Token"]
    assert browser.get("/images/p0/thumbnail").status_code == 200


def test_the_cookie_is_kept_from_scripts_and_other_sites(site: Site) -> None:
    with browser_of(site) as http:
        set_cookie = http.post("/session", json={"key": key_of(site)}).headers["set-cookie"]
    name, *attributes = set_cookie.lower().split("; ")
    assert name.startswith("peca_session=")
    assert sorted(attributes) == ["httponly", "path=/", "samesite=strict"]


@pytest.mark.parametrize("token", [None, "", "wrong", "ü"])
def test_a_change_by_cookie_needs_the_csrf_token(browser: httpx.Client, token: str | None) -> None:
    right = browser.headers.pop("X-CSRF-Token")
    headers = {} if token is None else {"X-CSRF-Token": token.encode()}
    for method, path in (("POST", "/search"), ("DELETE", "/images/x"), ("DELETE", "/session")):
        answer = browser.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:peca:problem:csrf-refused"), path
        assert right not in answer.text
    assert browser.get("/cameras").status_code == 200
    assert browser.delete("/images/x", headers={"X-CSRF-Token": right}).status_code == 404


def test_another_sessions_token_is_refused(site: Site, browser: httpx.Client) -> None:
    with browser_of(site) as other:
        others = other.post("/session", json={"key": key_of(site)}).json()["csrf_token"]
    assert browser.delete("/images/x", headers={"X-CSRF-Token": others}).status_code == 403


def test_a_key_in_a_header_needs_no_token(site: Site) -> None:
    assert site.http.delete("/images/x").status_code == 404
    assert site.http.get("/session").json()["type"] == "urn:peca:problem:session-missing"


def test_signing_out(browser: httpx.Client) -> None:
    cookie = browser.cookies["peca_session"]
    answer = browser.delete("/session")
    assert answer.status_code == 204
    assert "content-type" not in answer.headers
    assert 'peca_session=""' in answer.headers["set-cookie"]
    assert "peca_session" not in browser.cookies
    again = browser.get("/cameras", headers={"Cookie": f"peca_session={cookie}"})
    assert (again.status_code, again.json()["type"]) == (401, "urn:peca:problem:session-ended")


def test_signing_in_again_ends_the_session_before(site: Site, browser: httpx.Client) -> None:
    before = browser.cookies["peca_session"]
    browser.post("/session", json={"key": key_of(site)})
    assert browser.cookies["peca_session"] != before
    answer = httpx.get(f"{site.http.base_url}/cameras", headers={"Cookie": f"peca_session={before}"})
    assert answer.status_code == 401


def test_revoking_the_key_ends_its_sessions_at_once(
    site: Site, as_holder: AsHolder, settings: Settings
) -> None:
    ada = as_holder(site, "Ada", Role.OPERATOR)
    with browser_of(site) as http:
        http.post("/session", json={"key": key_of(ada)})
        assert http.get("/cameras").status_code == 200
        KeyRing(settings.data_folder).revoke("Ada")
        answer = http.get("/cameras")
        assert (answer.status_code, answer.json()["type"]) == (401, "urn:peca:problem:key-refused")


def test_a_session_has_the_limits_of_its_key_as_they_are_now(
    site: Site, as_holder: AsHolder, settings: Settings
) -> None:
    ada = as_holder(site, "Ada", Role.OPERATOR)
    with browser_of(site) as http:
        http.post("/session", json={"key": key_of(ada)})
        assert http.get("/cameras").status_code == 200
        keys = read_keys(settings.data_folder)
        write_keys(settings.data_folder, [keys[0], keys[1].model_copy(update={"role": Role.AUDITOR})])
        assert http.get("/cameras").json()["type"] == "urn:peca:problem:role-refused"


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def test_a_session_ends_by_rest_and_by_age(tmp_path: Path) -> None:
    keys, key = open_keys(tmp_path)
    clock = Clock()
    sessions = Sessions(keys, timedelta(minutes=30), timedelta(hours=2), clock)
    resting, working = sessions.open(key or "")[0], sessions.open(key or "")[0]
    for _ in range(3):
        clock.now += timedelta(minutes=29)
        sessions.session(working)
    with pytest.raises(SessionEnded):
        sessions.session(resting)
    clock.now += timedelta(minutes=29)
    sessions.session(working)
    clock.now += timedelta(minutes=5)
    with pytest.raises(SessionEnded):
        sessions.session(working)


def test_looking_at_a_session_is_no_use_of_it(tmp_path: Path) -> None:
    keys, key = open_keys(tmp_path)
    clock = Clock()
    sessions = Sessions(keys, timedelta(minutes=30), timedelta(hours=2), clock)
    token = sessions.open(key or "")[0]
    clock.now += timedelta(minutes=20)
    sessions.session(token, used=False)
    clock.now += timedelta(minutes=20)
    with pytest.raises(SessionEnded):
        sessions.session(token)


def test_a_session_ends_with_its_key_and_a_key_has_twenty_at_most(tmp_path: Path) -> None:
    keys, _ = open_keys(tmp_path)
    end = datetime.now(UTC) + timedelta(hours=1)
    key, _ = KeyRing(tmp_path).create("Ada", Role.OPERATOR, expires_at=end)
    sessions = Sessions(keys, timedelta(hours=9), timedelta(hours=9))
    tokens = [sessions.open(key)[0] for _ in range(25)]
    assert sessions.session(tokens[-1]).expires_at == end
    for token in tokens[:5]:
        with pytest.raises(SessionEnded):
            sessions.session(token)
    for token in tokens[5:]:
        sessions.session(token)
    write_keys(tmp_path, [one.model_copy(update={"expires_at": datetime.now(UTC)}) for one in keys.keys])
    with pytest.raises(KeyRefused):
        sessions.session(tokens[-1])


def test_attempts_are_limited_and_recorded(start: Callable[..., Site], settings: Settings) -> None:
    site = start(sign_ins_per_minute=3)
    with browser_of(site) as http:
        answers = [http.post("/session", json={"key": key}) for key in ("peca_x", "peca_y", key_of(site))]
        assert [answer.status_code for answer in answers] == [401, 401, 201]
        refused = http.post("/session", json={"key": key_of(site)})
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:peca:problem:rate-exceeded")
    assert int(refused.headers["retry-after"]) in (19, 20)
    assert "set-cookie" not in answers[0].headers
    text = (settings.data_folder / "audit.jsonl").read_text()
    records = [json.loads(line) for line in text.splitlines()]
    told = [(one["change"], one["address"], one["key"]) for one in records if one["action"] == "session"]
    assert told == [
        ("refuse", "127.0.0.1", None),
        ("refuse", "127.0.0.1", None),
        ("open", "127.0.0.1", "admin"),
    ]
    assert "peca_x" not in text


def test_wrong_keys_of_many_addresses_are_limited_together_and_a_right_one_gets_in(
    site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.rates._WRONG_KEYS_PER_MINUTE", 3)

    def sign_in(number: int, key: str) -> httpx.Response:
        headers = {"X-Forwarded-For": f"203.0.113.{number}"}
        return httpx.post(f"{site.http.base_url}/session", json={"key": key}, headers=headers)

    answers = [sign_in(number, "peca_x") for number in range(6)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429, 429]
    assert answers[-1].json()["type"] == "urn:peca:problem:rate-exceeded"
    assert int(answers[-1].headers["retry-after"]) in range(15, 21)
    assert sign_in(7, key_of(site)).status_code == 201
    records = [json.loads(line) for line in (settings.data_folder / "audit.jsonl").read_text().splitlines()]
    told = [(one["change"], one["address"]) for one in records if one["action"] == "session"]
    refused = [("refuse", f"203.0.113.{number}") for number in range(3)]
    assert told == [*refused, ("open", "203.0.113.7")]


def test_a_session_that_cannot_be_recorded_is_not_opened(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(AuditLog, "_write", full)
    with browser_of(site) as http:
        answer = http.post("/session", json={"key": key_of(site)})
    assert answer.status_code == 503
    assert "set-cookie" not in answer.headers
    assert not site.app.state.parts.sessions._open


@pytest.mark.parametrize("chunked", [False, True])
def test_a_long_body_without_a_key_is_not_read(site: Site, chunked: bool) -> None:
    content = (bytes(1000) for _ in range(500)) if chunked else bytes(500_000)
    with browser_of(site) as http:
        answer = http.post("/session", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


def test_a_form_of_another_site_cannot_sign_in(site: Site) -> None:
    with browser_of(site) as http:
        for kind in ("text/plain", "application/x-www-form-urlencoded", None):
            headers = {} if kind is None else {"content-type": kind}
            answer = http.post("/session", content=json.dumps({"key": key_of(site)}), headers=headers)
            assert answer.status_code == 422, kind


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    paths = {name: folder / f"{name}.pem" for name in ("ca", "cert", "key", "other")}
    authority.cert_pem.write_to_path(paths["ca"])
    issued.cert_chain_pems[0].write_to_path(paths["cert"])
    issued.private_key_pem.write_to_path(paths["key"])
    authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(paths["other"])
    return paths


def test_a_server_with_a_certificate(
    certificate: dict[str, Path], launch: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PECA_TLS_CERT", str(certificate["cert"]))
    monkeypatch.setenv("PECA_TLS_KEY", str(certificate["key"]))
    process = launch()
    assert process.address.startswith("https://127.0.0.1:")
    trusted = ssl.create_default_context(cafile=certificate["ca"])
    with httpx.Client(base_url=process.address, verify=trusted) as http:
        answer = http.post("/session", json={"key": process.key})
        assert "; Secure" in answer.headers["set-cookie"]
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert http.get("/cameras").status_code == 200
    with pytest.raises(httpx.TransportError):
        httpx.get(process.address.replace("https", "http") + "/healthz")


def test_a_handshake_that_does_not_end_is_not_waited_for(
    certificate: dict[str, Path], launch: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PECA_TLS_CERT", str(certificate["cert"]))
    monkeypatch.setenv("PECA_TLS_KEY", str(certificate["key"]))
    hasty = "import server.app\nserver.app.HANDSHAKE_TIMEOUT_S = 0.5\n"
    monkeypatch.setattr("server_site.SERVE", hasty + server_site.SERVE)
    process = launch()
    port = int(process.address.rpartition(":")[2])
    for said in (b"", b"\x16\x03\x01\x02\x00\x01"):  # nothing, and the beginning of a greeting
        with socket.create_connection(("127.0.0.1", port), timeout=10) as wire:
            wire.sendall(said)
            assert wire.recv(1) == b""
    trusted = ssl.create_default_context(cafile=certificate["ca"])
    assert httpx.get(f"{process.address}/healthz", verify=trusted).status_code == 200


@pytest.mark.parametrize(("cert", "key"), [("cert", "other"), ("key", "key"), ("nowhere", "key")])
def test_a_wrong_certificate_is_told_before_anything_is_opened(
    certificate: dict[str, Path], tmp_path: Path, cert: str, key: str
) -> None:
    files = {**certificate, "nowhere": tmp_path / "nowhere.pem"}
    data = tmp_path / "data"
    settings = Settings(gallery=f"embedded:{data}", port=0, tls_cert=files[cert], tls_key=files[key])
    with pytest.raises(InvalidInput, match=r"expected a certificate in .*pem and its key"):
        serve(settings, encoder=GreyPixelEncoder())
    assert not data.exists()


def test_a_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(ValueError, match="tls_cert and tls_key are given together"):
        Settings(tls_cert=Path("cert.pem"))


@pytest.mark.parametrize("secure", [False, True])
def test_the_probe_asks_the_server_of_its_settings(
    certificate: dict[str, Path],
    launch: Callable[..., Process],
    monkeypatch: pytest.MonkeyPatch,
    secure: bool,
) -> None:
    if secure:
        monkeypatch.setenv("PECA_TLS_CERT", str(certificate["cert"]))
        monkeypatch.setenv("PECA_TLS_KEY", str(certificate["key"]))
    monkeypatch.setenv("PECA_MIN_FREE_DISK_BYTES", str(10**18))  # not ready, and healthy all the same
    process = launch()
    monkeypatch.setenv("PECA_HOST", "0.0.0.0")  # as in a container, whose probe asks itself
    monkeypatch.setenv("PECA_PORT", process.address.rpartition(":")[2])
    probe = [sys.executable, "-m", "server.probe"]
    assert subprocess.run(probe, cwd=REPOSITORY, check=False).returncode == 0
    process.end()
    ended = subprocess.run(probe, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "127.0.0.1, port" in ended.stderr
