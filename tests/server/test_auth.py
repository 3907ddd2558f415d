"""API keys."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from server_site import Site

from server.errors import StorageUnavailable
from server.keys import open_keys
from server.settings import Settings


@pytest.fixture
def key(settings: Settings) -> str:
    made = open_keys(settings.data_folder)[1]
    assert made is not None
    return made


@pytest.fixture
def stranger(key: str, start: Callable[..., Site]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=start().http.base_url) as http:
        yield http


@pytest.mark.parametrize("form", ["Authorization: Bearer {}", "Authorization: bearer {}", "X-API-Key: {}"])
def test_a_key_is_taken_in_either_header(stranger: httpx.Client, key: str, form: str) -> None:
    name, _, value = form.format(key).partition(": ")
    assert stranger.get("/cameras", headers={name: value}).status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer"}, {"Authorization": "Basic eDp5"}, {"X-API-Key": ""}]
)
def test_a_missing_key(stranger: httpx.Client, headers: dict[str, str]) -> None:
    answer = stranger.get("/cameras", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:peca:problem:key-missing"


@pytest.mark.parametrize("wrong", ["peca_", "peca_" + "x" * 43, "clé"])
def test_a_wrong_key(stranger: httpx.Client, wrong: str) -> None:
    answer = stranger.get("/cameras", headers={"X-API-Key": wrong.encode()})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert answer.json()["type"] == "urn:peca:problem:key-refused"
    assert wrong not in answer.text


def test_the_key_is_asked_before_the_body_is_read(stranger: httpx.Client) -> None:
    read = 0

    def body() -> Iterator[bytes]:
        nonlocal read
        for _ in range(500):
            read += 1
            yield bytes(100_000)

    answer = stranger.post(
        "/search", content=body(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 401
    assert answer.headers["connection"] == "close"
    assert read < 500


def test_keys_are_kept_as_hashes_and_made_once(tmp_path: Path) -> None:
    store, key = open_keys(tmp_path)
    assert key is not None
    assert key.startswith("peca_")
    assert len(key) > 40
    path = tmp_path / "keys.json"
    assert key not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    again, none = open_keys(tmp_path)
    assert none is None
    assert again.holder(key) == store.holder(key)
    assert store.holder(key).name == store.holder(key).role == "admin"
    assert [file.name for file in tmp_path.iterdir()] == ["keys.json"]


@pytest.mark.parametrize(
    "content", ["", "{}", json.dumps({"keys": []}), json.dumps({"keys": [{"name": "admin"}]})]
)
def test_a_damaged_key_file_is_never_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(StorageUnavailable, match=r"keys\.json"):
        open_keys(tmp_path)
    assert (tmp_path / "keys.json").read_text() == content
