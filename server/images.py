"""The image files of a data folder, by ``image_id``, and their thumbnails."""

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from exporter.preprocess import FORMATS, open_image
from index.files import make_folder, sync_folder, write_files
from index.images import DRAFTS_NAME, image_path, remove_drafts
from server.errors import StorageUnavailable
from server.limits import SHOWN
from server.settings import LARGEST_IMAGE_PIXELS

THUMBNAIL_HEIGHT = 256
THUMBNAIL_MAX_WIDTH = 1024
_QUALITY = 85
_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "TIFF": "tif"}
MEDIA_TYPES = {
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "bmp": "image/bmp",
    "tif": "image/tiff",
}


class ImageStore:
    """Image files under a folder, each as it is given; safe to call from several threads.

    Args:
        folder: Of one store at a time; drafts that a power cut left in it are removed.

    Raises:
        StorageUnavailable: The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._drafts = folder / DRAFTS_NAME
        try:
            make_folder(self._drafts)
            remove_drafts(folder)
        except OSError as error:
            raise StorageUnavailable(f"image files cannot be kept under {folder}: {error}") from error

    def write(self, files: Mapping[str, bytes]) -> None:
        """Put the files of these images; all are durable when this returns.

        Raises:
            StorageUnavailable: The disk refuses; some of them may be stored.
        """
        try:
            write_files({self._path(image_id): data for image_id, data in files.items()}, self._drafts)
        except OSError as error:
            raise StorageUnavailable(f"image files cannot be written under {self.folder}: {error}") from error

    def read(self, image_id: str) -> bytes | None:
        """The file of an image, or ``None``.

        Raises:
            StorageUnavailable: The file is there and cannot be read.
        """
        try:
            return self._path(image_id).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageUnavailable(f"an image file cannot be read under {self.folder}: {error}") from error

    def remove(self, image_id: str) -> None:
        """Remove the file of an image, durably; does nothing where there is none.

        Raises:
            StorageUnavailable: The disk refuses.
        """
        path = self._path(image_id)
        try:
            if path.exists():
                path.unlink()
                sync_folder(path.parent)
        except OSError as error:
            raise StorageUnavailable(
                f"an image file cannot be removed under {self.folder}: {error}"
            ) from error

    def _path(self, image_id: str) -> Path:
        return image_path(self.folder, image_id)


def thumbnail(data: bytes) -> bytes:
    """A small upright JPEG of a stored image, without metadata.

    Args:
        data: An image file that was accepted before.

    Returns:
        A JPEG file at most ``THUMBNAIL_HEIGHT`` pixels high.

    Raises:
        DeadlinePassed: The request's time is over before its turn to decode.
        ClientLeft: Nobody waits for it any more.
    """
    with SHOWN.turn():
        image = open_image(data, max_pixels=LARGEST_IMAGE_PIXELS, least_side=2 * THUMBNAIL_HEIGHT)
        image.thumbnail((THUMBNAIL_MAX_WIDTH, THUMBNAIL_HEIGHT))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def suffix(data: bytes) -> str:
    """What the name of a stored image's file ends in, without the dot."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return _SUFFIXES[image.format or ""]
