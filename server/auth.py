"""Who may ask: the API key of a request, its rate and its role, checked before the body is read."""

from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer

from server.access import GRANTS, Caller, Permission, Role
from server.errors import KeyMissing
from server.parts import parts_of

API_KEY_HEADER = "X-API-Key"
_PERMISSION = "x-peca-permission"

# They only describe the two headers in the OpenAPI document; KeyedRoute decides.
_DESCRIBED = [
    Security(HTTPBearer(auto_error=False, description="The API key as a bearer token.")),
    Security(APIKeyHeader(name=API_KEY_HEADER, auto_error=False, description="The API key.")),
]


class KeyedRoute(APIRoute):
    """A route for holders of a key whose role permits it, as ``needs`` says in the route's ``openapi_extra``.

    FastAPI's dependencies run after the body was read; this runs before.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, behind the check."""
        handle = super().get_route_handler()
        permission = Permission((self.openapi_extra or {})[_PERMISSION])

        async def handle_keyed(request: Request) -> Response:
            began_at = datetime.now(UTC)
            parts = await parts_of(request)
            holder = parts.keys.holder(offered_key(request.headers))
            parts.rates.take(holder)
            holder.check(permission)
            request.state.caller = Caller(holder, began_at)
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
