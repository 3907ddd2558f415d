"""How much of a request is read."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.problems import BODY_TOO_LARGE, problem_response


class BodyLimit:
    """ASGI middleware that refuses a body beyond ``max_bytes``, by its length or while it comes in.

    An answer that leaves before the body was read to its end closes the connection, so that nothing
    more of it needs reading.
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
            if received > self._max_bytes:
                raise HTTPException(413, self._detail())
            if message["type"] == "http.request" and not message.get("more_body", False):
                unread = False
            return message

        async def send_closing(message: Message) -> None:
            if unread and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        if announced.isdecimal() and int(announced) > self._max_bytes:
            response = problem_response(BODY_TOO_LARGE.problem(self._detail()))
            await response(scope, receive_counted, send_closing)
        else:
            await self._app(scope, receive_counted, send_closing)

    def _detail(self) -> str:
        return f"expected a body of at most {self._max_bytes:,} bytes; send less at once"
