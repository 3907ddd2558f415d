"""Who may ask: the key or session of a request, its rate and its role, checked before the body is read."""

from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute

from server.access import GRANTS, Caller, Holder, Permission, Role
from server.errors import KeyMissing
from server.limits import claim_body
from server.parts import Parts, parts_of
from server.sessions import COOKIE, CSRF_HEADER

API_KEY_HEADER = "X-API-Key"
_PERMISSION = "x-peca-permission"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

SECURITY_SCHEMES = {
    "HTTPBearer": {"type": "http", "scheme": "bearer", "description": "The API key as a bearer token."},
    "APIKeyHeader": {"type": "apiKey", "in": "header", "name": API_KEY_HEADER, "description": "The API key."},
    "APIKeyCookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": f"A browser's session (POST /session); any method but GET also needs {CSRF_HEADER}.",
    },
}
"""What ``KeyedRoute`` takes, as the OpenAPI document says it."""


class KeyedRoute(APIRoute):
    """A route for holders of a key whose role permits it, as ``needs`` says in the route's ``openapi_extra``.

    FastAPI's dependencies run after the body was read; this runs before.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        security: dict[str, Any] = {"security": [{name: []} for name in SECURITY_SCHEMES]}
        super().__init__(
            path, endpoint, **{**options, "openapi_extra": (options.get("openapi_extra") or {}) | security}
        )

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, behind the check."""
        handle = super().get_route_handler()
        permission = Permission((self.openapi_extra or {})[_PERMISSION])

        async def handle_keyed(request: Request) -> Response:
            began_at = datetime.now(UTC)
            parts = await parts_of(request)
            holder = admitted(request, parts)
            parts.rates.take(holder)
            holder.check_gallery(parts.settings.gallery_name)
            holder.check(permission)
            request.state.caller = Caller(holder, began_at)
            claim_body(request.scope, holder.key_id)
            if request.method not in _SAFE_METHODS:
                return await handle(request)
            async with parts.turns.turn(holder):
                return await handle(request)

        return handle_keyed


def needs(permission: Permission) -> dict[str, Any]:
    """What a route's ``openapi_extra`` says of who may use it."""
    return {
        _PERMISSION: permission.value,
        "x-peca-roles": [role.value for role in Role if permission in GRANTS[role]],
    }


async def caller_of(request: Request) -> Caller:
    """Who makes ``request``; ``KeyedRoute`` has checked it."""
    caller: Caller = request.state.caller
    return caller


TheCaller = Annotated[Caller, Depends(caller_of)]


def keyed_router(tag: str) -> APIRouter:
    """A router whose every route asks for a key or a session."""
    return APIRouter(route_class=KeyedRoute, tags=[tag])


def admitted(request: Request, parts: Parts, *, used: bool = True) -> Holder:
    """Who asks: by the key in a header, else by the session of a cookie.

    Args:
        request: Its body is not read.
        parts: Of the server.
        used: A session's idle time counts anew from here.

    Raises:
        KeyMissing: It carries neither.
        KeyRefused, SessionEnded: What it carries is not taken, or not any more.
        CsrfRefused: It comes by cookie, may change something, and lacks the session's token.
    """
    if key := offered_key(request.headers):
        return _noted(request, parts.keys.holder(key))
    token = request.cookies.get(COOKIE)
    if not token:
        raise KeyMissing(
            f"expected an API key as `Authorization: Bearer KEY` or `{API_KEY_HEADER}: KEY`, or the cookie "
            "of POST /session; got none"
        )
    session = parts.sessions.session(token, used=used)
    holder = _noted(request, session.holder)
    if request.method not in _SAFE_METHODS:
        session.check_csrf(request.headers.get(CSRF_HEADER, ""))
    return holder


def _noted(request: Request, holder: Holder) -> Holder:
    """The holder, whom the log of requests names from here on, whether refused or not."""
    request.state.holder = holder
    return holder


def offered_key(headers: Mapping[str, str]) -> str:
    """The key in ``Authorization: Bearer`` or ``X-API-Key``, the first where there are two; may be empty."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return bearer or headers.get(API_KEY_HEADER, "").strip()
