"""How long a request may take, and whether anybody still waits for its answer."""

import asyncio
import time
from contextvars import ContextVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import ClientLeft, DeadlinePassed


class Patience:
    """Of one request: its time limit counts from the end of its body.

    Args:
        limit_s: Seconds that the request may take; ``None`` for no limit.
    """

    def __init__(self, limit_s: float | None) -> None:
        self.left = False
        self._limit_s = limit_s
        self._began = time.monotonic()

    def begin(self) -> None:
        """Count the time from now on."""
        self._began = time.monotonic()

    def end(self) -> None:
        """Count no more time: the answer has begun, and who takes it is waited for by ``Connection``."""
        self._limit_s = None

    def remaining_s(self) -> float | None:
        """Seconds left, at least 0; ``None`` without a limit."""
        return None if self._limit_s is None else max(0.0, self._began + self._limit_s - time.monotonic())

    def check(self) -> None:
        """Refuse work that nobody waits for.

        Raises:
            ClientLeft: The client closed its connection.
            DeadlinePassed: The request took longer than it may.
        """
        if self.left:
            raise ClientLeft("the client closed its connection before its answer was ready")
        if self.remaining_s() == 0:
            raise self.passed()

    def passed(self) -> DeadlinePassed:
        """What tells that the time is over."""
        return DeadlinePassed(
            f"the request was not answered within {self._limit_s:g} seconds; the server has too much to do: "
            "try again soon, or send less at once"
        )


_CURRENT: ContextVar[Patience] = ContextVar("patience", default=Patience(None))  # noqa: B039 - never changed


def patience() -> Patience:
    """Of the request that this code works for; without a limit outside of any."""
    return _CURRENT.get()


def has_body(headers: Headers) -> bool:
    """Whether a request of these headers is one that a body comes with."""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


class Attendance:
    """ASGI middleware that gives each request its ``Patience``, and notices when its client leaves."""

    def __init__(self, app: ASGIApp, limit_s: float) -> None:
        self._app = app
        self._limit_s = limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and, once its body is read, watch its connection; without one at once."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        its = Patience(self._limit_s)
        watcher: asyncio.Task[Message] | None = None
        kept: list[Message] = []

        async def watch() -> Message:
            while (message := await receive())["type"] != "http.disconnect":
                pass
            its.left = True
            return message

        async def receive_watched() -> Message:
            nonlocal watcher
            if kept:
                return kept.pop()
            if watcher is not None:
                return await asyncio.shield(watcher)
            message = await receive()
            if message["type"] == "http.disconnect":
                its.left = True
            elif not message.get("more_body", False):
                its.begin()
                watcher = asyncio.create_task(watch())
            return message

        async def send_begun(message: Message) -> None:
            if message["type"] == "http.response.start":
                its.end()
            await send(message)

        if not has_body(Headers(scope=scope)):
            kept.append(await receive_watched())  # few routes ask for a body that there is not
        before = _CURRENT.set(its)
        try:
            await self._app(scope, receive_watched, send_begun)
        finally:
            _CURRENT.reset(before)
            if watcher is not None:
                watcher.cancel()
