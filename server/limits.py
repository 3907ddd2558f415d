"""How much of a request is read."""

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.problems import BODY_TOO_LARGE, problem_response

_DISCARD_LIMIT_S = 1.0


class BodyLimit:
    """ASGI middleware that refuses a body beyond ``max_bytes``, by its length or while it comes in.

    Many clients look for an answer only once their body is sent, so a body that is not far beyond the
    limit is thrown away as it comes, within bounds of bytes and time, and then refused. An answer that
    leaves before the body came to its end closes the connection.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "0")
        unread = announced != "0" or "transfer-encoding" in headers
        received = 0

        async def receive_counted() -> Message:
            nonlocal received, unread
            message = await receive()
            received += len(message.get("body", b""))
            if message["type"] == "http.request" and not message.get("more_body", False):
                unread = False
            if received > self._max_bytes:
                if unread:
                    unread = not await _discard(receive, self._max_bytes // 4)
                raise HTTPException(413, self._detail())
            return message

        async def send_closing(message: Message) -> None:
            if unread and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        if announced.isdecimal() and int(announced) > self._max_bytes:
            # A client that asks first (Expect) has sent nothing yet.
            if int(announced) <= 2 * self._max_bytes and "expect" not in headers:
                unread = not await _discard(receive, int(announced))
            response = problem_response(BODY_TOO_LARGE.problem(self._detail()))
            await response(scope, receive_counted, send_closing)
        else:
            await self._app(scope, receive_counted, send_closing)

    def _detail(self) -> str:
        return f"expected a body of at most {self._max_bytes:,} bytes; send less at once"


async def _discard(receive: Receive, at_most: int) -> bool:
    """Throw away what still comes of a body, within bounds; whether it came to its end."""
    left = at_most
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_LIMIT_S):
            while left >= 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return True
    return False
