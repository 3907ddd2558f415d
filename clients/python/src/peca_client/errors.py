"""The errors of this client, one small tree.

::

    PecaClientError               anything that kept a call from succeeding
    ├── InvalidArgument           refused here, before anything was sent (also a ValueError)
    ├── UnreadableImage           an image's file cannot be read; nothing was sent (also an OSError)
    ├── ConnectionFailed          no answer: nobody listens, the name is unknown, it took too long
    │   └── UntrustedServer       its certificate is not trusted here, or is for another name
    ├── UnexpectedAnswer          an answer, but not one of a PECA server of this API
    └── ProblemError              the server said no: status, type, title, detail, problem (RFC 9457)
        ├── AuthenticationError   401, 403: the API key is missing, unknown or not allowed to do this
        ├── NotFound              404: no such image, search or route
        ├── InvalidRequest        the other 4xx: what was sent is wrong, and will be wrong again
        │   └── TooLarge          413: the body or the image is larger than the server takes
        ├── RateLimited           429: too many calls; carries retry_after_s where the server gave one
        └── ServerError           5xx: the server failed or is not ready
"""

from collections.abc import Mapping
from typing import Any


class PecaClientError(Exception):
    """Anything that kept a call from succeeding."""


class InvalidArgument(PecaClientError, ValueError):
    """An argument is wrong; nothing was sent."""


class UnreadableImage(PecaClientError, OSError):
    """An image's file cannot be read; nothing was sent."""


class ConnectionFailed(PecaClientError):
    """No answer came, after all retries."""


class UntrustedServer(ConnectionFailed):
    """The server's certificate is not one that this machine trusts under this address; nothing was sent."""


class UnexpectedAnswer(PecaClientError):
    """The answer is not one of a PECA server of this API; the address is probably another service's."""


class ProblemError(PecaClientError):
    """The server refused or failed, and said why in problem+json (RFC 9457).

    Attributes:
        status: The HTTP status.
        type: The URI that names the kind of problem; ``about:blank`` where the server named none.
        title: The kind of problem in words.
        detail: This occurrence in words; may be empty.
        problem: The whole problem object, with the members that the kind adds.
        retry_after_s: How long the server asks to wait, in seconds, where it says so.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after_s: float | None = None) -> None:
        self.status = status
        self.type = str(problem.get("type") or "about:blank")
        self.title = str(problem.get("title") or f"HTTP {status}")
        self.detail = str(problem.get("detail") or "")
        self.problem = problem
        self.retry_after_s = retry_after_s
        super().__init__(f"{status} {self.title}" + (f": {self.detail}" if self.detail else ""))


class AuthenticationError(ProblemError):
    """401 or 403: the API key is missing, unknown, or not allowed to do this."""


class NotFound(ProblemError):
    """404: no such image, search or route."""


class InvalidRequest(ProblemError):
    """400, 409, 415, 422 and the like: what was sent is wrong, and will be wrong again."""


class TooLarge(InvalidRequest):
    """413: the body or the image is larger than the server takes."""


class RateLimited(ProblemError):
    """429: too many calls for now, after all retries."""


class ServerError(ProblemError):
    """5xx: the server failed or is not ready, after all retries."""


_BY_STATUS: dict[int, type[ProblemError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFound,
    413: TooLarge,
    429: RateLimited,
}


def problem_error(
    status: int, problem: Mapping[str, Any], retry_after_s: float | None = None
) -> ProblemError:
    """The error of the class that fits ``status`` (400 to 599)."""
    fallback = ServerError if status >= 500 else InvalidRequest
    return _BY_STATUS.get(status, fallback)(status, problem, retry_after_s)
