"""How much is read: of one request, of all that are open, and for how long."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import BoundedSemaphore

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import TurnsExceeded
from server.metrics import OPEN_BYTES, OPEN_REQUESTS
from server.patience import has_body, patience
from server.problems import BODY_TOO_LARGE, MALFORMED, SERVER_BUSY, problem_response

MAX_TEXT_BYTES = 1024 * 1024
"""Of a body without files: what JSON makes of a megabyte may take twenty in memory."""
TEXT_TIMEOUT_S = 10.0
"""For a body without files; who signs in has no key yet."""
_DISCARD_LIMIT_S = 1.0
_RETRY = {"Retry-After": "1"}
_BODY = "peca.body"
_UTF_8 = {"utf-8", "utf8"}
_OF_FILES = b"multipart/form-data"


class Turns:
    """How much is done at once for one purpose: a picture that is decoded may take a hundred times its file.

    Args:
        at_once: How many turns; one a processor core where not given.
        most: How many may have a turn or wait for one; ``None`` for any number.
    """

    def __init__(self, at_once: int | None = None, most: int | None = None) -> None:
        self._free = BoundedSemaphore(at_once or os.cpu_count() or 1)
        self._room = None if most is None else BoundedSemaphore(most)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn no longer than the request does that it is for.

        Raises:
            TurnsExceeded: As many wait as may.
            DeadlinePassed: The request's time is over.
            ClientLeft: Nobody waits for the answer any more.
        """
        its = patience()
        with self._place():
            if not self._free.acquire(timeout=its.remaining_s()):
                raise its.passed()
            try:
                its.check()
                yield
            finally:
                self._free.release()

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._room is None:
            yield
            return
        if not self._room.acquire(blocking=False):
            raise TurnsExceeded("as many requests of this kind wait as this server lets; try again soon")
        try:
            yield
        finally:
            self._room.release()


# Beside those of ingest, which has threads of its own. Thumbnails are no requests of ``Intake``: a page asks
# for many at once, and has to get them all.
SEARCHED, SHOWN = Turns(), Turns()


@dataclass(slots=True)
class Intake:
    """The requests with a body that are in work, and the bytes that were read of them.

    Attributes:
        max_requests: Most at once.
        max_bytes: Most of all of them together; a request that is alone always fits.
        requests: How many there are.
        bytes: How many bytes were read of them.
        requests_of: How many there are of each key.
        bytes_of: How many bytes of them.
    """

    max_requests: int
    max_bytes: int
    requests: int = 0
    bytes: int = 0
    requests_of: Counter[str] = field(default_factory=Counter)
    bytes_of: Counter[str] = field(default_factory=Counter)

    def full(self) -> str | None:
        """Why no further request is taken now."""
        if self.requests >= self.max_requests:
            return f"requests in work: {self.requests}, as many as this server takes; try again soon"
        return None

    def overfull(self) -> str | None:
        """Why no more is read of a request now."""
        if self.bytes > self.max_bytes and self.requests > 1:
            return (
                f"{self.bytes:,} bytes of requests are in work, as many as this server takes; try again soon"
            )
        return None

    def beyond_share(self, key_id: str) -> str | None:
        """Why no more is taken of a key now: a quarter is for the others, however slowly it sends."""
        requests, size = self.requests_of[key_id], self.bytes_of[key_id]
        if requests > self.max_requests - self.max_requests // 4:
            return f"requests of this key in work: {requests - 1}, as many as one may have; try again soon"
        if size > self.max_bytes - self.max_bytes // 4 and requests > 1:
            return f"{size:,} bytes of this key are in work, as many as one may have; try again soon"
        return None

    def change(self, requests: int = 0, size: int = 0, key_id: str | None = None) -> None:
        """Count what came or went."""
        self.requests += requests
        self.bytes += size
        if key_id is not None:
            for counts, change in ((self.requests_of, requests), (self.bytes_of, size)):
                counts[key_id] += change
                if not counts[key_id]:
                    del counts[key_id]
        OPEN_REQUESTS.set(self.requests)
        OPEN_BYTES.set(self.bytes)


