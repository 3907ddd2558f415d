"""The API keys of a data folder: kept as hashes, compared in constant time, read again when they change."""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from index.files import make_folder, sync_folder, write_file
from server.access import LIMITED_ROLES, Holder, Role
from server.errors import KeyRefused, StorageUnavailable
from server.schemas import CameraId, Label

FILE_NAME = "keys.json"
PREFIX = "peca_"
_ID_LENGTH = 8
_LOGGER = logging.getLogger(__name__)


class StoredKey(BaseModel):
    """One key, as it stands in the file.

    Attributes:
        name: Who or what holds the key; stands in the audit log.
        sha256: Of the whole key. A fast hash serves, since the key itself is 256 random bits.
        created_at: When it was made.
        role: What it is for; a file of an earlier version, which knew no roles, holds admin keys.
        camera_ids: The only cameras that it may touch; ``None`` for all.
        galleries: The only galleries, by name, whose servers take it; ``None`` for all.
        requests_per_minute: Its own rate limit; ``None`` for the server's.
        expires_at: From when on it is refused; ``None`` for never.
        revoked_at: When it was revoked; it stays in the file, so that its name is not given again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Label
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: AwareDatetime
    role: Role = Role.ADMIN
    camera_ids: frozenset[CameraId] | None = Field(default=None, min_length=1)
    galleries: frozenset[Label] | None = Field(default=None, min_length=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.camera_ids is not None and self.role not in LIMITED_ROLES:
            raise ValueError(f"limits to cameras are for the roles {', '.join(sorted(LIMITED_ROLES))}")
        return self

    @property
    def key_id(self) -> str:
        """Names this key without telling it."""
        return self.sha256[:_ID_LENGTH]

    @property
    def holder(self) -> Holder:
        """Who holds it."""
        return Holder(
            self.name, self.key_id, self.role, self.camera_ids, self.requests_per_minute, self.galleries
        )

    def usable(self, now: datetime) -> bool:
        """Whether a server takes it at ``now``."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def as_json(self) -> dict[str, Any]:
        """What may be shown and recorded of it: all but its hash."""
        return {"key_id": self.key_id, **self.model_dump(mode="json", exclude={"sha256"}, exclude_none=True)}


class KeyFile(BaseModel):
    """All keys of a data folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: list[StoredKey] = Field(min_length=1)


class KeyStore:
    """The keys that this server takes; a file that changed is read again at the next request.

    Args:
        folder: The data folder.
        on_change: Called with the keys of a file that changed, before any of them is taken.

    Raises:
        StorageUnavailable: The file cannot be read or understood.
    """

    def __init__(
        self, folder: Path, on_change: Callable[[Sequence[StoredKey]], object] | None = None
    ) -> None:
        self._path = folder / FILE_NAME
        self._on_change = on_change
        self._lock = Lock()
        self._seen = self._signature()
        self._keys = read_keys(folder)

    @property
    def keys(self) -> Sequence[StoredKey]:
        """All keys of the file, the revoked ones too.

        Raises:
            StorageUnavailable: The file changed, and cannot be read or understood; no key is taken then.
        """
        with self._lock:
            try:
                self._read_again()
            except StorageUnavailable as error:
                # Whoever asks has shown no key yet, and is not told the folder.
                _LOGGER.error("%s", error)
                raise StorageUnavailable(
                    "the API keys cannot be read now; the server's log says why"
                ) from error
            return self._keys

    def holder(self, key: str) -> Holder:
        """Who ``key`` was made for.

        Raises:
            KeyRefused: No such key, or not any more; every stored one was compared, whichever matches.
            StorageUnavailable: The keys cannot be read.
        """
        return self.stored(sha256_of_key(key)).holder

    def stored(self, sha256: str) -> StoredKey:
        """The key of this SHA-256, where it is taken now.

        Raises:
            KeyRefused: No such key, or not any more; every stored one was compared, whichever matches.
            StorageUnavailable: The keys cannot be read.
        """
        now = datetime.now(UTC)
        matching = [stored for stored in self.keys if hmac.compare_digest(stored.sha256, sha256)]
        if not matching:
            raise KeyRefused(
                "this API key is not one of this server's; check it, or ask its operator for one"
            )
        if not matching[0].usable(now):
            raise KeyRefused("this API key has expired or was revoked; ask the server's operator for another")
        return matching[0]

    def holders(self) -> frozenset[str]:
        """The names that hold a key which the server takes now.

        Raises:
            StorageUnavailable: The keys cannot be read.
        """
        now = datetime.now(UTC)
        return frozenset(key.name for key in self.keys if key.usable(now))

    def usable(self) -> int:
        """How many keys the server takes now."""
        now = datetime.now(UTC)
        return sum(key.usable(now) for key in self.keys)

    def _read_again(self) -> None:
        seen = self._signature()
        if seen == self._seen:
            return
        keys = read_keys(self._path.parent)
        if self._on_change is not None:
            self._on_change(keys)
        self._keys, self._seen = keys, seen

    def _signature(self) -> tuple[int, int, int]:
        """Changes whenever the file is replaced or written."""
        try:
            stat = self._path.stat()
        except OSError as error:
            raise _unreadable(self._path, error) from error
        return stat.st_ino, stat.st_mtime_ns, stat.st_size


def open_keys(
    folder: Path, on_change: Callable[[Sequence[StoredKey]], object] | None = None
) -> tuple[KeyStore, str | None]:
    """Read the keys of ``folder``, or make its first one.

    Returns:
        The store, and the admin key in clear where it was made just now; it cannot be had again.

    Raises:
        StorageUnavailable: The file cannot be read, written or understood.
    """
    if (folder / FILE_NAME).exists():
        return KeyStore(folder, on_change), None
    key, admin = new_key("admin", Role.ADMIN)
    write_keys(folder, [admin])
    return KeyStore(folder, on_change), key


def new_key(name: str, role: Role, **limits: Any) -> tuple[str, StoredKey]:
    """A key in clear, and as it is stored.

    Raises:
        ValidationError: The name or the limits are not such.
    """
    key = PREFIX + secrets.token_urlsafe(32)
    return key, StoredKey(
        name=name, sha256=sha256_of_key(key), created_at=datetime.now(UTC), role=role, **limits
    )


def read_keys(folder: Path) -> list[StoredKey]:
    """The keys of a data folder.

    Raises:
        StorageUnavailable: They cannot be read or understood.
    """
    path = folder / FILE_NAME
    try:
        return KeyFile.model_validate_json(path.read_bytes()).keys
    except (OSError, ValidationError) as error:
        raise _unreadable(path, error) from error


def write_keys(folder: Path, keys: Sequence[StoredKey]) -> None:
    """Replace the keys of a data folder, durably.

    Raises:
        StorageUnavailable: They cannot be written.
    """
    content = KeyFile(keys=list(keys)).model_dump_json(indent=2, exclude_none=True)
    try:
        make_folder(folder)
        write_file(folder / FILE_NAME, content.encode(), drafts=folder)
        sync_folder(folder)
    except OSError as error:
        raise _unreadable(folder / FILE_NAME, error) from error


def _unreadable(path: Path, error: Exception) -> StorageUnavailable:
    return StorageUnavailable(
        f"expected the API keys in {path}, or to write them there: {error}; "
        "mend the folder, or remove the file to have a new admin key made at the next start"
    )


def sha256_of_key(key: str) -> str:
    """The SHA-256 of a key in clear, as it is stored."""
    return hashlib.sha256(key.encode()).hexdigest()
