"""`peca-client watchlists` and `peca-client keys` against a real server."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from client_site import NIGHT, REPOSITORY, Server, free_port, picture, serve_at, start_again, start_server

from peca_client import AuthenticationError, ConnectionFailed, ImageUpload, PecaClient

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def coat(tmp_path: Path) -> Path:
    path = tmp_path / "coat.jpg"
    path.write_bytes(picture(71))
    return path


def store(client: PecaClient, camera: str, *shots: int) -> None:
    """Images of the person of ``coat``, one a second."""
    at = [(shot, NIGHT + timedelta(seconds=shot)) for shot in shots]
    client.add_images([ImageUpload(picture(71, quality=90 - n), camera, "infrared", t) for n, t in at])


def test_a_watchlist_from_its_making_to_its_end(run: Run, client: PecaClient, coat: Path) -> None:
    client.add_images([ImageUpload(picture(72), "desk", "infrared", NIGHT)])
    line = ("watchlists", "add", coat, "--name", "coat", "--threshold", 0.99, "--modality", "visible")
    code, out, err = run(*line, "--camera", "desk", "--case", "2026-17", "--expires", "2999-01-01T00:00:00Z")
    assert (code, "90 days" in err) == (1, True), (out, err)
    code, out, err = run(*line, "--camera", "desk", "--case", "2026-17")
    assert code == 0, err
    watchlist_id = out.split()[1]
    assert "looks for coat in infrared images until" in out

    store(client, "desk", 1, 2, 3)
    code, out, _ = run("watchlists", "list")
    (row,) = [line for line in out.splitlines() if line.startswith(watchlist_id)]
    assert row.split()[1:8] == ["coat", "admin", "yes", "infrared", "desk", "0.9900", "3"]
    hits = json.loads(run("watchlists", "hits", watchlist_id, "--json")[1])
    assert [hit["camera_id"] for hit in hits] == ["desk"] * 3
    code, out, _ = run("watchlists", "hits", watchlist_id, "--limit", 2)
    assert [line.split()[0] for line in out.splitlines()[2:]] == [str(hit["event_id"]) for hit in hits[:2]]

    newest = json.loads(run("watchlists", "hits", "--limit", 3, "--json")[1])
    assert newest == hits, "of all watchlists"

    oldest = hits[-1]["event_id"]
    code, out, _ = run("watchlists", "events", "--after", oldest, "--count", 1)
    assert (code, out.split()[0]) == (0, str(oldest + 1))
    assert "coat  desk  " in out
    code, out, _ = run("watchlists", "events", "--after", oldest, "--count", 2, "--json")
    assert [json.loads(line) for line in out.splitlines()] == [hits[1], hits[0]]

    assert json.loads(run("watchlists", "hits", watchlist_id, "--dead", "--json")[1]) == []
    code, out, err = run("watchlists", "resend", watchlist_id, "--event", oldest)
    assert (code, out) == (0, "to be sent again: 0 of the hits whose webhook was given up\n"), err
    assert run("watchlists", "delete", watchlist_id)[:2] == (0, f"deleted: watchlist {watchlist_id}\n")
    code, _, err = run("watchlists", "hits", watchlist_id)
    assert (code, "404" in err) == (1, True)


def test_a_webhook_secret_is_shown_once(run: Run, coat: Path) -> None:
    line = ("watchlists", "add", coat, "--name", "hook", "--threshold", 0.9, "--modality", "visible")
    code, out, err = run(*line, "--webhook-url", "https://1.1.1.1/peca")
    assert code == 0, err
    assert "secret of its webhook (shown once): " in out
    assert "secret" not in run("watchlists", "list")[1]
    assert run("watchlists", "delete", out.split()[1])[0] == 0


def test_hits_of_an_outage_are_heard_afterwards(tmp_path: Path, coat: Path) -> None:
    code = serve_at(free_port())
    server = start_server(tmp_path, code)
    client = PecaClient(server.url, server.key, retries=0)
    listening = None
    try:
        client.watch(coat, "visible", "coat", 0.99)
        store(client, "gate", 1)
        line = [sys.executable, "-m", "peca_client", "watchlists", "events", "--count", "2", "--json"]
        listening = subprocess.Popen(
            line,
            env={**os.environ, "PECA_URL": server.url, "PECA_API_KEY": server.key},
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: '"stream":"events"' in log(client))
        server.end()
        assert "listens again" in listening.stderr.readline()
        start_again(server, code)
        wait_for(lambda: ready(client))
        # Stored before the listener is back, and so not told to it as it comes.
        store(client, "gate", 2, 3)
        out, _ = listening.communicate(timeout=60)
        assert listening.returncode == 0
        moments = [json.loads(line)["captured_at"] for line in out.splitlines()]
        assert moments == [(NIGHT + timedelta(seconds=shot)).isoformat() for shot in (2, 3)]
    finally:
        if listening is not None:
            listening.kill()
            listening.communicate()
        server.end()
        client.close()


def log(client: PecaClient) -> str:
    return json.dumps(client.audit(limit=20).items, default=str).replace(" ", "")


def ready(client: PecaClient) -> bool:
    try:
        return client.ready().ready
    except ConnectionFailed:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def test_ctrl_c_ends_quietly(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PecaClient, "events", interrupted)
    assert run("watchlists", "events") == (0, "", "")
    monkeypatch.setattr(PecaClient, "cameras", interrupted)
    assert run("cameras") == (130, "", "")


def test_keys_from_making_to_revoking(run: Run, server: Server) -> None:
    holder = "Bo, by the command"
    code, out, err = run(
        "keys",
        "create",
        holder,
        "--role",
        "operator",
        "--camera",
        "desk",
        "--camera",
        "gate",
        "--gallery",
        "main",
        "--gallery",
        "north",
    )
    assert code == 0, err
    first = out.split()[-1]
    code, out, _ = run("keys", "list")
    (row,) = [line for line in out.splitlines() if line.startswith(holder)]
    assert "operator  in use" in row
    assert "desk, gate  main, north" in row

    code, out, _ = run("keys", "rotate", holder, "--json")
    new = json.loads(out)
    assert (code, new["name"], new["role"], new["camera_ids"]) == (0, holder, "operator", ["desk", "gate"])
    assert works(server, new["key"])
    assert not works(server, first)

    known = json.loads(run("keys", "list", "--json")[1])
    assert [one["revoked_at"] is None for one in known if one["name"] == holder] == [False, True]
    code, out, _ = run("keys", "revoke", holder)
    assert (code, out) == (0, f"revoked: key {new['key_id']} of {holder}\n")
    assert not works(server, new["key"])


def works(server: Server, key: str) -> bool:
    with PecaClient(server.url, key) as client:
        try:
            return client.watchlists() == ()
        except AuthenticationError:
            return False


def test_what_goes_wrong_with_keys_is_told(run: Run, server: Server) -> None:
    made = json.loads(run("keys", "create", "Cy", "--role", "operator", "--json")[1])
    code, _, err = run("keys", "list", "--api-key", made["key"])
    assert (code, "403" in err) == (1, True)
    assert run("keys", "revoke", made["key_id"], "--json")[0] == 0
    for line, code, told in (
        (("keys", "revoke", "Cy"), 1, "revoked already"),
        (("keys", "rotate", "nobody"), 1, "no such holder"),
        (("keys", "revoke", "admin"), 1, "409"),
        (("keys", "create", "Cy", "--role", "operator"), 1, "Cy"),
        (("keys", "create", "Di", "--role", "boss"), 2, "invalid choice"),
        (("keys",), 2, "required: COMMAND"),
    ):
        ended = run(*line)
        assert ended[0] == code, ended
        assert told in ended[2]
