"""When to try a call again, and how long to wait before."""

import random
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto

import httpx

RETRIED_STATUSES = frozenset({429, 503})
HOPELESS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Again(Enum):
    """When a call may be made again."""

    ALWAYS = auto()
    UNDONE = auto()
    NEVER = auto()

    def after(self, outcome: httpx.Response | httpx.RequestError) -> bool:
        """Whether this outcome of an attempt lets it.

        ``UNDONE`` is for what must not be done twice. Nothing was where no connection came about, and where
        the server answers that it cannot now, since it says so before it does anything; a lost answer
        tells nothing.
        """
        if self is Again.UNDONE:
            return isinstance(outcome, (httpx.Response, *_NOTHING_SENT))
        return self is Again.ALWAYS


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with jitter; a ``Retry-After`` of the server is honoured.

    Attributes:
        retries: How many times a call is tried again after its first attempt.
        first_wait_s: The longest wait before the first retry; it doubles with each.
        longest_wait_s: No back-off is longer; a ``Retry-After`` beyond it ends the retries.
    """

    retries: int = 3
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0

    def wait_s(self, attempt: int, outcome: httpx.Response | httpx.RequestError) -> float | None:
        """Seconds to wait after attempt number ``attempt`` (from 0), or ``None`` to give the outcome back."""
        if attempt >= self.retries or not _worth_retrying(outcome):
            return None
        asked = retry_after_s(outcome) if isinstance(outcome, httpx.Response) else None
        if asked is not None:
            return asked if asked <= self.longest_wait_s else None
        ceiling = min(self.longest_wait_s, self.first_wait_s * 2.0**attempt)
        return random.uniform(ceiling / 2, ceiling)


def _worth_retrying(outcome: httpx.Response | httpx.RequestError) -> bool:
    if isinstance(outcome, httpx.Response):
        return outcome.status_code in RETRIED_STATUSES
    if isinstance(tls_fault(outcome), ssl.SSLCertVerificationError):
        return False
    return isinstance(outcome, httpx.TransportError) and not isinstance(outcome, HOPELESS)


def tls_fault(error: BaseException) -> ssl.SSLError | None:
    """What TLS failed of, below what httpx made of it."""
    below: BaseException | None = error
    while below is not None and not isinstance(below, ssl.SSLError):
        below = below.__cause__ or below.__context__
    return below


def retry_after_s(response: httpx.Response) -> float | None:
    """The ``Retry-After`` of an answer in seconds from now; ``None`` where none can be read."""
    value = response.headers.get("retry-after")
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
