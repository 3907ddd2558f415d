"""Who may ask: the API key of a request, checked before its body is read."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer

from server.errors import KeyMissing
from server.parts import parts_of

API_KEY_HEADER = "X-API-Key"

# They only describe the two headers in the OpenAPI document; KeyedRoute decides.
_DESCRIBED = [
    Security(HTTPBearer(auto_error=False, description="The API key as a bearer token.")),
    Security(APIKeyHeader(name=API_KEY_HEADER, auto_error=False, description="The API key.")),
]


class KeyedRoute(APIRoute):
    """A route for holders of a key. FastAPI's dependencies run after the body was read; this runs before."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, behind the check."""
        handle = super().get_route_handler()

        async def handle_keyed(request: Request) -> Response:
            parts = await parts_of(request)
            request.state.key_name = parts.keys.holder(offered_key(request.headers))
            return await handle(request)

        return handle_keyed


def keyed_router(tag: str) -> APIRouter:
    """A router whose every route asks for a key."""
    return APIRouter(route_class=KeyedRoute, dependencies=_DESCRIBED, tags=[tag])


def offered_key(headers: Mapping[str, str]) -> str:
    """The key in ``Authorization: Bearer`` or ``X-API-Key``; the first wins.

    Raises:
        KeyMissing: Neither header carries one.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    key = bearer or headers.get(API_KEY_HEADER, "").strip()
    if not key:
        raise KeyMissing(
            f"expected an API key as `Authorization: Bearer KEY` or `{API_KEY_HEADER}: KEY`, got none"
        )
    return key
