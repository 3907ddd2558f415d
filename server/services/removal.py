"""Removing an image, and saying so in the audit log."""

from server.access import Caller
from server.audit import Action, AuditLog
from server.services.catalogue import Catalogue


class Removal:
    """Removes images; the audit log has each before its answer leaves."""

    def __init__(self, catalogue: Catalogue, audit: AuditLog) -> None:
        self._catalogue = catalogue
        self._audit = audit

    def run(self, image_id: str, caller: Caller) -> None:
        """Remove an image.

        Raises:
            ImageUnknown: There is none within the limits of the caller.
            StorageUnavailable: Its file or the audit log cannot be written.
        """
        self._catalogue.remove(image_id, caller.holder)
        self._audit.append(Action.DELETE, caller, image_id=image_id)
