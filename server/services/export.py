"""Searches as a folder of files: what was shown and found, for a case's own file."""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from server.access import Caller
from server.chain import Record
from server.errors import ClientLeft, ImageFileMissing, ImageUnknown, TurnsExceeded
from server.images import suffix, thumbnail
from server.seats import Seats
from server.services.catalogue import Catalogue
from server.services.report import report_html
from server.services.review import Review

MAX_EXPORTS = 8
MAX_EXPORTS_OF_A_KEY = 2
"""Each works in a thread, for as long as its reader takes."""


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
        self.seats = Seats("exports", MAX_EXPORTS, MAX_EXPORTS_OF_A_KEY, TurnsExceeded)
        self._review = review
        self._catalogue = catalogue

    def run(self, search_ids: Sequence[str], caller: Caller) -> Iterator[bytes]:
        """A zip file of ``report.html``, ``record.json`` and the pictures that the searches showed.

        ``record.json`` holds the records of the searches and of their verdicts as they stand in the audit
        log, so that their SHA-256 can be computed again. A picture that was removed since is left out.

        Args:
            search_ids: In the order in which they are told of; one that is named twice is told once.
            caller: Who takes them.

        Returns:
            The file in parts, each made when it is asked for, so that it lies neither on the disk nor in
            memory as a whole. They end early where the client left, and raise a ``PecaError`` where a
            picture cannot be read.

        Raises:
            SearchUnknown: One of them is not there within the limits of the caller.
            RecordBroken: A record of them was changed after it was written.
            StorageUnavailable: The audit log cannot be read or written.
        """
        told = [self._review.export(search_id, caller) for search_id in dict.fromkeys(search_ids)]
        searches = [record for record, _ in told]
        verdicts = [verdict for _, given in told for verdict in given]
        return self._parts(searches, verdicts, caller)

    def _parts(self, searches: list[Record], verdicts: list[Record], caller: Caller) -> Iterator[bytes]:
        exported_at, sent = datetime.now(UTC), _Sent()
        images: dict[str, ExportedImage] = {}
        shown = dict.fromkeys(one["image_id"] for record in searches for one in record["results"])
        with ZipFile(sent, "w", ZIP_DEFLATED) as folder:
            for number, image_id in enumerate(shown, start=1):
                try:
                    data = self._catalogue.clean_file(image_id, caller.holder)
                    images[image_id] = _pack(folder, number, data)
                except (ImageUnknown, ImageFileMissing):
                    continue
                except ClientLeft:
                    return
                yield sent.take()
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
            folder.writestr(
                "report.html", report_html(searches, verdicts, images, caller.holder.name, exported_at)
            )
        yield sent.take()


def _pack(folder: ZipFile, number: int, data: bytes) -> ExportedImage:
    """Put a picture in, as it is and small."""
    name, small = f"images/{number:03d}.{suffix(data)}", f"thumbnails/{number:03d}.jpg"
    # Pictures are compressed already.
    folder.writestr(name, data, ZIP_STORED)
    folder.writestr(small, thumbnail(data), ZIP_STORED)
    return ExportedImage(name, small, hashlib.sha256(data).hexdigest())


class _Sent:
    """A file whose beginning is gone: a ``ZipFile`` goes back to the head of what it writes, no further."""

    def __init__(self) -> None:
        self._gone, self._kept = 0, io.BytesIO()

    def take(self) -> bytes:
        """What was written since this was called last."""
        data, self._kept = self._kept.getvalue(), io.BytesIO()
        self._gone += len(data)
        return data

    def tell(self) -> int:
        return self._gone + self._kept.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._gone + self._kept.seek(offset - self._gone, whence)

    def write(self, data: bytes) -> int:
        return self._kept.write(data)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing is open."""
