"""The API keys of a server, for its admins: what the server tells of them, and the calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from urllib.parse import quote

import httpx

from peca_client.calls import Call, listed
from peca_client.errors import InvalidArgument
from peca_client.models import moment
from peca_client.pages import Part
from peca_client.retry import Again


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of a server.

    Attributes:
        key_id: Names it.
        name: Its holder.
        role: ``camera``, ``operator``, ``auditor`` or ``admin``.
        camera_ids: The only cameras that it may touch; ``None`` for all.
        created_at: When it was made, UTC.
        expires_at: From when on it is refused, UTC; ``None`` for never.
        revoked_at: When it was revoked, UTC; ``None`` where it was not.
        key: The key itself; only in the answer to making it.
        requests_per_minute: Its own rate limit; ``None`` for the server's.
        galleries: The only galleries that it may ask, by the setting ``gallery_name`` of their servers;
            ``None`` for all.
    """

    key_id: str
    name: str
    role: str
    camera_ids: tuple[str, ...] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    key: str | None = None
    requests_per_minute: int | None = None
    galleries: tuple[str, ...] | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read an item of ``GET /keys``, or the answer of ``POST /keys``."""
        cameras, galleries = value["camera_ids"], value.get("galleries")
        return cls(
            key_id=str(value["key_id"]),
            name=str(value["name"]),
            role=str(value["role"]),
            camera_ids=None if cameras is None else tuple(cameras),
            created_at=moment(value["created_at"]),
            expires_at=None if value["expires_at"] is None else moment(value["expires_at"]),
            revoked_at=None if value["revoked_at"] is None else moment(value["revoked_at"]),
            key=value.get("key"),
            requests_per_minute=value.get("requests_per_minute"),
            galleries=None if galleries is None else tuple(galleries),
        )


def keys(cursor: str | None) -> Call[Part[ApiKey]]:
    """``GET /keys``."""
    return listed("/keys", ApiKey.from_json, cursor)


def create_key(
    name: str,
    role: str,
    camera_ids: Sequence[str] | None,
    expires_at: datetime | None,
    requests_per_minute: int | None,
    galleries: Sequence[str] | None,
) -> Call[ApiKey]:
    """``POST /keys``; a lost answer is not asked for again, since a name is given once."""
    if expires_at is not None and expires_at.utcoffset() is None:
        raise InvalidArgument(f"expires_at must carry a time zone, got {expires_at.isoformat()}")
    body: dict[str, Any] = {
        "name": name,
        "role": str(role),
        "camera_ids": None if camera_ids is None else list(camera_ids),
        "expires_at": None if expires_at is None else expires_at.isoformat(),
        "requests_per_minute": requests_per_minute,
        "galleries": None if galleries is None else list(galleries),
    }
    given = {member: value for member, value in body.items() if value is not None}
    return Call("POST", "/keys", _read_key, body=given, again=Again.UNDONE)


def rotate_key(key_id: str, overlap_hours: float) -> Call[ApiKey]:
    """``POST /keys/{key_id}/rotate``."""
    body: dict[str, Any] = {"overlap_hours": overlap_hours}
    return Call("POST", f"{_path(key_id)}/rotate", _read_key, body=body, again=Again.UNDONE)


def revoke_key(key_id: str) -> Call[None]:
    """``DELETE /keys/{key_id}``."""
    return Call("DELETE", _path(key_id), _read_nothing)


def _path(key_id: str) -> str:
    if not key_id or key_id in (".", ".."):
        raise InvalidArgument(f"key_id must name a key, got {key_id!r}")
    return f"/keys/{quote(key_id, safe='')}"


def _read_key(response: httpx.Response) -> ApiKey:
    return ApiKey.from_json(response.json())


def _read_nothing(response: httpx.Response) -> None:
    if not response.is_success:
        raise ValueError("expected a success")
