"""Making, revoking and rotating the API keys of a data folder, also beside a running server."""

import fcntl
import getpass
import os
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from index.errors import InvalidInput
from server.access import Caller, Role
from server.audit import Action, AuditLog
from server.errors import KeyNameTaken, KeyUnknown, LastAdminKey
from server.keys import FILE_NAME, StoredKey, new_key, read_keys, write_keys
from server.schemas import validation_errors


class KeyRing:
    """The keys of a data folder; each change is in the audit log before it takes effect.

    Args:
        folder: The data folder.
        caller: Who changes them over HTTP; ``None`` for the user of this process.

    Raises:
        InvalidInput: There is no such folder.
    """

    def __init__(self, folder: Path, caller: Caller | None = None) -> None:
        if not folder.is_dir():
            raise InvalidInput(
                f"there is no data folder {folder}; name the server's, or start the server once to make it"
            )
        self._folder = folder
        self._caller = caller

    def stored(self) -> list[StoredKey]:
        """All keys, the revoked ones too; none where the folder has no key file yet."""
        return read_keys(self._folder) if (self._folder / FILE_NAME).exists() else []

    def create(
        self,
        name: str,
        role: Role,
        *,
        camera_ids: Collection[str] | None = None,
        galleries: Collection[str] | None = None,
        expires_at: datetime | None = None,
        requests_per_minute: int | None = None,
    ) -> tuple[str, StoredKey]:
        """Make a key.

        Args:
            name: Of the person or device that holds it; never used before, so that the audit log's names
                stay those of one holder each.
            role: What it is for.
            camera_ids: The only cameras that it may touch; ``None`` for all.
            galleries: The only galleries, by name, whose servers take it; ``None`` for all.
            expires_at: From when on it is refused; ``None`` for never.
            requests_per_minute: Its own rate limit; ``None`` for the server's.

        Returns:
            The key in clear, which cannot be had again, and as it is stored.

        Raises:
            KeyNameTaken: The name is taken.
            InvalidInput: The name or a limit is not one.
            StorageUnavailable: The keys or the audit log cannot be written.
        """
        # Not of ``StoredKey``, since a file of an earlier version may hold such a name.
        if not name.strip():
            raise InvalidInput("the key cannot be made: its name must hold more than blanks")
        with self._alone():
            keys = self.stored()
            if any(stored.name == name for stored in keys):
                raise KeyNameTaken(
                    f"the name {name!r} is taken, or was by a revoked key, and stands in the audit log; "
                    "choose another, or rotate that key"
                )
            limits = {
                "camera_ids": None if camera_ids is None else frozenset(camera_ids),
                "galleries": None if galleries is None else frozenset(galleries),
                "expires_at": _to_come(expires_at),
                "requests_per_minute": requests_per_minute,
            }
            key, stored = _made(name, role, limits)
            self._change([*keys, stored], "create", stored)
        return key, stored

    def revoke(self, name: str, *, force: bool = False) -> list[StoredKey]:
        """Refuse the keys of ``name`` from now on.

        Args:
            name: The holder.
            force: Even where no admin key would be left.

        Returns:
            What was revoked.

        Raises:
            InvalidInput: The name holds no key that could be revoked.
            LastAdminKey: No admin key would be left.
            StorageUnavailable: The keys or the audit log cannot be written.
        """
        with self._alone():
            keys, live = self._of(name)
            return self._revoke(keys, live, force)

    def revoke_one(self, key_id: str) -> StoredKey:
        """Refuse one key from now on; others of the same name are still taken.

        Raises:
            KeyUnknown: There is no such key, or it was revoked before.
            LastAdminKey: No admin key would be left.
            StorageUnavailable: The keys or the audit log cannot be written.
        """
        with self._alone():
            return self._revoke(self.stored(), [self.live(key_id)], force=False)[0]

    def live(self, key_id: str) -> StoredKey:
        """The key of this id.

        Raises:
            KeyUnknown: There is none that was not revoked.
        """
        found = [key for key in self.stored() if key.key_id == key_id and key.revoked_at is None]
        if not found:
            raise KeyUnknown(f"this server has no key {key_id!r} in use; GET /keys lists them")
        return found[0]

    def rotate(self, name: str, overlap: timedelta = timedelta()) -> tuple[str, StoredKey]:
        """Replace the key of ``name`` by a new one with the same role, limits and expiry.

        Args:
            name: The holder.
            overlap: How long the old key is still taken.

        Returns:
            The new key in clear, and as it is stored.

        Raises:
            InvalidInput: The name holds no key that could be rotated, or its key has expired.
            StorageUnavailable: The keys or the audit log cannot be written.
        """
        with self._alone():
            now = datetime.now(UTC)
            keys, live = self._of(name)
            newest = max(live, key=lambda key: key.created_at)
            if not newest.usable(now):
                raise InvalidInput(f"the key of {name!r} has expired; create one under another name")
            kept = newest.model_dump(include={"camera_ids", "galleries", "expires_at", "requests_per_minute"})
            key, stored = _made(name, newest.role, kept)
            old = [_ended(one, now + overlap) if overlap else _revoked(one, now) for one in live]
            self._change([*(one for one in keys if one not in live), *old, stored], "rotate", stored)
        return key, stored

    def _revoke(self, keys: list[StoredKey], live: list[StoredKey], force: bool) -> list[StoredKey]:
        now = datetime.now(UTC)
        revoked = [_revoked(key, now) for key in live]
        left = [key for key in keys if key not in live]
        if not force and _admins(keys, now) and not _admins(left, now):
            raise LastAdminKey(
                f"no admin key would be left without that of {live[0].name!r}; make another first "
                "(peca keys create NAME --role admin), or on the server's machine: peca keys revoke --force"
            )
        self._change([*left, *revoked], "revoke", *revoked)
        return revoked

    def _of(self, name: str) -> tuple[list[StoredKey], list[StoredKey]]:
        """All keys, and those of ``name`` that were not revoked."""
        keys = self.stored()
        live = [key for key in keys if key.name == name and key.revoked_at is None]
        if not live:
            held = sorted({key.name for key in keys if key.revoked_at is None})
            raise InvalidInput(f"{name!r} holds no key; those who do: {', '.join(held) or 'nobody'}")
        return keys, live

    def _change(self, keys: list[StoredKey], change: str, *changed: StoredKey) -> None:
        with closing(AuditLog(self._folder)) as audit:
            told = [key.as_json() for key in changed]
            who = {"os_user": os_user()} if self._caller is None else {}
            audit.append(Action.KEYS, self._caller, change=change, keys=told, **who)
        write_keys(self._folder, keys)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep out other changes of the keys; the kernel lets go however the process ends."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def os_user() -> str:
    """Who runs this process; by number where the system knows no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _made(name: str, role: Role, limits: dict[str, Any]) -> tuple[str, StoredKey]:
    try:
        return new_key(name, role, **limits)
    except ValidationError as error:
        errors = validation_errors(list(error.errors()))
        told = [": ".join(filter(None, one.values())) for one in errors]
        raise InvalidInput(f"the key cannot be made: {'; '.join(told)}") from None


def _admins(keys: Collection[StoredKey], now: datetime) -> int:
    """How many of the keys are of an admin, and taken at ``now``."""
    return sum(key.role is Role.ADMIN and key.usable(now) for key in keys)


def _to_come(moment: datetime | None) -> datetime | None:
    if moment is not None and moment.utcoffset() is not None and moment <= datetime.now(UTC):
        raise InvalidInput(f"a key must expire in the future, got {moment.isoformat()}")
    return moment


def _revoked(key: StoredKey, now: datetime) -> StoredKey:
    return key.model_copy(update={"revoked_at": now})


def _ended(key: StoredKey, at: datetime) -> StoredKey:
    """``key`` with its end at ``at``, or at its own where that is sooner."""
    return key.model_copy(update={"expires_at": min(at, key.expires_at or at)})
