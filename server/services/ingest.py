"""Image files in, images of the gallery out: each file is taken, known, in conflict or refused by itself."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from exporter.errors import ImageRefused
from exporter.preprocess import load_image
from index.errors import PecaError
from index.records import ImageRecord
from index.wording import counted
from server.access import Caller
from server.audit import Action, AuditLog
from server.batching import MAX_BATCH, EncodingQueue, Lane, result_of
from server.clean_copy import clean_copy
from server.errors import BatchTooLarge, ImageConflict, MetadataMismatch
from server.metrics import IMAGES, Stage, timed
from server.patience import patience
from server.processors import step_back
from server.readiness import check_space
from server.schemas import ImageMetadata, Status
from server.services.catalogue import Catalogue
from server.services.query_images import check_image_bytes
from server.settings import Settings

_STEPS_BACK = 10
"""Behind all that a search needs."""


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
    """A file to be added: its record, its (H, W, 3) uint8 pixels, and what of it is kept."""

    upload: Upload
    record: ImageRecord
    pixels: NDArray[np.uint8]
    kept: bytes


@dataclass(slots=True)
class _Batch:
    """Files of different ids on their way through the encoder, which begins while others are decoded."""

    encoding: EncodingQueue
    files: list[_Fresh] = field(default_factory=list)
    vectors: list[Future[NDArray[np.float32]]] = field(default_factory=list)
    _submitted: int = 0

    def take(self, one: _Fresh) -> None:
        """Take a file; as soon as they fill a batch of the encoder they are handed in."""
        self.files.append(one)
        if len(self.files) - self._submitted == MAX_BATCH:
            self.submit()

    def submit(self) -> None:
        """Hand in what was taken and not yet handed in."""
        if rest := self.files[self._submitted :]:
            pixels = np.stack([one.pixels for one in rest])
            modality = [one.record.modality for one in rest]
            self.vectors.append(self.encoding.submit(pixels, modality, Lane.INGEST))
            self._submitted = len(self.files)


class Ingest:
    """Takes batches of image files into the catalogue; the audit log has whose key brought which."""

    def __init__(
        self, catalogue: Catalogue, encoding: EncodingQueue, audit: AuditLog, settings: Settings
    ) -> None:
        self._catalogue = catalogue
        self._audit = audit
        self._encoding = encoding
        self._settings = settings
        self._decoding = ThreadPoolExecutor(
            os.cpu_count() or 1, "peca-decode", initializer=step_back, initargs=(_STEPS_BACK,)
        )

    def run(
        self, uploads: Sequence[Upload], metadata: Sequence[ImageMetadata], caller: Caller
    ) -> list[Outcome]:
        """Take a batch; what is reported stored survives a power cut. Taking it again adds nothing.

        Of a request whose client left or whose time is over before its images are encoded, nothing is
        taken.

        Returns:
            One outcome a file, in the order of ``uploads``, each with its status.

        Raises:
            MetadataMismatch: The metadata do not describe exactly these files; nothing is taken.
            BatchTooLarge: There are too many files; nothing is taken.
            CameraRefused: The caller's key may not add images of one of the cameras; nothing is taken.
            EncoderBusy: Too many images wait; nothing is taken.
            DeadlinePassed: The request's time is over; nothing is taken.
            ClientLeft: Nobody waits for the answer; nothing is taken.
            StorageUnavailable: The disk is nearly full, or the audit log cannot be written; nothing is taken.
            PecaError: The catalogue cannot be written.
        """
        if len(uploads) > self._settings.max_batch_images:
            raise BatchTooLarge(
                f"expected at most {counted(self._settings.max_batch_images, 'image')}, got {len(uploads)}; "
                "send fewer"
            )
        described = match(uploads, metadata)
        caller.holder.check_cameras({said.camera_id for said in described})
        check_space(self._settings)
        with self._encoding.admitted(len(uploads), Lane.INGEST):
            prepared, batch = self._decode(uploads, described)
            statuses = self._store(batch, caller)
        outcomes = [
            one
            if isinstance(one, Outcome)
            else _settled(one.upload, one.record, statuses.get(one) or self._compare(one))
            for one in prepared
        ]
        for outcome in outcomes:
            IMAGES.labels(outcome.status).inc()
        return outcomes

    def close(self) -> None:
        """End the decoding threads."""
        self._decoding.shutdown()

    def _decode(
        self, uploads: Sequence[Upload], described: Sequence[ImageMetadata]
    ) -> tuple[list[Outcome | _Fresh], _Batch]:
        """Settle or decode each file in the decoding threads, and hand in to the encoder what is decoded.

        Where an id stands twice in a batch, its first file is added and the others are compared with it.
        """
        its, prepared, batch = patience(), list[Outcome | _Fresh](), _Batch(self._encoding)
        waiting = [self._decoding.submit(self._prepare, *one) for one in zip(uploads, described, strict=True)]
        try:
            ids = set[str]()
            for done in waiting:
                prepared.append(one := done.result())
                its.check()
                if isinstance(one, _Fresh) and one.record.image_id not in ids:
                    ids.add(one.record.image_id)
                    batch.take(one)
        finally:
            for left in waiting:
                left.cancel()
        batch.submit()
        return prepared, batch

    def _prepare(self, upload: Upload, said: ImageMetadata) -> Outcome | _Fresh:
        """Settle what can be settled without the encoder; decode the rest."""
        image_id = said.image_id or derived_image_id(upload.data, said)
        record = ImageRecord(image_id, **said.model_dump(exclude={"filename", "image_id"}))
        most = self._settings.max_image_pixels
        try:
            check_image_bytes(upload.data, self._settings)
            with timed(Stage.DECODE):
                kept = clean_copy(upload.data, max_pixels=most)
                if known := self._catalogue.compare(record, kept, upload.data):
                    return _settled(upload, record, known)
                pixels = load_image(upload.data, self._encoding.image_hw, max_pixels=most)
        except ImageRefused as refusal:
            return Outcome(upload.filename, said.image_id, Status.REFUSED, refusal)
        return _Fresh(upload, record, pixels, kept)

    def _store(self, batch: _Batch, caller: Caller) -> dict[_Fresh, Status]:
        """Record and store files once they are encoded; waits for all of them."""
        if not batch.files:
            return {}
        vectors = np.concatenate([result_of(done) for done in batch.vectors])
        records = [one.record for one in batch.files]
        self._audit.append(
            Action.INGEST,
            caller,
            camera_ids=sorted({record.camera_id for record in records}),
            image_ids=[record.image_id for record in records],
        )
        with timed(Stage.STORE):
            report = self._catalogue.add(records, vectors, [one.kept for one in batch.files])
        statuses = {
            **dict.fromkeys(report.added, Status.STORED),
            **dict.fromkeys(report.unchanged, Status.UNCHANGED),
            **dict.fromkeys(report.conflicting, Status.CONFLICT),
        }
        return {one: statuses[one.record.image_id] for one in batch.files}

    def _compare(self, one: _Fresh) -> Status:
        return self._catalogue.compare(one.record, one.kept, one.upload.data) or Status.CONFLICT


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
