"""Cutting uploads into requests: read from disk as needed, never more than one batch in memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Self

from peca_client.errors import InvalidArgument, ProblemError, UnreadableImage
from peca_client.models import ImageSource, ImageUpload, IngestItem, IngestReport, IngestStatus

BATCH_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LoadedUpload:
    """An upload whose file was read; ``name`` is what a report calls it."""

    upload: ImageUpload
    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """The uploads of one request."""

    items: tuple[LoadedUpload, ...]

    @classmethod
    def read(cls, uploads: Iterable[ImageUpload]) -> Self:
        """Read the files of ``uploads``."""
        return cls(tuple(map(_load, uploads)))

    def __len__(self) -> int:
        return len(self.items)

    def halves(self) -> tuple["Batch", "Batch"]:
        """The same uploads as two batches."""
        middle = len(self.items) // 2
        return Batch(self.items[:middle]), Batch(self.items[middle:])


def batches(
    uploads: Iterable[ImageUpload], batch_size: int, batch_bytes: int = BATCH_BYTES
) -> Iterator[Batch | IngestReport]:
    """Cut ``uploads`` in order into batches of at most ``batch_size`` images.

    A batch ends early where its files would pass ``batch_bytes``; a single larger file is a batch. In the
    place of one that cannot be read comes its report, since it is not sent.

    Raises:
        InvalidArgument: ``batch_size`` is below 1, or an image is none of bytes, path and open binary file.
    """
    if batch_size < 1:
        raise InvalidArgument(f"batch_size must be at least 1, got {batch_size}")
    held: list[LoadedUpload] = []
    held_bytes = 0
    for upload in uploads:
        try:
            loaded = _load(upload)
        except UnreadableImage as error:
            if held:
                yield Batch(tuple(held))
                held, held_bytes = [], 0
            yield _unread(upload, error)
            continue
        if held and (len(held) == batch_size or held_bytes + len(loaded.data) > batch_bytes):
            yield Batch(tuple(held))
            held, held_bytes = [], 0
        held.append(loaded)
        held_bytes += len(loaded.data)
    if held:
        yield Batch(tuple(held))


def read_image(image: ImageSource) -> tuple[str | None, bytes]:
    """The file name, where there is one, and the bytes of an image.

    Raises:
        InvalidArgument: It is none of bytes, path and open binary file.
        UnreadableImage: The file cannot be read.
    """
    if isinstance(image, (bytes, bytearray, memoryview)):
        return None, bytes(image)
    if isinstance(image, (str, PathLike)):
        path = Path(image)
        try:
            return path.name, path.read_bytes()
        except OSError as error:
            raise UnreadableImage(error.errno, error.strerror, str(path)) from error
    data = image.read()
    if not isinstance(data, bytes):
        raise InvalidArgument(f"an image file must be opened in binary mode, got one that reads {type(data)}")
    name = getattr(image, "name", None)
    return (Path(name).name if isinstance(name, str) else None), data


def refusal(batch: Batch, error: ProblemError) -> IngestReport:
    """The report of a batch that the server refused as a whole."""
    return IngestReport(
        tuple(
            IngestItem(one.name, IngestStatus.REFUSED, one.upload.image_id, error.problem)
            for one in batch.items
        )
    )


def named(report: IngestReport, batch: Batch) -> IngestReport:
    """``report`` with each item called by its upload's own name; the order is the batch's.

    Raises:
        ValueError: The report has more or fewer items than the batch.
    """
    items = (replace(item, filename=one.name) for item, one in zip(report.items, batch.items, strict=True))
    return IngestReport(tuple(items))


def _unread(upload: ImageUpload, error: UnreadableImage) -> IngestReport:
    name = upload.filename or Path(str(error.filename)).name
    problem = {"title": "The file cannot be read", "detail": str(error)}
    return IngestReport((IngestItem(name, IngestStatus.REFUSED, upload.image_id, problem),))


def _load(upload: ImageUpload) -> LoadedUpload:
    name, data = read_image(upload.image)
    return LoadedUpload(upload, upload.filename or name or "image", data)
