"""Every route by every role, by key and by session; a new route is tested unasked."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import httpx
import pytest
from fastapi.routing import APIRoute
from server_site import served

from exporter.runtime import GreyPixelEncoder
from index.gallery import open_gallery
from server.access import GRANTS, Permission, Role
from server.app import create_app
from server.auth import KeyedRoute
from server.keyring import KeyRing
from server.settings import Settings

# What each role is for, written down a second time: a change of GRANTS must be meant.
MAY = {
    Permission.INGEST: "camera admin",
    Permission.SEARCH: "operator admin",
    Permission.VIEW: "operator admin",
    Permission.VERDICT: "operator admin",
    Permission.SEARCH_RECORD: "operator auditor admin",
    Permission.WATCH: "operator admin",
    Permission.EXPORT: "operator admin",
    Permission.AUDIT: "auditor admin",
    Permission.ENCODER: "admin",
    Permission.REMOVE: "admin",
    Permission.METRICS: "admin",
    Permission.KEYS: "admin",
    Permission.SESSION: "camera operator auditor admin",
    Permission.DOCUMENT: "camera operator auditor admin",
}
# Whoever adds a route without a key adds it here, and says why.
OPEN = {
    "GET /healthz",  # a probe has no key
    "GET /readyz",  # a probe has no key
    "GET /version",  # clients ask it before they sign in
    "POST /session",  # the key is in the body
}
# The files of the page, which hold nothing of the gallery.
PAGE = {"GET /", "HEAD /", "GET /web/{name:path}", "HEAD /web/{name:path}"}
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


def leaves(routes: Iterable[object]) -> Iterator[APIRoute]:
    """All routes, also those of an included router, which newer FastAPI keeps whole."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif (router := getattr(route, "original_router", None)) is not None:
            yield from leaves(router.routes)


def routes() -> dict[str, APIRoute]:
    """The application's routes, as ``METHOD /path``."""
    app = create_app(Settings(gallery="memory:"))
    found = {f"{method} {one.path}": one for one in leaves(app.routes) for method in one.methods}
    return dict(sorted(found.items()))


KEYED = {name: route for name, route in routes().items() if isinstance(route, KeyedRoute)}


def permission(name: str) -> Permission:
    return Permission((KEYED[name].openapi_extra or {})["x-peca-permission"])


@dataclass
class Askers:
    """Clients of one server, by the role of their key and of their session."""

    by_key: dict[Role, httpx.Client]
    by_session: dict[Role, httpx.Client]
    nobody: httpx.Client


@pytest.fixture(scope="module")
def askers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Askers]:
    folder = tmp_path_factory.mktemp("matrix") / "data"
    folder.mkdir()
    ring = KeyRing(folder)
    ring.create("root", Role.ADMIN)
    keys = {role: ring.create(f"a {role}", role)[0] for role in Role}
    settings = Settings(gallery="memory:", data_dir=folder)
    encoder = GreyPixelEncoder()
    with ExitStack() as stack:
        gallery = stack.enter_context(closing(open_gallery("memory:", encoder.spec)))
        address = stack.enter_context(served(create_app(settings, encoder=encoder, gallery=gallery)))

        def client(headers: dict[str, str] | None = None) -> httpx.Client:
            return stack.enter_context(httpx.Client(base_url=address, headers=headers, timeout=30))

        by_session = {}
        for role, key in keys.items():
            by_session[role] = client()
            token = by_session[role].post("/session", json={"key": key}).json()["csrf_token"]
            by_session[role].headers["X-CSRF-Token"] = token
        by_key = {role: client({"X-API-Key": key}) for role, key in keys.items()}
        yield Askers(by_key, by_session, client())


def ask(http: httpx.Client, name: str, **more: object) -> tuple[int, str]:
    """The status of a route asked without a body, and the problem's type; a stream is not awaited."""
    method, path = name.split()
    filled = "/".join("none" if part.startswith("{") else part for part in path.split("/"))
    with http.stream(method, filled, **more) as answer:
        problem = answer.headers.get("content-type") == "application/problem+json"
        return answer.status_code, answer.read().decode() if problem else ""


def test_every_permission_and_role_is_written_down_here() -> None:
    assert set(MAY) == set(Permission)
    for one in Permission:
        assert [role.value for role in Role if one in GRANTS[role]] == MAY[one].split()


def test_every_route_asks_for_a_key_or_is_known_to_be_open() -> None:
    assert set(routes()) - set(KEYED) - PAGE == OPEN
    assert len(KEYED) > 15


@pytest.mark.parametrize("name", KEYED)
@pytest.mark.parametrize("role", Role)
def test_a_key_of_the_role_on_the_route(askers: Askers, role: Role, name: str) -> None:
    status, said = ask(askers.by_key[role], name)
    if role in MAY[permission(name)].split():
        assert status not in (401, 403), said
        assert status < 500, said
    else:
        assert status == 403
        assert "urn:peca:problem:role-refused" in said
        assert f"is of the role {role}" in said


@pytest.mark.parametrize("name", [name for name in KEYED if name != "DELETE /session"])
@pytest.mark.parametrize("role", Role)
def test_a_session_of_the_role_on_the_route(askers: Askers, role: Role, name: str) -> None:
    browser = askers.by_session[role]
    status, said = ask(browser, name)
    if role in MAY[permission(name)].split():
        assert status not in (401, 403), said
    else:
        assert status == 403
        assert "urn:peca:problem:role-refused" in said


@pytest.mark.parametrize("name", [name for name in KEYED if name.split()[0] in UNSAFE])
def test_a_session_without_its_csrf_token_changes_nothing(askers: Askers, name: str) -> None:
    status, said = ask(askers.by_session[Role.ADMIN], name, headers={"X-CSRF-Token": ""})
    assert status == 403
    assert "urn:peca:problem:csrf-refused" in said


@pytest.mark.parametrize("name", KEYED)
def test_nobody_on_the_route(askers: Askers, name: str) -> None:
    for headers in ({}, {"X-API-Key": "peca_wrong"}, {"Cookie": "peca_session=wrong"}):
        status, said = ask(askers.nobody, name, headers=headers)
        assert status == 401, headers
        assert any(
            f"urn:peca:problem:{kind}" in said for kind in ("key-missing", "key-refused", "session-ended")
        )


def test_the_document_says_who_may_use_each_route() -> None:
    document = create_app(Settings(gallery="memory:")).openapi()
    for name, route in KEYED.items():
        if route.include_in_schema:
            method, path = name.split()
            told = document["paths"][path][method.lower()]
            assert told["x-peca-roles"] == MAY[permission(name)].split()
            assert len(told["security"]) == 3
