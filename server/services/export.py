"""Searches as a folder of files: what was shown and found, for a case's own file."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from tempfile import SpooledTemporaryFile
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from server.access import Caller
from server.errors import ImageFileMissing, ImageUnknown
from server.images import suffix, thumbnail
from server.services.catalogue import Catalogue
from server.services.report import report_html
from server.services.review import Review

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

    def run(self, search_ids: Sequence[str], caller: Caller) -> IO[bytes]:
        """A zip file of ``report.html``, ``record.json`` and the pictures that the searches showed.

        ``record.json`` holds the records of the searches and of their verdicts as they stand in the audit
        log, so that their SHA-256 can be computed again. A picture that was removed since is left out.

        Args:
            search_ids: In the order in which they are told of; one that is named twice is told once.
            caller: Who takes them.

        Returns:
            The file, open at its beginning; closing it removes it.

        Raises:
            SearchUnknown: One of them is not there within the limits of the caller.
            StorageUnavailable: The audit log or an image file cannot be read.
        """
        told = [self._review.export(search_id, caller) for search_id in dict.fromkeys(search_ids)]
        searches = [record for record, _ in told]
        verdicts = [verdict for _, given in told for verdict in given]
        exported_at = datetime.now(UTC)
        packed = SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115 - the caller closes it
        try:
            with ZipFile(packed, "w", ZIP_DEFLATED) as folder:
                shown = dict.fromkeys(one["image_id"] for record in searches for one in record["results"])
                images = self._pack_images(folder, shown, caller)
                content = {
                    "exported_at": exported_at.isoformat(),
                    "exported_by": caller.holder.name,
                    "searches": searches,
                    "verdicts": verdicts,
                    "images": {
                        image_id: {"file": image.file, "thumbnail": image.thumbnail, "sha256": image.sha256}
                        for image_id, image in images.items()
                    },
                }
                folder.writestr("record.json", json.dumps(content, indent=2) + "\n")
                page = report_html(searches, verdicts, images, caller.holder.name, exported_at)
                folder.writestr("report.html", page)
        except BaseException:
            packed.close()
            raise
        packed.seek(0)
        return packed

    def _pack_images(
        self, folder: ZipFile, image_ids: Iterable[str], caller: Caller
    ) -> Mapping[str, ExportedImage]:
        """Put the pictures in that still stand; gives them by ``image_id``."""
        packed: dict[str, ExportedImage] = {}
        for number, image_id in enumerate(image_ids, start=1):
            try:
                data = self._catalogue.clean_file(image_id, caller.holder)
            except (ImageUnknown, ImageFileMissing):
                continue
            name = f"images/{number:03d}.{suffix(data)}"
            small = f"thumbnails/{number:03d}.jpg"
            # Pictures are compressed already.
            folder.writestr(name, data, ZIP_STORED)
            folder.writestr(small, thumbnail(data), ZIP_STORED)
            packed[image_id] = ExportedImage(name, small, hashlib.sha256(data).hexdigest())
        return packed
