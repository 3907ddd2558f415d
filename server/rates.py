"""How often a key may ask, and how often an address may try to sign in."""

import math
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from threading import Lock

from index.wording import counted
from server.access import Holder
from server.errors import RateExceeded

_MOST_NAMES = 10_000


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
