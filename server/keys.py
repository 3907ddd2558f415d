"""The API keys of a data folder: kept as hashes, compared in constant time."""

import hashlib
import hmac
import secrets
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from server.errors import KeyRefused, StorageUnavailable
from server.files import make_folder, sync_folder, write_file

FILE_NAME = "keys.json"
PREFIX = "peca_"


class StoredKey(BaseModel):
    """One key, as it stands in the file.

    Attributes:
        name: Who or what holds the key; stands in the audit log.
        sha256: Of the whole key. A fast hash serves, since the key itself is 256 random bits.
        created_at: When it was made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: AwareDatetime


class _KeyFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: list[StoredKey] = Field(min_length=1)


class KeyStore:
    """The keys that this server takes."""

    def __init__(self, keys: list[StoredKey]) -> None:
        self._keys = keys

    def holder(self, key: str) -> str:
        """The name that ``key`` was made for.

        Raises:
            KeyRefused: No such key; every stored one was compared, whichever matches.
        """
        offered = _sha256(key)
        names = [stored.name for stored in self._keys if hmac.compare_digest(stored.sha256, offered)]
        if not names:
            raise KeyRefused(
                "this API key is not one of this server's; check it, or ask its operator for one"
            )
        return names[0]


def open_keys(folder: Path) -> tuple[KeyStore, str | None]:
    """Read the keys of ``folder``, or make its first one.

    Returns:
        The store, and the admin key in clear where it was made just now; it cannot be had again.

    Raises:
        StorageUnavailable: The file cannot be read, written or understood.
    """
    path = folder / FILE_NAME
    try:
        if path.exists():
            return KeyStore(_KeyFile.model_validate_json(path.read_bytes()).keys), None
        key = PREFIX + secrets.token_urlsafe(32)
        admin = StoredKey(name="admin", sha256=_sha256(key), created_at=datetime.now(UTC))
        make_folder(folder)
        write_file(path, _KeyFile(keys=[admin]).model_dump_json(indent=2).encode(), drafts=folder)
        sync_folder(folder)
    except (OSError, ValidationError) as error:
        raise StorageUnavailable(
            f"expected the API keys in {path}, or to write them there: {error}; "
            "mend the folder, or remove the file to have a new admin key made"
        ) from error
    return KeyStore([admin]), key


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
