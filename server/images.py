"""The image files of a data folder, by ``image_id``, and their thumbnails."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

from exporter.preprocess import open_image
from server.errors import StorageUnavailable
from server.files import make_folder, sync_folder, sync_folders, write_file
from server.settings import LARGEST_IMAGE_PIXELS

FOLDER_NAME = "images"
THUMBNAIL_HEIGHT = 256
THUMBNAIL_MAX_WIDTH = 1024
_QUALITY = 85


class ImageStore:
    """Image files under a folder, as they came; safe to call from several threads.

    A file is named by the SHA-256 of its ``image_id``: ids that differ only in case stay apart on
    every file system, and no id can name a path.

    Args:
        folder: Of one store at a time; drafts that a power cut left in it are removed.

    Raises:
        StorageUnavailable: The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._drafts = folder / "drafts"
        try:
            make_folder(self._drafts)
            for left in self._drafts.iterdir():
                left.unlink()
        except OSError as error:
            raise StorageUnavailable(f"image files cannot be kept under {folder}: {error}") from error

    def write(self, files: Mapping[str, bytes]) -> None:
        """Put the files of these images; all are durable when this returns.

        Raises:
            StorageUnavailable: The disk refuses; some of them may be stored.
        """
        paths = {image_id: self._path(image_id) for image_id in files}
        try:
            for image_id, data in files.items():
                make_folder(paths[image_id].parent)
                write_file(paths[image_id], data, self._drafts)
            sync_folders(path.parent for path in paths.values())
        except OSError as error:
            raise StorageUnavailable(f"image files cannot be written under {self.folder}: {error}") from error

    def read(self, image_id: str) -> bytes | None:
        """The file of an image as it came, or ``None``.

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
        name = hashlib.sha256(image_id.encode()).hexdigest()
        return self.folder / name[:2] / name


def thumbnail(data: bytes) -> bytes:
    """A small upright JPEG of a stored image, without metadata.

    Args:
        data: An image file that was accepted before.

    Returns:
        A JPEG file at most ``THUMBNAIL_HEIGHT`` pixels high.
    """
    image = open_image(data, max_pixels=LARGEST_IMAGE_PIXELS)
    image.thumbnail((THUMBNAIL_MAX_WIDTH, THUMBNAIL_HEIGHT))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
