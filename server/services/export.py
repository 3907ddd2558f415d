"""A search as a folder of files: what was shown and found, for a case's own file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from tempfile import SpooledTemporaryFile
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from server.access import Caller
from server.chain import Record
from server.clean_copy import clean_copy
from server.errors import ImageUnknown
from server.images import suffix, thumbnail
from server.services.catalogue import Catalogue
from server.services.report import report_html
from server.services.review import Review
from server.settings import LARGEST_IMAGE_PIXELS

_MEMORY_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """A result's picture in an export.

    Attributes:
        file: Its name there.
        thumbnail: Name of its small JPEG there.
        sha256: Of the file.
    """

    file: str
    thumbnail: str
    sha256: str


class Export:
    """Packs searches; who took one is recorded before anything is read."""

    def __init__(self, review: Review, catalogue: Catalogue) -> None:
        self._review = review
        self._catalogue = catalogue

    def run(self, search_id: str, caller: Caller) -> IO[bytes]:
        """A zip file of ``report.html``, ``record.json`` and the pictures that the search showed.

        ``record.json`` holds the records of the search and its verdicts as they stand in the audit log,
        so that their SHA-256 can be computed again. A picture that was removed since is left out.

        Returns:
            The file, open at its beginning; closing it removes it.

        Raises:
            SearchUnknown: There is no such search within the limits of the caller.
            StorageUnavailable: The audit log or an image file cannot be read.
        """
        record, verdicts = self._review.export(search_id, caller)
        exported_at = datetime.now(UTC)
        packed = SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115 - the caller closes it
        try:
            with ZipFile(packed, "w", ZIP_DEFLATED) as folder:
                images = self._pack_images(folder, record, caller)
                content = {
                    "exported_at": exported_at.isoformat(),
                    "exported_by": caller.holder.name,
                    "search": record,
                    "verdicts": verdicts,
                    "images": {
                        image_id: {"file": image.file, "thumbnail": image.thumbnail, "sha256": image.sha256}
                        for image_id, image in images.items()
                    },
                }
                folder.writestr("record.json", json.dumps(content, indent=2) + "\n")
                page = report_html(record, verdicts, images, caller.holder.name, exported_at)
                folder.writestr("report.html", page)
        except BaseException:
            packed.close()
            raise
        packed.seek(0)
        return packed

    def _pack_images(self, folder: ZipFile, record: Record, caller: Caller) -> Mapping[str, ExportedImage]:
        """Put the pictures in that still stand; gives them by ``image_id``."""
        packed: dict[str, ExportedImage] = {}
        for rank, result in enumerate(record["results"], start=1):
            data = self._picture(result["image_id"], caller)
            if data is None:
                continue
            name = f"images/{rank:03d}.{suffix(data)}"
            small = f"thumbnails/{rank:03d}.jpg"
            # Pictures are compressed already.
            folder.writestr(name, data, ZIP_STORED)
            folder.writestr(small, thumbnail(data), ZIP_STORED)
            packed[result["image_id"]] = ExportedImage(name, small, hashlib.sha256(data).hexdigest())
        return packed

    def _picture(self, image_id: str, caller: Caller) -> bytes | None:
        try:
            self._catalogue.get(image_id, caller.holder)
        except ImageUnknown:
            return None
        data = self._catalogue.file(image_id)
        # Files that versions before the cleaning at ingest stored tell their place and owner.
        return None if data is None else clean_copy(data, max_pixels=LARGEST_IMAGE_PIXELS)
