"""How often and for how much at once a key may ask, and how often an address may try to sign in."""

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from threading import Lock

from index.wording import counted
from server.access import Holder
from server.errors import RateExceeded, TurnsExceeded
from server.patience import patience

_MOST_NAMES = 10_000
_WRONG_KEYS_PER_MINUTE = 60


class RateLimit:
    """A token bucket a key: one minute's requests at once, then evenly; safe to call from several threads.

    Args:
        requests_per_minute: Of a key without a limit of its own; ``None`` for no limit.
        clock: Seconds, always forward.
    """

    def __init__(self, requests_per_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._default = requests_per_minute
        self._buckets = _Buckets(clock)

    def take(self, holder: Holder) -> None:
        """Count one request of ``holder``.

        Raises:
            RateExceeded: It comes too soon; it is not counted.
        """
        most = holder.requests_per_minute or self._default
        if most is not None and (wait_s := self._buckets.take(holder.key_id, most)):
            raise RateExceeded(
                f"the key of {holder.name!r} may ask {counted(most, 'time')} a minute, and has",
                retry_after_s=wait_s,
            )


class KeyTurns:
    """How many requests without a body are answered at once of one key; the others of the key wait in a line.

    So many lists asked for at once would take the threads and the processors from everybody else, and an
    asynchronous client soon asks for hundreds. For one event loop.

    Args:
        at_once: How many; where not given, two a processor core, and at least 8.
        most: How many a key may have, with those that wait.
    """

    def __init__(self, at_once: int | None = None, most: int = 256) -> None:
        self._at_once = at_once or max(8, 2 * (os.cpu_count() or 1))
        self._most = most
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def turn(self, holder: Holder) -> AsyncIterator[None]:
        """Wait for a turn no longer than the request may take.

        Raises:
            TurnsExceeded: As many of the key's wait as may.
            DeadlinePassed: The request's time is over.
            ClientLeft: Nobody waits for the answer any more.
        """
        line = self._lines.setdefault(holder.key_id, _Line(asyncio.Semaphore(self._at_once)))
        if line.length >= self._most:
            raise TurnsExceeded(
                f"{self._most} requests of the key of {holder.name!r} are in work, as many as one may have"
            )
        line.length += 1
        try:
            try:
                async with asyncio.timeout(patience().remaining_s()):
                    await line.free.acquire()
            except TimeoutError:
                raise patience().passed() from None
            try:
                patience().check()
                yield
            finally:
                line.free.release()
        finally:
            line.length -= 1
            if not line.length:
                del self._lines[holder.key_id]


@dataclass(slots=True)
class _Line:
    free: asyncio.Semaphore
    length: int = 0


class SignInLimit:
    """A token bucket a client's address, whether its attempts succeed or fail.

    Args:
        attempts_per_minute: Of one IPv4 address, or of one IPv6 network of 64 bits.
        clock: Seconds, always forward.
    """

    def __init__(self, attempts_per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = attempts_per_minute
        self._buckets = _Buckets(clock)

    def take(self, address: str) -> None:
        """Count one attempt.

        Raises:
            RateExceeded: It comes too soon; it is not counted.
        """
        if wait_s := self._buckets.take(_network(address), self._most):
            raise RateExceeded(
                f"an address may try to sign in {self._most} times a minute, and this one has",
                retry_after_s=wait_s,
            )


class WrongKeyLimit:
    """A token bucket for the wrong keys of all addresses together, each of which costs a record on the disk.

    Args:
        clock: Seconds, always forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = _Buckets(clock)

    def take(self) -> None:
        """Count one wrong key.

        Raises:
            RateExceeded: It comes too soon; it is not counted.
        """
        if wait_s := self._buckets.take("", _WRONG_KEYS_PER_MINUTE):
            raise RateExceeded(
                f"this key is wrong, as {_WRONG_KEYS_PER_MINUTE} others were of late; a right one is taken",
                retry_after_s=wait_s,
            )


class _Buckets:
    """Tokens by name; where there are too many names, the one that was used longest ago is forgotten."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, name: str, per_minute: int) -> int:
        """Take a token; 0 where there was one, else the whole seconds until there is one again."""
        now = self._clock()
        with self._lock:
            left, then = self._left.pop(name, (float(per_minute), now))
            left = min(float(per_minute), left + (now - then) * per_minute / 60)
            enough = left >= 1
            self._left[name] = (left - enough, now)  # behind all others
            if len(self._left) > _MOST_NAMES:
                del self._left[next(iter(self._left))]
        return 0 if enough else max(1, math.ceil((1 - left) * 60 / per_minute))


def _network(address: str) -> str:
    """Where an attempt counts: a home has a whole IPv6 network to ask from."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((parsed, 64), strict=False)) if isinstance(parsed, IPv6Address) else address
