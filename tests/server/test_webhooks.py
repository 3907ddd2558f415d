"""Webhooks: signed, sent again, given up and listed; addresses that are not public are refused."""

import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import trustme
from server_site import Site, about, picture

from server import webhooks
from server.access import Role
from server.errors import WebhookRefused
from server.keyring import KeyRing
from server.settings import Settings
from server.webhooks import Target, call, is_public, resolve, signed_headers


@dataclass
class Receiver:
    """A receiver of webhooks; answers after a pause with the statuses in turn, the last for ever."""

    statuses: list[int] = field(default_factory=lambda: [204])
    taken: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0
    pause_s: float = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hits?of=site"


@contextmanager
def receiving(receiver: Receiver, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.taken.append((self.path, dict(self.headers.items()), body))
            time.sleep(receiver.pause_s)
            statuses = receiver.statuses
            self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
            self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(Receiver()) as one:
        yield one


def until(found: Callable[[], object], wait_s: float = 20) -> None:
    end = time.monotonic() + wait_s
    while not found():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def asked(site: Site, url: str) -> httpx.Response:
    form = {"name": "coat", "threshold": 0.999, "query_modality": "visible", "webhook_url": url}
    return site.http.post("/watchlists", files={"image": ("q.jpg", picture(1))}, data=form)


def watch(site: Site, url: str) -> dict[str, str]:
    answer = asked(site, url)
    assert answer.status_code == 201, answer.text
    told: dict[str, str] = answer.json()
    return told


def states(site: Site, watchlist_id: str, **query: str) -> list[tuple[object, ...]]:
    items = site.http.get(f"/watchlists/{watchlist_id}/hits", params=query).json()["items"]
    return [tuple(item["webhook"][name] for name in ("status", "attempts", "error")) for item in items]


def test_a_hit_is_sent_signed(start: Callable[..., Site], receiver: Receiver, settings: Settings) -> None:
    site = start(webhooks_allow_private=True)
    made = watch(site, receiver.url)
    secret = made["webhook_secret"]
    assert secret.startswith("whsec_")
    site.people(2)
    until(lambda: states(site, made["watchlist_id"])[0][0] == "delivered")
    ((path, headers, body),) = receiver.taken
    assert path == "/hits?of=site"
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"
    stamp = headers["PECA-Timestamp"]
    assert abs(int(stamp) - time.time()) < 60
    digest = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["PECA-Signature"] == f"v1={digest}"
    told = json.loads(body)
    (hit,) = site.http.get(f"/watchlists/{made['watchlist_id']}/hits").json()["items"]
    assert hit.pop("webhook") == {"status": "delivered", "attempts": 1, "error": None}
    assert hit.pop("verdicts") == []
    assert told == {"type": "hit", **hit}
    assert headers["PECA-Event-Id"] == str(told["event_id"])
    log = (settings.data_folder / "audit.jsonl").read_text()
    assert secret not in log
    record = next(one for one in map(json.loads, log.splitlines()) if one.get("change") == "webhook")
    assert (record["delivery"], record["event_id"], record["url"]) == ("delivered", 1, receiver.url)
    assert secret not in site.http.get("/watchlists").text


def test_a_signature_worked_out_by_hand() -> None:
    headers = signed_headers("whsec_abc", b'{"a":1}', 7, 1767225600.9)
    assert headers["PECA-Timestamp"] == "1767225600"
    expected = hmac.new(b"whsec_abc", b'1767225600.{"a":1}', "sha256").hexdigest()
    assert headers["PECA-Signature"] == "v1=" + expected


def test_a_failure_is_tried_again(start: Callable[..., Site], receiver: Receiver) -> None:
    receiver.statuses = [500, 204]
    site = start(webhooks_allow_private=True)
    made = watch(site, receiver.url)
    began = time.monotonic()
    site.people(2)
    until(lambda: states(site, made["watchlist_id"])[0][0] == "delivered")
    assert states(site, made["watchlist_id"]) == [("delivered", 2, None)]
    assert time.monotonic() - began >= 1
    assert receiver.taken[0][2] == receiver.taken[1][2]


def test_what_nobody_takes_is_given_up_and_listed(start: Callable[..., Site], receiver: Receiver) -> None:
    receiver.statuses = [307]
    site = start(webhooks_allow_private=True, webhook_attempts=2)
    made = watch(site, receiver.url)
    site.people(2)
    until(lambda: states(site, made["watchlist_id"])[0][0] == "dead")
    assert states(site, made["watchlist_id"], webhook="dead") == [("dead", 2, "the answer was 307")]
    assert states(site, made["watchlist_id"], webhook="pending") == []
    assert site.http.get(f"/watchlists/{made['watchlist_id']}").json()["webhooks"] == {"dead": 1}
    assert [path for path, _, _ in receiver.taken] == ["/hits?of=site"] * 2, "a redirect was followed"


def test_nothing_is_sent_for_who_holds_no_key_any_more(
    start: Callable[..., Site], receiver: Receiver, settings: Settings
) -> None:
    receiver.statuses = [500]
    site = start(webhooks_allow_private=True)
    key, _ = KeyRing(settings.data_folder).create("Ada", Role.OPERATOR)
    with httpx.Client(base_url=site.http.base_url, headers={"X-API-Key": key}) as http:
        made = watch(Site(http), receiver.url)
    site.people(2)
    until(lambda: receiver.taken)
    KeyRing(settings.data_folder).revoke("Ada")
    until(lambda: states(site, made["watchlist_id"])[0][0] == "dead")
    ((_, attempts, why),) = states(site, made["watchlist_id"])
    assert why == "whoever made the watchlist holds no key any more"
    assert attempts == len(receiver.taken), "only what was sent is counted"


def test_a_silent_address_costs_one_attempt_for_all_its_hits(start: Callable[..., Site]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    site = start(webhooks_allow_private=True, webhook_attempts=1)
    made = watch(site, url)
    said = [about(name, image_id=name) for name in ("a", "b")]
    site.ingest({"a": picture(1), "b": picture(1)}, said)
    until(lambda: {one[0] for one in states(site, made["watchlist_id"])} == {"dead"})
    assert all("refused" in str(one[2]) for one in states(site, made["watchlist_id"]))


def test_a_slow_address_holds_up_no_other(
    start: Callable[..., Site], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.services.attending._ROUND_S", 0.5)
    site = start(webhooks_allow_private=True)
    with receiving(Receiver(pause_s=0.4)) as slow:
        first = watch(site, slow.url)
        second = watch(site, receiver.url)
        pictures = {f"{n}.jpg": picture(1) for n in range(8)}
        said = [
            about(name, image_id=name[:-4], captured_at=f"2026-03-01T22:15:0{name[0]}Z") for name in pictures
        ]
        site.ingest(pictures, said)
        until(lambda: len(receiver.taken) == 8)
        assert len(slow.taken) < 8
        until(lambda: {one[0] for one in states(site, first["watchlist_id"])} == {"delivered"})
        assert len(slow.taken) == 8
        assert {one[:2] for one in states(site, second["watchlist_id"])} == {("delivered", 1)}
        assert {one[1] for one in states(site, first["watchlist_id"])} == {1}


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.8",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::10.0.0.8",
        "64:ff9b::127.0.0.1",
        "64:ff9b:1::a00:1",
        "::ffff:8.8.8.8",
        "::10.0.0.1",
        "::8.8.8.8",
        "2002:7f00:1::",
        "2002:808:808::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "3fff::1",
        "fec0::1",
        "fe80::1%1",
        "100::1",
        "5f00::1",
        "192.0.0.8",
        "198.18.0.1",
        "203.0.113.7",
        "240.0.0.1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(WebhookRefused, match="not a public address"):
        resolve(f"https://{host}/hits", inside=())


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "223.255.255.1", "2606:4700::1111", "2a00:1450::1", "64:ff9b::8.8.8.8"]
)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://8.8.8.8/",
        "ftp://8.8.8.8/",
        "https://",
        "//8.8.8.8/",
        "8.8.8.8",
        "https://user:word@8.8.8.8/",
        "https://8.8.8.8:99999/",
        "https://[8.8.8.8/",
        "https://bücher.example/",
        "https://8.8.8.8/a b\n",
        "https://localhost/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://no-such-host.invalid/",
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(WebhookRefused):
        resolve(url, inside=())


def test_a_name_that_leads_inside_is_refused_also_later(
    monkeypatch: pytest.MonkeyPatch, start: Callable[..., Site]
) -> None:
    answers = [["8.8.8.8"], ["8.8.8.8", "10.0.0.8"]]

    def look_up(_: str, __: int) -> list[str]:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    monkeypatch.setattr(webhooks, "_looked_up", look_up)
    site = start(webhook_attempts=1)
    made = watch(site, "https://rebound.example/")
    site.people(2)
    until(lambda: states(site, made["watchlist_id"])[0][0] == "dead")
    why = str(states(site, made["watchlist_id"])[0][2])
    assert "rebound.example leads to what is not a public address" in why
    assert "10.0.0.8" not in why


def test_where_a_name_leads_inside_is_told_to_the_log_alone(
    monkeypatch: pytest.MonkeyPatch, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhooks, "_looked_up", lambda _, __: ["10.0.0.8"])
    answer = asked(site, "https://intranet.example/")
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:peca:problem:webhook-refused")
    assert "10.0.0.8" not in answer.text
    assert "intranet.example leads to 10.0.0.8" in caplog.text


def test_of_what_is_not_public_only_the_networks_named_are_called(
    start: Callable[..., Site], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = start(webhooks_allow_private="10.1.2.0/24, 127.0.0.1")
    made = watch(site, receiver.url)
    site.people(2)
    until(lambda: states(site, made["watchlist_id"])[0][0] == "delivered")
    for url in (
        receiver.url.replace("127.0.0.1", "127.0.0.2"),
        "http://169.254.169.254/latest/meta-data",
        "https://10.1.3.1/",
        "https://[::1]/",
        "https://[::ffff:10.1.2.3]/",
        "http://8.8.8.8/",
    ):
        assert asked(site, url).json()["type"] == "urn:peca:problem:webhook-refused", url
    networks = Settings(webhooks_allow_private="10.1.2.0/24").webhook_networks
    for url in ("http://10.1.2.3/", "https://10.1.2.3/", "https://8.8.8.8/"):
        assert resolve(url, inside=networks).url == url
    monkeypatch.setattr(webhooks, "_looked_up", lambda _, __: ["10.1.2.3", "10.1.3.1"])
    with pytest.raises(WebhookRefused, match="webhooks_allow_private names networks"):
        resolve("https://both.example/", inside=networks)


@pytest.mark.parametrize(
    ("said", "networks"),
    [
        ("false", []),
        ("0", []),
        ("true", ["0.0.0.0/0", "::/0"]),
        ("1", ["0.0.0.0/0", "::/0"]),
        ("10.1.2.0/24,fd00::5", ["10.1.2.0/24", "fd00::5/128"]),
    ],
)
def test_the_setting_takes_yes_no_and_networks(
    monkeypatch: pytest.MonkeyPatch, said: str, networks: list[str]
) -> None:
    monkeypatch.setenv("PECA_WEBHOOKS_ALLOW_PRIVATE", said)
    assert list(map(str, Settings().webhook_networks)) == networks


@pytest.mark.parametrize("said", ["ture", "10.1.2.3/24", "10.1.2.0/24;10.1.3.0/24", 7])
def test_what_is_neither_yes_nor_no_nor_networks_is_refused(said: object) -> None:
    with pytest.raises(ValueError, match=r"expected true, false or networks|valid boolean"):
        Settings(webhooks_allow_private=said)


def test_the_address_that_was_looked_up_is_the_one_connected_to(receiver: Receiver) -> None:
    target = Target(f"http://elsewhere.invalid:{receiver.port}/x", "127.0.0.1", receiver.port)
    assert call(target, b"{}", {}) == 204
    assert receiver.taken[0][1]["Host"] == f"elsewhere.invalid:{receiver.port}"


def test_the_certificate_is_that_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hits.example").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with receiving(Receiver(), context) as one:
        assert call(Target(f"https://hits.example:{one.port}/", "127.0.0.1", one.port), b"{}", {}) == 204
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            call(Target(f"https://other.example:{one.port}/", "127.0.0.1", one.port), b"{}", {})
    assert len(one.taken) == 1


def test_a_slow_receiver_has_one_deadline_for_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    for _ in range(100):
                        connection.sendall(b"H")
                        time.sleep(0.1)
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        began = time.monotonic()
        with pytest.raises(OSError, match=r"Timeout|timed out|too long"):
            call(Target(f"http://127.0.0.1:{port}/", "127.0.0.1", port), b"{}", {}, timeout_s=0.5)
        assert time.monotonic() - began < 3
        thread.join()


def resend(site: Site, watchlist_id: str, **given: object) -> httpx.Response:
    return site.http.post(f"/watchlists/{watchlist_id}/resend", json=given)


def test_what_was_given_up_is_sent_again_on_demand(
    start: Callable[..., Site], as_holder: Callable[..., Site], receiver: Receiver, settings: Settings
) -> None:
    receiver.statuses = [500]
    site = start(webhooks_allow_private=True, webhook_attempts=1)
    ada, eve = as_holder(site, "Ada", Role.OPERATOR), as_holder(site, "Eve", Role.OPERATOR)
    watchlist_id = watch(ada, receiver.url)["watchlist_id"]
    for name in "abc":
        site.ingest({name: picture(1)}, [about(name, image_id=name)])
    until(lambda: [state for state, _, _ in states(ada, watchlist_id)] == ["dead"] * 3)
    refused = resend(eve, watchlist_id)
    assert (refused.status_code, refused.json()["type"]) == (404, "urn:peca:problem:watchlist-unknown")

    receiver.statuses, receiver.taken = [204], []
    assert resend(ada, watchlist_id, event_ids=[2, 99]).json() == {"count": 1}
    until(lambda: [one[0] for one in states(ada, watchlist_id)] == ["dead", "delivered", "dead"])
    assert [json.loads(body)["image_id"] for _, _, body in receiver.taken] == ["b"]
    # Without a body, and by an admin: all that are left.
    assert site.http.post(f"/watchlists/{watchlist_id}/resend").json() == {"count": 2}
    until(lambda: states(ada, watchlist_id) == [("delivered", 1, None)] * 3)
    assert [json.loads(body)["image_id"] for _, _, body in receiver.taken] == ["b", "a", "c"]
    assert resend(ada, watchlist_id).json() == {"count": 0}
    log = (settings.data_folder / "audit.jsonl").read_text().splitlines()
    told = [record for line in log if (record := json.loads(line)).get("change") == "resend"]
    assert [(one["key"], one["event_ids"]) for one in told] == [
        ("Ada", [2, 99]),
        ("admin", None),
        ("Ada", None),
    ]

    KeyRing(settings.data_folder).revoke("Ada")
    refused = resend(site, watchlist_id)
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:peca:problem:webhook-refused")
