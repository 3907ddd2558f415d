"""The API keys of the server, for its admins."""

from datetime import datetime, timedelta
from typing import Annotated, Self

from fastapi import Body, Response
from pydantic import BaseModel, ConfigDict, Field

from server.access import Permission, Role
from server.auth import TheCaller, keyed_router, needs
from server.keyring import KeyRing
from server.keys import StoredKey
from server.parts import OpenParts
from server.routes.filters import ONCE, TheNumberedList
from server.schemas import CameraId, Instant, Label, Name

router = keyed_router("keys")

_MOST_REQUESTS = 1_000_000
_MOST_HOURS = 24 * 366


class KeyWanted(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name = Field(description="Of the one person or device that holds it; given once, never again.")
    role: Role
    camera_ids: list[CameraId] | None = Field(
        None, min_length=1, description="Only these cameras; for camera and operator keys."
    )
    galleries: list[Label] | None = Field(
        None, min_length=1, description="Only servers whose setting `gallery_name` is one of these."
    )
    expires_at: Instant | None = Field(None, description="Refused from then on; ISO 8601 with zone.")
    requests_per_minute: int | None = Field(
        None, ge=1, le=_MOST_REQUESTS, description="Its own rate limit; the server's where not given."
    )


class KeyRotation(BaseModel):
    """How a key is replaced."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    overlap_hours: float = Field(
        0.0, ge=0, le=_MOST_HOURS, description="How long the old key is still taken."
    )


class Key(BaseModel):
    """A key, without what would let anybody use it."""

    key_id: str
    name: str
    role: Role
    camera_ids: list[str] | None = Field(description="The only cameras that it may touch; null for all.")
    galleries: list[str] | None = Field(description="The only galleries that it is for; null for all.")
    requests_per_minute: int | None = Field(description="Null for the server's limit.")
    created_at: datetime = Field(description="UTC.")
    expires_at: datetime | None = Field(description="UTC; null for never.")
    revoked_at: datetime | None = Field(description="UTC; null where it was not.")

    @classmethod
    def of(cls, stored: StoredKey) -> Self:
        """What may be told of a stored key."""
        return cls.model_validate(_told(stored))


class KeyMade(Key):
    """A key just made; it is shown this once, and kept as a hash alone."""

    key: str = Field(description="The key itself.")


class KeysAnswer(BaseModel):
    """The keys of the server, the revoked and expired ones too, oldest first."""

    items: list[Key]
    next_cursor: str | None = Field(description="Asks for the next ones; null where there are none.")


@router.get("/keys", summary="List the API keys", dependencies=[ONCE], openapi_extra=needs(Permission.KEYS))
def list_keys(parts: OpenParts, caller: TheCaller, page: TheNumberedList) -> KeysAnswer:
    """Every key ever made here; a key itself is never kept and cannot be shown. The reading is recorded."""
    begin = page.last or 0
    end = begin + page.limit
    parts.review.keys(caller)
    # None is ever taken off the list, and a new one comes to its end.
    stored = sorted(parts.keys.keys, key=lambda key: key.created_at)
    return KeysAnswer(
        items=[Key.of(key) for key in stored[begin:end]],
        next_cursor=str(end) if end < len(stored) else None,
    )


@router.post("/keys", summary="Make an API key", status_code=201, openapi_extra=needs(Permission.KEYS))
def make_key(parts: OpenParts, caller: TheCaller, wanted: KeyWanted) -> KeyMade:
    """Make a key and show it this once; it can be used at once."""
    key, stored = KeyRing(parts.settings.data_folder, caller).create(**dict(wanted))
    return _made(key, stored)


@router.post(
    "/keys/{key_id}/rotate",
    summary="Replace an API key",
    status_code=201,
    openapi_extra=needs(Permission.KEYS),
)
def rotate_key(
    parts: OpenParts,
    caller: TheCaller,
    key_id: str,
    rotation: Annotated[KeyRotation, Body(default_factory=KeyRotation)],
) -> KeyMade:
    """Replace the keys of a key's holder by a new one of the same role, limits and expiry."""
    ring = KeyRing(parts.settings.data_folder, caller)
    return _made(*ring.rotate(ring.live(key_id).name, timedelta(hours=rotation.overlap_hours)))


@router.delete(
    "/keys/{key_id}",
    summary="Revoke an API key",
    status_code=204,
    response_class=Response,
    openapi_extra=needs(Permission.KEYS),
)
def revoke_key(parts: OpenParts, caller: TheCaller, key_id: str) -> None:
    """Refuse a key and its sessions from now on; the last admin key is kept.

    The watchlists of its holder end with the last key of that name.
    """
    KeyRing(parts.settings.data_folder, caller).revoke_one(key_id)


def _made(key: str, stored: StoredKey) -> KeyMade:
    return KeyMade.model_validate({**_told(stored), "key": key})


def _told(stored: StoredKey) -> dict[str, object]:
    limits = {
        name: None if values is None else sorted(values)
        for name, values in (("camera_ids", stored.camera_ids), ("galleries", stored.galleries))
    }
    return {**stored.model_dump(exclude={"sha256"}), **limits, "key_id": stored.key_id}
