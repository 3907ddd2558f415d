"""Records in the gallery and image files in the store, kept together."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from index.errors import UnknownCamera
from index.evaluation import People, labelled_people
from index.gallery import AddReport, Gallery
from index.records import ANY, CameraSummary, ImageRecord, Where
from index.rerank import Ranked, find
from server.access import Holder
from server.clean_copy import clean_copy
from server.errors import ImageFileMissing, ImageUnknown
from server.images import ImageStore, thumbnail
from server.limits import SHOWN
from server.patience import patience
from server.schemas import Status
from server.services.watching import Watching
from server.settings import LARGEST_IMAGE_PIXELS

_PAGE = 5000


class Catalogue:
    """The images of this server; safe to call from several threads.

    ``labels_version`` grows where images with a person's label come, or any go, by this server.

    The gallery holds the truth: an image exists if its record does. A file is written after its record
    and removed before it, so a power cut can leave a record without its file, which a repeated ingest
    or removal mends, and never a person's picture without a record.
    """

    def __init__(self, gallery: Gallery, images: ImageStore, watching: Watching) -> None:
        self._gallery = gallery
        self._images = images
        self._watching = watching
        self._writing = Lock()
        self.labels_version = 0

    @property
    def device(self) -> str | None:
        """What searches an embedded gallery now; ``None`` for other engines."""
        return getattr(self._gallery, "device", None)

    @property
    def device_reason(self) -> str | None:
        """Why that is the processor and no GPU."""
        return getattr(self._gallery, "device_reason", None)

    def add(
        self, records: Sequence[ImageRecord], vectors: NDArray[np.float32], files: Sequence[bytes]
    ) -> AddReport:
        """Store N images with their (N, D) vectors and files; when this returns they survive a power cut.

        So do the hits of the watchlists that they are compared with.
        """
        return self._watching.add(records, vectors, lambda: self._store(records, vectors, files))

    def _store(
        self, records: Sequence[ImageRecord], vectors: NDArray[np.float32], files: Sequence[bytes]
    ) -> AddReport:
        files_by_id = {record.image_id: data for record, data in zip(records, files, strict=True)}
        with self._writing:
            report = self._gallery.add(records, vectors)
            self.labels_version += any(record.person_id is not None for record in records)
            self._images.write(
                {image_id: files_by_id[image_id] for image_id in report.added + report.unchanged}
            )
        return report

    def compare(self, record: ImageRecord, *forms: bytes) -> Status | None:
        """``unchanged`` or ``conflict`` with what stands; ``None`` where record or file is missing.

        Args:
            record: Of the image.
            *forms: Its file, in each form in which it may have been stored.
        """
        stored = self._gallery.get(record.image_id)
        if stored is None:
            return None
        if stored != record:
            return Status.CONFLICT
        stored_file = self._images.read(record.image_id)
        if stored_file is None:
            return None
        return Status.UNCHANGED if stored_file in forms else Status.CONFLICT

    def get(self, image_id: str, holder: Holder) -> ImageRecord:
        """The record of an image.

        Raises:
            ImageUnknown: There is none within the limits of ``holder``.
        """
        record = self._gallery.get(image_id)
        if record is None or not holder.sees(record):
            raise _unknown(image_id)
        return record

    def thumbnail(self, image_id: str, holder: Holder) -> bytes:
        """A small JPEG of an image.

        Raises:
            ImageUnknown: There is no such image within the limits of ``holder``.
            ImageFileMissing: Its file was never stored here; ingest it again.
        """
        self.get(image_id, holder)
        return thumbnail(self._stored(image_id))

    def file(self, image_id: str) -> bytes | None:
        """The file of an image as it was stored; ``None`` where it is missing."""
        return self._images.read(image_id)

    def clean_file(self, image_id: str, holder: Holder) -> bytes:
        """The file of an image as it may leave; versions before the cleaning at ingest stored the owner too.

        Raises:
            ImageUnknown: There is no such image within the limits of ``holder``.
            ImageFileMissing: Its file was never stored here; ingest it again.
        """
        self.get(image_id, holder)
        with SHOWN.turn():  # some forms are decoded, and written anew
            return clean_copy(self._stored(image_id), max_pixels=LARGEST_IMAGE_PIXELS)

    def _stored(self, image_id: str) -> bytes:
        data = self.file(image_id)
        if data is None:
            raise ImageFileMissing(f"the file of image {image_id!r} is not stored; ingest the image again")
        return data

    def vector(self, image_id: str) -> NDArray[np.float32]:
        """The stored (D,) unit vector of an image.

        Raises:
            ImageUnknown: It is gone.
        """
        for _, rows in self._gallery.vectors(Where(image_ids=[image_id])):
            vector: NDArray[np.float32] = rows[0]
            return vector
        raise _unknown(image_id)

    def page(self, where: Where, limit: int, before: tuple[datetime, str] | None = None) -> list[ImageRecord]:
        """See ``Gallery.page``; ``where`` is as ``narrowed`` gave it."""
        return self._gallery.page(where, limit, before)

    def count(self, where: Where) -> int:
        """How many images pass ``where``, which is as ``narrowed`` gave it."""
        return self._gallery.count(where)

    def records(self, where: Where) -> Iterator[ImageRecord]:
        """The records of all images that pass ``where``, newest first."""
        last: tuple[datetime, str] | None = None
        its = patience()
        while page := self._gallery.page(where, _PAGE, last):
            its.check()
            yield from page
            last = (page[-1].captured_at, page[-1].image_id)

    def people(self, where: Where) -> People:
        """The labelled images that pass ``where``, with their vectors.

        Raises:
            InvalidInput: There is none, or none of one of the modalities.
        """
        return labelled_people(self._gallery, where)

    def remove_all(self, image_ids: Collection[str]) -> int:
        """Remove images, durably; returns how many there were."""
        with self._writing:
            for image_id in image_ids:
                self._images.remove(image_id)
            count = self._gallery.remove(Where(image_ids=image_ids))
            self.labels_version += 1
            return count

    def remove(self, image_id: str, holder: Holder) -> None:
        """Remove an image, durably.

        Raises:
            ImageUnknown: There is none within the limits of ``holder``.
        """
        with self._writing:
            self.get(image_id, holder)
            self._images.remove(image_id)
            self._gallery.remove(Where(image_ids={image_id}))
            self.labels_version += 1

    def narrowed(self, where: Where, holder: Holder) -> Where:
        """``where`` within the limits of ``holder``, for whom other cameras do not exist.

        Raises:
            UnknownCamera: The filter names a camera that the gallery has never seen.
        """
        self._check_cameras(where, holder)
        return holder.narrowed(where)

    def find(
        self,
        query: NDArray[np.float32],
        limit: int,
        where: Where,
        *,
        threshold: float | None,
        rerank: bool,
        by_track: bool,
        exact: bool,
        without: Collection[str],
    ) -> list[Ranked]:
        """The images most similar to ``query`` (D,), best first; see ``index.rerank.find``."""
        return find(
            self._gallery,
            query,
            limit,
            where,
            threshold=threshold,
            rerank=rerank,
            by_track=by_track,
            exact=exact,
            without=without,
        )

    def cameras(self, holder: Holder, where: Where = ANY) -> list[CameraSummary]:
        """What the gallery holds of each camera and modality within the limits of ``holder``."""
        return self._gallery.cameras(holder.narrowed(where))

    def check_readable(self) -> None:
        """Read something of the gallery: one place, since whoever probes the server needs no key.

        Raises:
            GalleryUnavailable: It cannot be read now.
        """
        self._gallery.get("any")

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


def _unknown(image_id: str) -> ImageUnknown:
    return ImageUnknown(f"the gallery holds no image {image_id!r}")
