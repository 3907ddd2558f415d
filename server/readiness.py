"""Whether the server can serve: encoder, gallery, keys, audit log and disks do what is asked of them."""

import shutil

from server.audit import AuditLog
from server.batching import EncodingQueue
from server.errors import ServerStopping, StorageUnavailable
from server.keys import KeyStore
from server.services.catalogue import Catalogue
from server.services.encoder import CurrentEncoder
from server.settings import Settings


class Readiness:
    """Tells the truth about the parts that a search or an ingest needs.

    What failed when it was used last is tried again, so that a server that is sent no more requests is
    found well once it is.
    """

    def __init__(
        self,
        settings: Settings,
        encoder: CurrentEncoder,
        encoding: EncodingQueue,
        catalogue: Catalogue,
        keys: KeyStore,
        audit: AuditLog,
    ) -> None:
        self._settings = settings
        self._encoder = encoder
        self._encoding = encoding
        self._catalogue = catalogue
        self._keys = keys
        self._audit = audit

    def check(self) -> None:
        """Pass where all is well.

        Raises:
            ServerStopping: The encoder takes no work.
            EncoderFails: It took the last batch, and failed on it.
            GalleryUnavailable: The gallery cannot be read now.
            StorageUnavailable: The audit log cannot be written, the keys cannot be read, or less of a disk is
                left than ``min_free_disk_bytes``.
        """
        if not self._encoding.alive:
            raise ServerStopping("the encoder takes no work: the server is stopping, or its encoder failed")
        self._encoder.check()
        self._catalogue.check_readable()
        self._audit.check()
        self._keys.usable()
        check_space(self._settings)


def disk_left(settings: Settings) -> int:
    """Bytes left on the disk of the data folder, or of an embedded gallery where that has less.

    Raises:
        StorageUnavailable: A folder cannot be read.
    """
    try:
        return min(shutil.disk_usage(folder).free for folder in settings.folders)
    except OSError as error:
        raise StorageUnavailable(f"the data folder {error.filename} cannot be read: {error}") from error


def check_space(settings: Settings) -> None:
    """Refuse where the disk is nearly full, so that searches can still be written down.

    Raises:
        StorageUnavailable: Less is left than ``min_free_disk_bytes``.
    """
    left = disk_left(settings)
    if left < settings.min_free_disk_bytes:
        raise StorageUnavailable(
            f"expected at least {settings.min_free_disk_bytes:,} bytes free on each disk in use, found "
            f"{left:,}; make room, or lower min_free_disk_bytes"
        )