class BodyLimit:
    """ASGI middleware that refuses a body that is too large, too slow, one too many, or not in UTF-8.

    Many clients look for an answer only once their body is sent, so a body that is not far beyond the
    limit is thrown away as it comes, within bounds of bytes and time, and then refused. An answer that
    leaves before the body came to its end closes the connection.

    Args:
        app: What it guards.
        max_bytes: Most of one body; of one without files at most ``MAX_TEXT_BYTES``.
        timeout_s: A body that is not here by then is not waited for; one without files has at most
            ``TEXT_TIMEOUT_S``.
        intake: What all requests may take together.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float, intake: Intake) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body counted."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if not has_body(headers):
            await self._app(scope, receive, send)
            return
        kind, charset = _content(headers)
        most, timeout_s = self._max_bytes, self._timeout_s
        if kind != _OF_FILES:
            most, timeout_s = min(most, MAX_TEXT_BYTES), min(timeout_s, TEXT_TIMEOUT_S)
        body = _Body(self, most, timeout_s, headers, receive, send)
        # The parser of forms would decode by any codec that Python has.
        if charset not in _UTF_8:
            await body.read_off(most)
            response = problem_response(MALFORMED.problem(f"expected text in UTF-8, got {charset[:40]!r}"))
            await response(scope, receive, body.send)
            return
        if (busy := self._intake.full()) is not None:
            await body.read_off(most)
            response = problem_response(SERVER_BUSY.problem(busy), _RETRY)
            await response(scope, receive, body.send)
            return
        self._intake.change(requests=1)
        try:
            if await body.refuse_by_length():
                response = problem_response(BODY_TOO_LARGE.problem(_too_large(most)))
                await response(scope, receive, body.send)
            else:
                scope[_BODY] = body
                await self._app(scope, body.receive, body.send)
        finally:
            self._intake.change(-1, -body.received, body.key_id)

    def claim(self, body: "_Body", key_id: str) -> None:
        """Count a body, of which nothing is read yet, for a key.

        Raises:
            HTTPException: The key has as many in work as it may.
        """
        body.key_id = key_id
        self._intake.requests_of[key_id] += 1
        self._refuse_beyond_share(body)

    async def check(self, body: "_Body") -> None:
        """Refuse a body as it comes in.

        Raises:
            HTTPException: It is beyond a limit; no other error passes the reading of a form.
        """
        if body.received > body.max_bytes:
            await body.read_off(body.max_bytes // 4)
            raise HTTPException(413, _too_large(body.max_bytes))
        if (busy := self._intake.overfull()) is not None:
            await body.read_off(body.max_bytes // 4)
            raise HTTPException(429, busy, _RETRY)
        self._refuse_beyond_share(body)

    def count(self, body: "_Body", size: int) -> None:
        """Count bytes that were read."""
        self._intake.change(size=size, key_id=body.key_id)

    def _refuse_beyond_share(self, body: "_Body") -> None:
        if body.key_id and (busy := self._intake.beyond_share(body.key_id)) is not None:
            raise HTTPException(429, busy, _RETRY)


def claim_body(scope: Scope, key_id: str) -> None:
    """Count the body of a request, where it has one, for the key that it came with.

    Raises:
        HTTPException: The key has as many in work as it may.
    """
    body: _Body | None = scope.get(_BODY)
    if body is not None:
        body.claim(key_id)


def _too_large(max_bytes: int) -> str:
    """What is said of a body beyond the limit."""
    return f"expected a body of at most {max_bytes:,} bytes; send less at once"


def _content(headers: Headers) -> tuple[bytes, str]:
    """Of what type a body claims to be, and of which charset, read as the parser of forms does."""
    kind, options = parse_options_header(headers.get("content-type"))
    return kind, options.get(b"charset", b"utf-8").decode("latin-1").lower()


class _Body:
    """The body of one request on its way in."""

    def __init__(
        self,
        limit: BodyLimit,
        max_bytes: int,
        timeout_s: float,
        headers: Headers,
        receive: Receive,
        send: Send,
    ) -> None:
        self.max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._limit = limit
        self._receive = receive
        self._send = send
        self._announced = headers.get("content-length", "")
        self._asks_first = "expect" in headers
        self._ends_at = asyncio.get_running_loop().time() + timeout_s
        self._unread = True
        self.received = 0
        self.key_id: str | None = None

    def claim(self, key_id: str) -> None:
        """See ``claim_body``."""
        self._limit.claim(self, key_id)

    async def receive(self) -> Message:
        """The next part, counted and in time."""
        if not self._unread:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._ends_at):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"expected the whole body within {self._timeout_s:g} seconds") from None
        size = len(message.get("body", b""))
        self.received += size
        self._limit.count(self, size)
        self._unread = message["type"] == "http.request" and message.get("more_body", False)
        await self._limit.check(self)
        return message

    async def send(self, message: Message) -> None:
        """Pass on a part of the answer; one that comes before the body's end closes the connection."""
        if self._unread and message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await self._send(message)

    async def refuse_by_length(self) -> bool:
        """Whether the body is too large by what it announces; it is read off where it is not far beyond."""
        if not self._announced.isdecimal() or int(self._announced) <= self.max_bytes:
            return False
        # A client that asks first has sent nothing yet.
        if int(self._announced) <= 2 * self.max_bytes and not self._asks_first:
            await self.read_off(int(self._announced))
        return True

    async def read_off(self, at_most: int) -> None:
        """Throw away what still comes, within bounds of bytes and time."""
        left = at_most
        with suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_LIMIT_S):
                while self._unread and left >= 0:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
                    self._unread = message.get("more_body", False)
