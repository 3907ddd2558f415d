"""Whether the server can serve: its encoder takes work, its gallery can be read, its disk has room."""

import shutil

from server.batching import EncodingQueue
from server.errors import ServerStopping, StorageUnavailable
from server.services.catalogue import Catalogue
from server.settings import Settings


class Readiness:
    """Tells the truth about the parts that a search or an ingest needs."""

    def __init__(self, settings: Settings, encoding: EncodingQueue, catalogue: Catalogue) -> None:
        self._settings = settings
        self._encoding = encoding
        self._catalogue = catalogue

    def check(self) -> None:
        """Pass where all is well.

        Raises:
            ServerStopping: The encoder takes no work.
            GalleryUnavailable: The gallery cannot be read now.
            StorageUnavailable: Less of the disk is left than ``min_free_disk_bytes``.
        """
        if not self._encoding.alive:
            raise ServerStopping("the encoder takes no work: the server is stopping, or its encoder failed")
        self._catalogue.check_readable()
        check_space(self._settings)


def disk_left(settings: Settings) -> int:
    """Bytes left on the disk of the data folder.

    Raises:
        StorageUnavailable: The folder cannot be read.
    """
    try:
        return shutil.disk_usage(settings.data_folder).free
    except OSError as error:
        raise StorageUnavailable(f"the data folder {settings.data_folder} cannot be read: {error}") from error


def check_space(settings: Settings) -> None:
    """Refuse where the disk is nearly full, so that searches can still be written down.

    Raises:
        StorageUnavailable: Less is left than ``min_free_disk_bytes``.
    """
    left = disk_left(settings)
    if left < settings.min_free_disk_bytes:
        raise StorageUnavailable(
            f"expected at least {settings.min_free_disk_bytes:,} bytes free on the disk of the data folder, "
            f"found {left:,}; make room, or lower min_free_disk_bytes"
        )
