"""Signing in and out, and saying so in the audit log."""

from datetime import UTC, datetime

from server.access import Caller
from server.audit import Action, AuditLog
from server.errors import GalleryRefused, KeyRefused
from server.rates import WrongKeyLimit
from server.sessions import Session, Sessions


class SignIn:
    """Opens and closes sessions; the audit log has each, and each attempt that failed, within a rate.

    Args:
        sessions: The open ones.
        audit: Where each is recorded.
        gallery: What this server's gallery is called.
    """

    def __init__(self, sessions: Sessions, audit: AuditLog, gallery: str) -> None:
        self._sessions = sessions
        self._audit = audit
        self._gallery = gallery
        self._wrong_keys = WrongKeyLimit()

    def open(self, key: str, address: str, old: str | None) -> tuple[str, Session]:
        """Begin a session with a key.

        Args:
            key: In clear.
            address: Where the attempt comes from.
            old: The token of the browser's session before, which ends.

        Returns:
            The cookie's token, and the session.

        Raises:
            KeyRefused: The key is not one that the server takes.
            RateExceeded: Nor is it, and so many came before it that it is not recorded.
            GalleryRefused: It is for other galleries.
            StorageUnavailable: The audit log cannot be written; no session was opened.
        """
        began_at = datetime.now(UTC)
        try:
            token, session = self._sessions.open(key)
        except KeyRefused:
            self._wrong_keys.take()
            self._audit.append(Action.SESSION, change="refuse", address=address)
            raise
        caller = Caller(session.holder, began_at)
        try:
            session.holder.check_gallery(self._gallery)
            self._audit.append(Action.SESSION, caller, change="open", address=address)
        except GalleryRefused:
            self._sessions.close(token)
            self._audit.append(Action.SESSION, caller, change="refuse", address=address)
            raise
        except Exception:
            self._sessions.close(token)
            raise
        if old is not None:
            self._sessions.close(old)
        return token, session

    def close(self, token: str, caller: Caller) -> None:
        """End a session, whether or not that can be recorded.

        Raises:
            StorageUnavailable: The audit log cannot be written.
        """
        self._sessions.close(token)
        self._audit.append(Action.SESSION, caller, change="close")
