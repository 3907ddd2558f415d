"""How often a key may ask."""

import math
import time
from collections.abc import Callable
from threading import Lock

from server.access import Holder
from server.errors import RateExceeded


class RateLimit:
    """A token bucket a key: one minute's requests at once, then evenly; safe to call from several threads.

    Args:
        requests_per_minute: Of a key without a limit of its own; ``None`` for no limit.
        clock: Seconds, always forward.
    """

    def __init__(self, requests_per_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._default = requests_per_minute
        self._clock = clock
        self._lock = Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, holder: Holder) -> None:
        """Count one request of ``holder``.

        Raises:
            RateExceeded: It comes too soon; it is not counted.
        """
        most = holder.requests_per_minute or self._default
        if most is None:
            return
        now = self._clock()
        with self._lock:
            left, then = self._buckets.get(holder.key_id, (float(most), now))
            left = min(float(most), left + (now - then) * most / 60)
            enough = left >= 1
            self._buckets[holder.key_id] = (left - enough, now)
        if not enough:
            raise RateExceeded(
                f"the key of {holder.name!r} may ask {most} times a minute, and has",
                retry_after_s=max(1, math.ceil((1 - left) * 60 / most)),
            )
