"""What an error tells a client, and what only the log."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from server_site import Site, picture

from index.errors import GalleryUnavailable, PecaError
from server.errors import RateExceeded, StorageUnavailable
from server.problems import KINDS, add_problem_handlers, problem_of
from server.settings import Settings


def answered(error: PecaError) -> httpx.Response:
    """The answer of a route that fails so."""
    app = FastAPI()
    add_problem_handlers(app)

    @app.get("/")
    def fail() -> None:
        raise error

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://peca") as http:
            return await http.get("/")

    return asyncio.run(ask())


@pytest.mark.parametrize("of", [one for one, kind in KINDS.items() if kind.status in (429, 503)])
def test_what_may_succeed_later_says_when(of: Callable[..., PecaError]) -> None:
    answer = answered(of("not now", 7) if of is RateExceeded else of("not now"))
    assert (
        answer.headers["retry-after"] == "7"
        if of is RateExceeded
        else answer.headers["retry-after"].isdigit()
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "the audit log /srv/peca/audit.jsonl cannot be written",
            "the audit log audit.jsonl cannot be written",
        ),
        ("[Errno 28] No space: '/srv/my data/a.db'", "[Errno 28] No space: 'a.db'"),
        ("the gallery embedded:/srv/g is closed", "the gallery embedded:g is closed"),
        ("Milvus at http://milvus:19530/a refused", "Milvus at http://milvus:19530/a refused"),
        ("expected 9 of 10 bytes and/or a key", "expected 9 of 10 bytes and/or a key"),
        ("copied from /a/b to /c", "copied from b to c"),
    ],
)
def test_where_files_lie_is_told_to_the_log_alone(text: str, told: str) -> None:
    assert problem_of(StorageUnavailable(text)).detail == told
    assert problem_of(GalleryUnavailable(text)).detail == told


def test_an_audit_log_that_cannot_be_written_is_told_without_its_folder(
    start: Callable[..., Site],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = start()
    log = settings.data_folder / "audit.jsonl"

    def no_disk(*_: object) -> None:
        raise OSError(28, "No space left on device", str(log))

    monkeypatch.setattr("os.fdatasync", no_disk)
    with caplog.at_level(logging.WARNING):
        answers = [
            site.search(picture(0)),
            httpx.post(f"{site.http.base_url}/session", json={"key": site.http.headers["x-api-key"]}),
        ]
    for answer in answers:
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:storage-unavailable")
        assert "audit.jsonl" in answer.json()["detail"]
        assert str(Path(settings.data_folder).parent) not in answer.text
        assert answer.headers["retry-after"] == "5"
    assert str(log) in caplog.text
