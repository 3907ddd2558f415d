"""Image files in, images of the gallery out: each file is taken, known, in conflict or refused by itself."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.errors import ImageRefused
from exporter.preprocess import load_image
from index.errors import PecaError
from index.records import ImageRecord
from server.access import Holder
from server.batching import EncodingQueue, Lane
from server.errors import BatchTooLarge, ImageConflict, MetadataMismatch
from server.schemas import ImageMetadata, Status
from server.services.catalogue import Catalogue
from server.services.search import check_image_bytes
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a batch."""

    filename: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file.

    Attributes:
        filename: Of the file.
        image_id: Of the image; ``None`` where the file was refused and no id was given.
        status: What became of it.
        error: Why, where it was refused or is in conflict.
    """

    filename: str
    image_id: str | None
    status: Status
    error: PecaError | None = None


@dataclass(frozen=True, eq=False, slots=True)
class _Fresh:
    """A file to be added: its record and its (H, W, 3) uint8 pixels."""

    upload: Upload
    record: ImageRecord
    pixels: NDArray[np.uint8]


class Ingest:
    """Takes batches of image files into the catalogue."""

    def __init__(self, catalogue: Catalogue, encoding: EncodingQueue, settings: Settings) -> None:
        self._catalogue = catalogue
        self._encoding = encoding
        self._settings = settings
        self._decoding = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="peca-decode")

    def run(
        self, uploads: Sequence[Upload], metadata: Sequence[ImageMetadata], holder: Holder
    ) -> list[Outcome]:
        """Take a batch; what is reported stored survives a power cut. Taking it again adds nothing.

        Returns:
            One outcome a file, in the order of ``uploads``, each with its status.

        Raises:
            MetadataMismatch: The metadata do not describe exactly these files; nothing is taken.
            BatchTooLarge: There are too many files; nothing is taken.
            CameraRefused: ``holder`` may not add images of one of the cameras; nothing is taken.
            EncoderBusy: Too many images wait; nothing is taken.
            PecaError: The catalogue cannot be written.
        """
        if len(uploads) > self._settings.max_batch_images:
            raise BatchTooLarge(
                f"expected at most {self._settings.max_batch_images} images, got {len(uploads)}; send fewer"
            )
        described = match(uploads, metadata)
        holder.check_cameras({said.camera_id for said in described})
        prepared = list(self._decoding.map(self._prepare, uploads, described))
        # Where an id stands twice in a batch, its first file is added and the others are compared with it.
        firsts: dict[str, _Fresh] = {}
        for one in prepared:
            if isinstance(one, _Fresh):
                firsts.setdefault(one.record.image_id, one)
        statuses = self._add(list(firsts.values()))
        return [
            one
            if isinstance(one, Outcome)
            else _settled(one.upload, one.record, statuses.get(one) or self._compare(one))
            for one in prepared
        ]

    def close(self) -> None:
        """End the decoding threads."""
        self._decoding.shutdown()

    def _prepare(self, upload: Upload, said: ImageMetadata) -> Outcome | _Fresh:
        """Settle what can be settled without the encoder; decode the rest."""
        image_id = said.image_id or derived_image_id(upload.data, said)
        record = ImageRecord(image_id, **said.model_dump(exclude={"filename", "image_id"}))
        try:
            check_image_bytes(upload.data, self._settings)
            if known := self._catalogue.compare(record, upload.data):
                return _settled(upload, record, known)
            pixels = load_image(
                upload.data, self._encoding.image_hw, max_pixels=self._settings.max_image_pixels
            )
        except ImageRefused as refusal:
            return Outcome(upload.filename, said.image_id, Status.REFUSED, refusal)
        return _Fresh(upload, record, pixels)

    def _add(self, batch: Sequence[_Fresh]) -> dict[_Fresh, Status]:
        """Encode and store files of different ids."""
        if not batch:
            return {}
        records = [one.record for one in batch]
        vectors = self._encoding.encode(
            np.stack([one.pixels for one in batch]), [record.modality for record in records], Lane.INGEST
        )
        report = self._catalogue.add(records, vectors, [one.upload.data for one in batch])
        statuses = {
            **dict.fromkeys(report.added, Status.STORED),
            **dict.fromkeys(report.unchanged, Status.UNCHANGED),
            **dict.fromkeys(report.conflicting, Status.CONFLICT),
        }
        return {one: statuses[one.record.image_id] for one in batch}

    def _compare(self, one: _Fresh) -> Status:
        return self._catalogue.compare(one.record, one.upload.data) or Status.CONFLICT


def _settled(upload: Upload, record: ImageRecord, status: Status) -> Outcome:
    error = None
    if status is Status.CONFLICT:
        error = ImageConflict(
            f"image {record.image_id!r} stands with another picture or another record, which was kept; "
            "delete it first, or send this one under another image_id"
        )
    return Outcome(upload.filename, record.image_id, status, error)


def match(uploads: Sequence[Upload], metadata: Sequence[ImageMetadata]) -> list[ImageMetadata]:
    """The metadata of each file, by file name.

    Raises:
        MetadataMismatch: A name stands twice, or the names of the two differ.
    """
    sent = [upload.filename for upload in uploads]
    described = [said.filename for said in metadata]
    for what, names in (("files", sent), ("metadata", described)):
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise MetadataMismatch(
                f"file names must be unique in a request; twice in the {what}: {_listed(twice)}"
            )
    missing, extra = set(sent) - set(described), set(described) - set(sent)
    if missing or extra:
        raise MetadataMismatch(
            "the metadata must describe exactly the files sent; "
            f"files without metadata: {_listed(missing)}; metadata without a file: {_listed(extra)}"
        )
    by_name = {said.filename: said for said in metadata}
    return [by_name[name] for name in sent]


def derived_image_id(data: bytes, said: ImageMetadata) -> str:
    """An id for an image that came without: the same content, camera and instant give the same id."""
    digest = hashlib.sha256(data)
    digest.update(f"\n{said.camera_id}\n{said.captured_at.isoformat()}".encode())
    return f"img-{digest.hexdigest()[:32]}"


def _listed(names: Sequence[str] | set[str]) -> str:
    return (
        ", ".join(repr(name) for name in sorted(names)[:10]) + (" ..." if len(names) > 10 else "") or "none"
    )
