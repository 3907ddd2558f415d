"""The dashboard's files, as the server sends them."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from server_site import served

from server.problems import add_problem_handlers
from server.web import web_router

REPOSITORY = Path(__file__).resolve().parents[2]
WEB = REPOSITORY / "clients" / "web"
SENT = sorted(path for path in WEB.rglob("*") if path.is_file() and path.name != "LICENSE")


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    app = FastAPI(openapi_url=None)
    add_problem_handlers(app)
    app.include_router(web_router())
    with served(app) as address, httpx.Client(base_url=address) as client:
        yield client


def test_the_page_is_served_at_the_root(http: httpx.Client) -> None:
    answer = http.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(rule.strip().split(" ", 1) for rule in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert policy["require-trusted-types-for"] == "'script'"


@pytest.mark.parametrize("path", SENT, ids=lambda path: path.relative_to(WEB).as_posix())
def test_each_file_is_sent_with_its_type_and_not_twice(http: httpx.Client, path: Path) -> None:
    name = path.relative_to(WEB).as_posix()
    url = "/" if name == "index.html" else f"/web/{name}"
    plain = http.get(url, headers={"Accept-Encoding": "identity"})
    assert plain.content == path.read_bytes()
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
    assert plain.headers["content-type"].startswith(kinds.get(path.suffix, "text/html"))
    assert plain.headers["cache-control"] == "no-cache"
    packed = http.get(url, headers={"Accept-Encoding": "gzip"})
    assert packed.content == plain.content
    assert "content-encoding" not in plain.headers
    again = http.get(url, headers={"If-None-Match": f'"other", {plain.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")


def test_text_goes_packed(http: httpx.Client) -> None:
    with http.stream("GET", "/web/app.js", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == (WEB / "app.js").read_bytes()


@pytest.mark.parametrize(
    "url", ["/web/", "/web/none.js", "/web/../cli.py", "/web/%2e%2e/cli.py", "/web/fonts/LICENSE"]
)
def test_nothing_else_is_sent(http: httpx.Client, url: str) -> None:
    answer = http.get(url)
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:peca:problem:route-unknown"


def test_without_its_folder_the_server_has_no_page(tmp_path: Path) -> None:
    app = FastAPI(openapi_url=None)
    app.include_router(web_router(tmp_path / "none"))
    with served(app) as address:
        assert httpx.get(address).status_code == 404
