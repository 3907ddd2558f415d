"""Records in the gallery and image files in the store, kept together."""

from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from index.errors import UnknownCamera
from index.gallery import AddReport, Gallery
from index.records import CameraSummary, Hit, ImageRecord, Where
from server.access import Holder
from server.errors import ImageFileMissing, ImageUnknown
from server.images import ImageStore, thumbnail
from server.schemas import Status


class Catalogue:
    """The images of this server; safe to call from several threads.

    The gallery holds the truth: an image exists if its record does. A file is written after its record
    and removed before it, so a power cut can leave a record without its file, which a repeated ingest
    or removal mends, and never a person's picture without a record.
    """

    def __init__(self, gallery: Gallery, images: ImageStore) -> None:
        self._gallery = gallery
        self._images = images
        self._writing = Lock()

    def add(
        self, records: Sequence[ImageRecord], vectors: NDArray[np.float32], files: Sequence[bytes]
    ) -> AddReport:
        """Store N images with their (N, D) vectors and files; when this returns they survive a power cut."""
        files_by_id = {record.image_id: data for record, data in zip(records, files, strict=True)}
        with self._writing:
            report = self._gallery.add(records, vectors)
            self._images.write(
                {image_id: files_by_id[image_id] for image_id in report.added + report.unchanged}
            )
        return report

    def compare(self, record: ImageRecord, data: bytes) -> Status | None:
        """``unchanged`` or ``conflict`` with what stands; ``None`` where record or file is missing."""
        stored = self._gallery.get(record.image_id)
        if stored is None:
            return None
        if stored != record:
            return Status.CONFLICT
        stored_file = self._images.read(record.image_id)
        if stored_file is None:
            return None
        return Status.UNCHANGED if stored_file == data else Status.CONFLICT

    def get(self, image_id: str, holder: Holder) -> ImageRecord:
        """The record of an image.

        Raises:
            ImageUnknown: There is none within the limits of ``holder``.
        """
        record = self._gallery.get(image_id)
        if record is None or not holder.sees(record):
            raise ImageUnknown(f"the gallery holds no image {image_id!r}")
        return record

    def thumbnail(self, image_id: str, holder: Holder) -> bytes:
        """A small JPEG of an image.

        Raises:
            ImageUnknown: There is no such image within the limits of ``holder``.
            ImageFileMissing: Its file was never stored here; ingest it again.
        """
        self.get(image_id, holder)
        data = self._images.read(image_id)
        if data is None:
            raise ImageFileMissing(f"the file of image {image_id!r} is not stored; ingest the image again")
        return thumbnail(data)

    def remove(self, image_id: str, holder: Holder) -> None:
        """Remove an image, durably.

        Raises:
            ImageUnknown: There is none within the limits of ``holder``.
        """
        with self._writing:
            self.get(image_id, holder)
            self._images.remove(image_id)
            self._gallery.remove(Where(image_ids={image_id}))

    def narrowed(self, where: Where, holder: Holder) -> Where:
        """``where`` within the limits of ``holder``, for whom other cameras do not exist.

        Raises:
            UnknownCamera: The filter names a camera that the gallery has never seen.
        """
        self._check_cameras(where, holder)
        return holder.narrowed(where)

    def search(self, query: NDArray[np.float32], limit: int, where: Where) -> list[Hit]:
        """The images most similar to ``query`` (D,), best first."""
        return self._gallery.search(query[np.newaxis], limit, where)[0]

    def cameras(self, holder: Holder) -> list[CameraSummary]:
        """What the gallery holds of each camera and modality within the limits of ``holder``."""
        return [camera for camera in self._gallery.cameras() if holder.sees_camera(camera.camera_id)]

    def check_readable(self) -> None:
        """Read something of the gallery.

        Raises:
            GalleryUnavailable: It cannot be read now.
        """
        self._gallery.count()

    def _check_cameras(self, where: Where, holder: Holder) -> None:
        named = {*(where.camera_ids or ()), *(where.exclude_camera_ids or ())}
        if not named:
            return
        known = {camera.camera_id for camera in self.cameras(holder)}
        if unknown := sorted(named - known):
            raise UnknownCamera(
                f"the gallery has never seen {', '.join(unknown)}; "
                f"its cameras are: {', '.join(sorted(known)) or 'none yet'}"
            )
