"""Who may do what: roles, what each permits, and the holder of a key with its limits."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from index.records import ImageRecord, Where
from server.errors import CameraRefused, GalleryRefused, RoleRefused


class Permission(StrEnum):
    """What a route asks of a key."""

    INGEST = "ingest"
    SEARCH = "search"
    VIEW = "view"
    VERDICT = "verdict"
    SEARCH_RECORD = "search-record"
    EXPORT = "export"
    AUDIT = "audit"
    REMOVE = "remove"
    ENCODER = "encoder"
    METRICS = "metrics"
    WATCH = "watch"
    KEYS = "keys"
    SESSION = "session"
    DOCUMENT = "document"


class Role(StrEnum):
    """What a key is for."""

    CAMERA = "camera"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"


_ALL = {Permission.SESSION, Permission.DOCUMENT}
_OPERATOR = {
    Permission.SEARCH,
    Permission.VIEW,
    Permission.VERDICT,
    Permission.SEARCH_RECORD,
    Permission.EXPORT,
    Permission.WATCH,
}
GRANTS: dict[Role, frozenset[Permission]] = {
    Role.CAMERA: frozenset({*_ALL, Permission.INGEST}),
    Role.OPERATOR: frozenset({*_ALL, *_OPERATOR}),
    Role.AUDITOR: frozenset({*_ALL, Permission.AUDIT, Permission.SEARCH_RECORD}),
    Role.ADMIN: frozenset(Permission),
}
LIMITED_ROLES = frozenset({Role.CAMERA, Role.OPERATOR})


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a key.

    Attributes:
        name: Of the person or device; stands in the audit log.
        key_id: Names the key itself, of which a holder may have had several.
        role: What the key is for.
        camera_ids: The only cameras that the key may touch; ``None`` for all.
        requests_per_minute: The key's own rate limit; ``None`` for the server's.
        galleries: The only galleries, by name, whose servers take the key; ``None`` for all.
    """

    name: str
    key_id: str
    role: Role
    camera_ids: frozenset[str] | None = None
    requests_per_minute: int | None = None
    galleries: frozenset[str] | None = None

    def may(self, permission: Permission) -> bool:
        """Whether the role permits it."""
        return permission in GRANTS[self.role]

    def check(self, permission: Permission) -> None:
        """Refuse what the role does not permit.

        Raises:
            RoleRefused: It does not.
        """
        if not self.may(permission):
            able = ", ".join(role for role in Role if permission in GRANTS[role])
            raise RoleRefused(
                f"this needs a key of the role {able.replace(', ', ' or ')}; the key of {self.name!r} is of "
                f"the role {self.role}"
            )

    def check_gallery(self, gallery: str) -> None:
        """Refuse a gallery beyond the key's.

        Raises:
            GalleryRefused: It is.
        """
        if self.galleries is not None and gallery not in self.galleries:
            raise GalleryRefused(
                f"the key of {self.name!r} is not for the gallery {gallery!r} of this server"
            )

    def check_cameras(self, camera_ids: Collection[str]) -> None:
        """Refuse cameras beyond the key's.

        Raises:
            CameraRefused: There are some.
        """
        if beyond := sorted(set(camera_ids) - self.camera_ids) if self.camera_ids is not None else []:
            raise CameraRefused(f"the key of {self.name!r} is not for the cameras {', '.join(beyond)}")

    def sees_camera(self, camera_id: str) -> bool:
        """Whether the camera is within the key's limits."""
        return self.camera_ids is None or camera_id in self.camera_ids

    def sees(self, record: ImageRecord) -> bool:
        """Whether the image's camera is within the key's limits."""
        return self.sees_camera(record.camera_id)

    def narrowed(self, where: Where) -> Where:
        """``where`` within the key's cameras; never wider than it was."""
        if self.camera_ids is None:
            return where
        if where.camera_ids is None:
            return replace(where, camera_ids=self.camera_ids)
        return replace(where, camera_ids=self.camera_ids & frozenset(where.camera_ids))


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of the key of one request, and when the request began (UTC)."""

    holder: Holder
    began_at: datetime
