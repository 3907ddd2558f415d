"""Hits as they come, to those who listen: server-sent events that can be resumed."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any

from server.errors import StreamsExceeded
from server.seats import Seats
from server.watch_store import WatchStore
from server.watchlists import WatchHit

HEARTBEAT_S = 15.0
MAX_STREAMS = 256
MAX_STREAMS_OF_A_KEY = 16
"""A desk has one, a page that is connected again two for a while."""
_LOOK_S = 1.0
_PAGE = 100
_RECONNECT_MS = 3000


class Events:
    """Wakes the open streams when hits were stored; safe to call from several threads.

    Args:
        store: Where the hits are; a stream reads them there, so that it misses none.
        heartbeat_s: A stream that has nothing to say says so this often, and asks anew whether its
            listener may still listen.
    """

    def __init__(self, store: WatchStore, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._store = store
        self._heartbeat_s = heartbeat_s
        self._lock = Lock()
        self._wakers: set[Callable[[], object]] = set()
        self.seats = Seats("event streams", MAX_STREAMS, MAX_STREAMS_OF_A_KEY, StreamsExceeded)
        self._ended = False

    def publish(self) -> None:
        """Hits were stored."""
        with self._lock:
            wakers = list(self._wakers)
        for wake in wakers:
            with suppress(RuntimeError):  # its event loop has ended, and the stream with it
                wake()

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """Have ``wake`` called at each ``publish``."""
        with self._lock:
            self._wakers.add(wake)
        try:
            yield
        finally:
            with self._lock:
                self._wakers.discard(wake)

    def end(self) -> None:
        """End every stream within a second; only a flag, so that a signal's handler may call it."""
        self._ended = True

    def start(self, after: int | None) -> int:
        """The event id before the first hit of a stream.

        Args:
            after: As its listener gave it; ``None`` begins with what comes from now on. One that no hit has
                had yet was given before the data folder was restored from a backup: which hits the listener
                has not heard is not known, so it hears all that are kept.
        """
        newest = self._store.newest()
        return newest if after is None else after if after <= newest else 0

    async def stream(
        self, after: int, sees: Callable[[WatchHit], bool], check: Callable[[], object]
    ) -> AsyncIterator[WatchHit | None]:
        """The hits that come after one, as they come; ``None`` for a heartbeat.

        Args:
            after: The event id before the first hit.
            sees: Whether the listener may see a hit.
            check: Raises once the listener may not listen any more; called before each hit or heartbeat
                that follows a wait.
        """
        changed, loop = asyncio.Event(), asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        with self.waking(wake):
            quiet_since = loop.time()
            while not self._ended:
                changed.clear()
                if found := await asyncio.to_thread(self._store.hits_after, after, _PAGE):
                    await asyncio.to_thread(check)
                    for hit in filter(sees, found):
                        yield hit
                        quiet_since = loop.time()
                    after = found[-1].event_id
                else:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(_LOOK_S, self._heartbeat_s)):
                            await changed.wait()
                if loop.time() - quiet_since >= self._heartbeat_s:
                    await asyncio.to_thread(check)
                    yield None
                    quiet_since = loop.time()


def server_sent(event: str, event_id: int, data: dict[str, Any]) -> bytes:
    """One event as it goes over the wire (WHATWG HTML, 9.2)."""
    content = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return f"id: {event_id}\nevent: {event}\ndata: {content}\n\n".encode()


HEARTBEAT = b": heartbeat\n\n"
OPENING = f"retry: {_RECONNECT_MS}\n\n".encode()
