"""Browser sessions: a cookie in place of a key; they live in memory, and end with the server or the key."""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Lock

from server.access import Holder
from server.errors import CsrfRefused, SessionEnded
from server.keys import KeyStore, sha256_of_key

COOKIE = "peca_session"
CSRF_HEADER = "X-CSRF-Token"
_MOST_PER_KEY = 20


@dataclass(frozen=True, slots=True)
class Session:
    """One session of a browser.

    Attributes:
        holder: Of the key that it was opened with.
        key_sha256: Of that key.
        csrf_token: What a request that may change something carries as ``X-CSRF-Token``.
        opened_at: When it began, UTC.
        used_at: When it was last used, UTC.
        expires_at: When it ends, however much it is used, UTC.
    """

    holder: Holder
    key_sha256: str
    csrf_token: str
    opened_at: datetime
    used_at: datetime
    expires_at: datetime

    def check_csrf(self, offered: str) -> None:
        """Refuse what another site made the browser send.

        Raises:
            CsrfRefused: ``offered`` is not the session's token.
        """
        if not hmac.compare_digest(self.csrf_token.encode(), offered.encode()):
            raise CsrfRefused(
                f"expected the csrf_token of GET /session as the header {CSRF_HEADER}; it is missing or wrong"
            )


class Sessions:
    """The open sessions; safe to call from several threads.

    The token of a cookie is kept as its SHA-256 alone, as a key is. A session is worth what its key is
    worth at each request, so that revoking the key or its expiry ends it at once.

    Args:
        keys: The keys that the server takes.
        idle: A session not used for so long has ended.
        longest: No session lives longer.
        now: The clock, UTC.
    """

    def __init__(
        self,
        keys: KeyStore,
        idle: timedelta,
        longest: timedelta,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._keys = keys
        self._idle = idle
        self._longest = longest
        self._now = now
        self._lock = Lock()
        self._open: dict[str, Session] = {}

    def open(self, key: str) -> tuple[str, Session]:
        """Begin a session; of a key with very many, the one used longest ago ends.

        Returns:
            The cookie's token, which is kept nowhere, and the session.

        Raises:
            KeyRefused: The key is not one that the server takes.
        """
        stored, now, token = self._keys.stored(sha256_of_key(key)), self._now(), secrets.token_urlsafe(32)
        end = min(now + self._longest, stored.expires_at or datetime.max.replace(tzinfo=UTC))
        session = Session(stored.holder, stored.sha256, secrets.token_urlsafe(32), now, now, end)
        with self._lock:
            self._open = {name: one for name, one in self._open.items() if self._lives(one, now)}
            mine = [name for name, one in self._open.items() if one.key_sha256 == stored.sha256]
            for name in sorted(mine, key=lambda name: self._open[name].used_at)[: 1 - _MOST_PER_KEY]:
                del self._open[name]
            self._open[sha256_of_key(token)] = session
        return token, session

    def session(self, token: str, *, used: bool = True) -> Session:
        """The session of a cookie.

        Args:
            token: The cookie's.
            used: This is a use, from which the idle time counts anew.

        Raises:
            SessionEnded: There is none, or not any more.
            KeyRefused: Its key has expired or was revoked.
        """
        name, now = sha256_of_key(token), self._now()
        with self._lock:
            session = self._open.get(name)
            if session is None or not self._lives(session, now):
                self._open.pop(name, None)
                raise SessionEnded("this session has ended, or the server was started anew; sign in again")
            # What the key's holder may do is read again, since the keys' file may have changed.
            session = replace(session, holder=self._keys.stored(session.key_sha256).holder)
            if used:
                session = replace(session, used_at=now)
            self._open[name] = session
        return session

    def close(self, token: str) -> None:
        """End a session; does nothing where there is none."""
        with self._lock:
            self._open.pop(sha256_of_key(token), None)

    def _lives(self, session: Session, now: datetime) -> bool:
        return now < session.expires_at and now - session.used_at < self._idle
