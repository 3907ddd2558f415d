"""Browser sessions: signing in with a key, asking who one is, signing out."""

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Cookie, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import Message

from server.access import GRANTS, Permission, Role
from server.auth import TheCaller, keyed_router, needs
from server.errors import SessionMissing
from server.parts import OpenParts, parts_of
from server.request_log import address_of
from server.sessions import COOKIE, CSRF_HEADER, Session

_MOST_BYTES = 4096
_NO_CONTENT: dict[int | str, dict[str, Any]] = {204: {"description": "Signed out; the cookie is removed."}}

Token = Annotated[str | None, Cookie(alias=COOKIE, include_in_schema=False)]


class SignInRoute(APIRoute):
    """A route without a key: its rate is limited by address, and its body is short.

    Both are checked before the body is read.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, behind the check."""
        handle = super().get_route_handler()

        async def handle_limited(request: Request) -> Response:
            parts = await parts_of(request)
            parts.sign_ins.take(address_of(request))
            received = 0

            async def receive() -> Message:
                nonlocal received
                message = await request.receive()
                received += len(message.get("body", b""))
                if received > _MOST_BYTES:
                    raise HTTPException(413, f"expected a body of at most {_MOST_BYTES:,} bytes")
                return message

            return await handle(Request(request.scope, receive))

        return handle_limited


sign_in_router = APIRouter(route_class=SignInRoute, tags=["session"])
router = keyed_router("session")


class SignIn(BaseModel):
    """What a browser signs in with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str = Field(min_length=1, max_length=200, description="An API key.")


class SessionAnswer(BaseModel):
    """A session of a browser."""

    name: str = Field(description="Of the key's holder.")
    role: Role
    permissions: list[Permission] = Field(description="What the role permits, as `x-peca-permission` says.")
    csrf_token: str = Field(description=f"To be sent as `{CSRF_HEADER}` with every method but GET.")
    expires_at: datetime = Field(description="UTC; sooner where it is not used.")


@sign_in_router.post("/session", summary="Sign in", status_code=201)
def sign_in(
    parts: OpenParts, request: Request, response: Response, given: SignIn, old: Token = None
) -> SessionAnswer:
    """Begin a session with a key; it comes as a cookie that scripts cannot read. Attempts are limited."""
    address = address_of(request)
    token, session = parts.sign_in.open(given.key, address, old)
    response.set_cookie(
        COOKIE, token, path="/", httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )
    return _told(session)


@router.get("/session", summary="Who am I", openapi_extra=needs(Permission.SESSION))
def read_session(parts: OpenParts, token: Token = None) -> SessionAnswer:
    """The session of the request's cookie, and its CSRF token."""
    return _told(parts.sessions.session(_needed(token)))


@router.delete(
    "/session",
    summary="Sign out",
    status_code=204,
    response_class=Response,
    responses=_NO_CONTENT,
    openapi_extra=needs(Permission.SESSION),
)
def sign_out(
    parts: OpenParts, caller: TheCaller, request: Request, response: Response, token: Token = None
) -> None:
    """End the session of the request's cookie."""
    parts.sign_in.close(_needed(token), caller)
    response.delete_cookie(
        COOKIE, path="/", httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )


def _needed(token: str | None) -> str:
    if not token:
        raise SessionMissing("this request came with a key of its own, and has no session; see POST /session")
    return token


def _told(session: Session) -> SessionAnswer:
    holder = session.holder
    return SessionAnswer(
        name=holder.name,
        role=holder.role,
        permissions=sorted(GRANTS[holder.role]),
        csrf_token=session.csrf_token,
        expires_at=session.expires_at,
    )
