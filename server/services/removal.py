"""Removing images, and saying so in the audit log."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from index.errors import InvalidInput
from index.records import ANY, CameraSummary, Where
from server.access import Caller
from server.audit import Action, AuditLog
from server.services.catalogue import Catalogue
from server.services.search import filters_json

_CHUNK = 500


class Removal:
    """Removes images; the audit log has each before it is gone, so that no end of the server hides one."""

    def __init__(self, catalogue: Catalogue, audit: AuditLog) -> None:
        self._catalogue = catalogue
        self._audit = audit

    def run(self, image_id: str, caller: Caller) -> None:
        """Remove an image.

        Raises:
            ImageUnknown: There is none within the limits of the caller.
            StorageUnavailable: Its file or the audit log cannot be written.
        """
        self._catalogue.get(image_id, caller.holder)
        with self._recorded(caller, image_id=image_id):
            self._catalogue.remove(image_id, caller.holder)

    def run_filter(self, where: Where, dry_run: bool, caller: Caller) -> tuple[int, list[CameraSummary]]:
        """Remove every image that passes a filter when this begins, or only count them.

        Each part of a long removal stands in the audit log with its ids before it begins.

        Args:
            where: The filter; at least one condition.
            dry_run: Remove nothing.
            caller: Who asks.

        Returns:
            How many images, and the same by camera and modality.

        Raises:
            InvalidInput: The filter has no condition.
            UnknownCamera: It names a camera that the gallery has never seen.
            StorageUnavailable: A file or the audit log cannot be written; a part may be removed.
        """
        if where == ANY:
            raise InvalidInput(
                "a removal needs a filter: modality, camera_ids, exclude_camera_ids, after, before, "
                "person_ids or track_ids"
            )
        within = self._catalogue.narrowed(where, caller.holder)
        cameras = self._catalogue.cameras(caller.holder, within)
        if dry_run:
            return sum(camera.count for camera in cameras), cameras
        return sum(self._remove(within, caller)), cameras

    def run_due(self, where: Where) -> Iterator[int]:
        """Remove, of the server's own accord, every image that passes a filter of the gallery's retention.

        Returns:
            How many images each part was of.

        Raises:
            StorageUnavailable: As ``run_filter`` says.
        """
        return self._remove(where, None, by="retention")

    def _remove(self, within: Where, caller: Caller | None, **facts: str) -> Iterator[int]:
        image_ids = [record.image_id for record in self._catalogue.records(within)]
        for start in range(0, len(image_ids), _CHUNK):
            part = image_ids[start : start + _CHUNK]
            with self._recorded(caller, filters=filters_json(within), image_ids=part, **facts):
                removed = self._catalogue.remove_all(part)
            yield removed

    @contextmanager
    def _recorded(
        self, caller: Caller | None, **facts: str | Sequence[str] | dict[str, Any]
    ) -> Iterator[None]:
        """Record a removal and then let it be done; where it fails, a second record says so."""
        self._audit.append(Action.DELETE, caller, **facts)
        try:
            yield
        except Exception as error:
            self._audit.append(Action.DELETE, caller, **facts, failed=type(error).__name__)
            raise
