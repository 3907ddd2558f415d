"""How long a training run takes."""

import math
import time


class Clock:
    """How long a run has taken, may take and will take.

    Args:
        max_minutes: That it may take.
        first: Steps that were done before.
        steps: Steps of the whole run.
    """

    def __init__(self, max_minutes: float | None, first: int, steps: int) -> None:
        self._began = time.monotonic()
        self._limit_s = math.inf if max_minutes is None else 60 * max_minutes
        self._first, self._steps = first, steps

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return math.isfinite(self._limit_s)

    def is_out(self) -> bool:
        """Whether the limit is reached."""
        return time.monotonic() - self._began >= self._limit_s

    def left_s(self, done: int) -> float:
        """Seconds to the last step, or to the limit, when ``done`` steps are done, at the pace so far."""
        passed = time.monotonic() - self._began
        pace = passed / (done - self._first)
        return min(pace * (self._steps - done), max(0.0, self._limit_s - passed))
