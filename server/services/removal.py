"""Removing an image, and saying so in the audit log."""

from server.audit import AuditLog
from server.services.catalogue import Catalogue


class Removal:
    """Removes images; the audit log has each before its answer leaves."""

    def __init__(self, catalogue: Catalogue, audit: AuditLog) -> None:
        self._catalogue = catalogue
        self._audit = audit

    def run(self, image_id: str, key_name: str) -> None:
        """Remove an image.

        Raises:
            ImageUnknown: There is none.
            StorageUnavailable: Its file or the audit log cannot be written.
        """
        self._catalogue.remove(image_id)
        self._audit.append("delete", key_name, image_id=image_id)
