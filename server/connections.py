"""One connection: how long and how large what is no body may be, and what is no HTTP at all."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from server.problems import MALFORMED, MEDIA_TYPE, problem_response

HANDSHAKE_TIMEOUT_S = 10.0
HEAD_TIMEOUT_S = 10.0
MAX_HEAD_BYTES = 64 * 1024
MAX_HEAD_FIELDS = 200
WRITE_TIMEOUT_S = 30.0
"""A client that takes nothing of its answer for so long is left."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with bounds of time and bytes.

    Left to itself it waits for ever for a head of any size, and for a client to take its answer. The fields
    that may follow a body in chunks are read by nobody here, and left out.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._beside_bytes = 0
        self._fields = 0
        self._refusal: str | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        self._stop_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """An answer waits for its client."""
        super().pause_writing()
        self._await_taking()

    def resume_writing(self) -> None:
        """The client took what waited."""
        self._stop_writing()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Count what comes since the last of a body; what begins in an idle connection is a head."""
        self._beside_bytes += len(data)
        if self._beside_bytes > MAX_HEAD_BYTES + len(data):
            self.send_400_response(f"expected at most {MAX_HEAD_BYTES:,} bytes of a head, or beside a body")
            return
        super().data_received(data)
        # Line ends between two requests begin none, and uvicorn stops waiting at the first of them.
        if self.timeout_keep_alive_task is None and (self.cycle is None or self.cycle.response_complete):
            self._await_head()

    def on_message_begin(self) -> None:
        """Wait for the head of a further request."""
        super().on_message_begin()
        self._beside_bytes = self._fields = 0
        self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of a head.

        Raises:
            ValueError: There are too many; the parser ends with what it has read.
        """
        self._fields += 1
        if self._fields > MAX_HEAD_FIELDS:
            self._refusal = f"expected at most {MAX_HEAD_FIELDS} header fields"
            raise ValueError(self._refusal)
        if self._head_timer is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is here."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._beside_bytes = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request with a problem, unless an answer is on its way; close the connection."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()
            return
        body = bytes(problem_response(MALFORMED.problem(self._refusal or msg)).body)
        head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[400] + head.encode() + body)
        self.transport.close()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _await_taking(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(WRITE_TIMEOUT_S, self._look_again, left)

    def _look_again(self, left: int) -> None:
        """Leave a client that took nothing since; a large answer may take a slow one as long as it likes."""
        if self.transport.get_write_buffer_size() < left:
            self._await_taking()
        else:
            self.transport.abort()

    def _stop_writing(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()
