"""The seam between what searches and what stores: the ``Gallery`` protocol and its address."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from index.errors import EncoderMismatch, GalleryUnavailable, InvalidInput
from index.generations import current_folder
from index.records import ANY, CameraSummary, Hit, ImageRecord, Where, as_utc
from index.space import EmbeddingSpec, l2_normalise


class Device(StrEnum):
    """What searches an embedded gallery: ``auto`` is a GPU where one can be used, else the processor."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True)
class AddReport:
    """What ``Gallery.add`` did with each image, by ``image_id``, in the order given.

    Attributes:
        added: Stored now.
        unchanged: Already stored with the same record and vector; nothing written.
        conflicting: Already stored with another record or vector; the stored one was kept.
    """

    added: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    conflicting: tuple[str, ...] = ()


class Source(Protocol):
    """What is read of a gallery to copy it, or to embed it anew; each method as ``Gallery`` says."""

    def vectors(self, where: Where = ANY) -> Iterator[tuple[list[ImageRecord], NDArray[np.float32]]]:
        """See ``Gallery.vectors``."""
        ...

    def records(self, where: Where = ANY) -> Iterator[list[ImageRecord]]:
        """See ``Gallery.records``."""
        ...

    def count(self, where: Where = ANY) -> int:
        """See ``Gallery.count``."""
        ...

    def close(self) -> None:
        """See ``Gallery.close``."""
        ...


@runtime_checkable
class Gallery(Protocol):
    """Cosine search over the embeddings of one encoder; safe to call from several threads.

    Every method but ``close`` raises ``GalleryUnavailable`` once the gallery is closed.
    """

    spec: EmbeddingSpec

    def add(self, records: Sequence[ImageRecord], vectors: NDArray[np.float32]) -> AddReport:
        """Store images; when this returns they survive a power cut. All or none of a call is stored.

        Args:
            records: N records.
            vectors: (N, D) float, normalised here.

        Raises:
            InvalidInput: Shapes disagree, a vector is not finite or of zero length, or one
                ``image_id`` stands twice in the call.
            GalleryUnavailable: The store cannot be written; nothing of this call was kept.
        """
        ...

    def search(
        self, queries: NDArray[np.float32], k: int, where: Where = ANY, *, exact: bool = False
    ) -> list[list[Hit]]:
        """The ``k`` most similar images of the filtered gallery to each query.

        Args:
            queries: (Q, D) float, normalised here.
            k: At least 1; fewer hits come back only where the filter leaves fewer images.
            where: The filter.
            exact: Compare with every image that passes, whatever index there is.

        Returns:
            Q lists, each by score descending, ties in the order of adding.

        Raises:
            InvalidInput: Wrong shape, a query without direction, or ``k`` below 1.
        """
        ...

    def vectors(self, where: Where = ANY) -> Iterator[tuple[list[ImageRecord], NDArray[np.float32]]]:
        """All images that pass ``where`` in the order of adding, in batches of records and (n, D) unit rows.

        An image that is added or removed while the iteration runs may or may not appear.
        """
        ...

    def records(self, where: Where = ANY) -> Iterator[list[ImageRecord]]:
        """The records that ``vectors`` gives, in its order and in batches, without reading any vector."""
        ...

    def page(self, where: Where, limit: int, before: tuple[datetime, str] | None = None) -> list[ImageRecord]:
        """The newest images that pass ``where``: by ``captured_at``, then ``image_id``, both descending.

        Args:
            where: The filter.
            limit: Most records, at least 1.
            before: ``captured_at`` and ``image_id`` of the last record of the page before; only what comes
                after it in this order, so that adding and removing between two pages repeats and skips
                nothing else. ``None`` for the first page.

        Raises:
            InvalidInput: ``limit`` is below 1, or ``before`` has an instant without a time zone.
        """
        ...

    def get(self, image_id: str) -> ImageRecord | None:
        """The record of one image, or ``None``."""
        ...

    def remove(self, where: Where) -> int:
        """Remove every image that passes ``where``, durably; returns how many."""
        ...

    def count(self, where: Where = ANY) -> int:
        """How many images pass ``where``."""
        ...

    def cameras(self, where: Where = ANY) -> list[CameraSummary]:
        """Of the images that pass ``where``, each camera and modality, by ``camera_id``, then modality."""
        ...

    def close(self) -> None:
        """Release what is held; calling it again does nothing."""
        ...


def open_gallery(
    url: str, spec: EmbeddingSpec, *, read_only: bool = False, device: Device = Device.CPU
) -> Gallery:
    """Open the gallery at ``url``, or begin one there.

    Args:
        url: ``memory:`` (exact, gone when closed), ``embedded:PATH``, PATH a folder, or
            ``milvus:ADDRESS`` (``index.milvus_address.FORM`` lists its forms).
        spec: What the encoder in use makes.
        read_only: Open beside a running writer and see the gallery as it was at that moment; ``add``
            and ``remove`` are refused.
        device: What searches an embedded gallery once it is large; the other engines take no notice.

    Raises:
        InvalidInput: ``url`` names no engine, or the engine needs another form of address;
            ``DeviceUnfit`` where ``cuda`` is asked for and cannot be used.
        EncoderMismatch: The gallery holds vectors of another encoder or length.
        GalleryUnavailable: It cannot be read or written, another process writes it, or ``read_only``
            was asked where no gallery is; ``GalleryUnreachable`` where its server does not answer.
        MissingExtra: The engine's packages are not installed.
    """
    if is_milvus(url):
        from index.milvus import MilvusGallery
        from index.milvus_address import MilvusAddress

        return MilvusGallery(MilvusAddress.parse(url), spec, read_only=read_only)
    folder = embedded_folder(url)
    if folder is not None:
        from index.embedded.device import accelerator, why_processor
        from index.embedded.engine import EmbeddedGallery

        opened = EmbeddedGallery(folder, spec, read_only=read_only, device=accelerator(device))
        opened.why_processor = why_processor(device)
        if embedded_folder(url) != folder:
            # It was switched to another generation in this very moment.
            opened.close()
            return open_gallery(url, spec, read_only=read_only, device=device)
        return opened
    if read_only:
        raise GalleryUnavailable(
            "a memory: gallery begins empty, so there is none to open with read_only=True"
        )
    from index.memory import MemoryGallery

    return MemoryGallery(spec)


def open_source(url: str, spec: EmbeddingSpec) -> Source:
    """Open the gallery at ``url`` to read all of it as it is now, without taking it into memory.

    Raises:
        PecaError: As ``open_gallery`` with ``read_only``.
    """
    folder = embedded_folder(url)
    if folder is None:
        return open_gallery(url, spec, read_only=True)
    from index.embedded.reading import StoredImages

    return StoredImages(folder, spec, live=False)


def stored_spec(url: str) -> EmbeddingSpec | None:
    """The spec that the gallery at ``url`` was begun with, or ``None`` where no gallery is yet.

    Raises:
        InvalidInput: ``url`` names no engine, or the engine needs another form of address.
        GalleryUnavailable: There is a gallery, but it cannot be read.
    """
    if is_milvus(url):
        from index.milvus import read_milvus_spec
        from index.milvus_address import MilvusAddress

        return read_milvus_spec(MilvusAddress.parse(url))
    folder = embedded_folder(url)
    if folder is None:
        return None
    from index.embedded.store import read_spec

    return read_spec(folder)


def is_milvus(url: str) -> bool:
    """Whether ``url`` is the address of a gallery in Milvus."""
    return url.startswith("milvus:")


def embedded_folder(url: str) -> Path | None:
    """The folder of an ``embedded:`` address, ``None`` for the other engines.

    It is the folder of the gallery's current generation, which ``index.generations`` explains.

    Raises:
        InvalidInput: ``url`` names no engine.
    """
    engine, _, address = url.partition(":")
    if engine == "embedded" and address:
        return current_folder(Path(address))
    if url == "memory:" or (is_milvus(url) and address):
        return None
    raise InvalidInput(
        f"a gallery's address must be memory:, embedded:PATH or milvus:ADDRESS, got {shown_address(url)!r}"
    )


def shown_address(url: str) -> str:
    """``url`` as it may be logged and printed: without a user, a password or a token."""
    return re.sub(r"//[^/?#]*@", "//", url)


def check_spec(stored: EmbeddingSpec, offered: EmbeddingSpec) -> None:
    """Refuse an encoder that is not the gallery's own.

    Raises:
        EncoderMismatch: The two differ; the message names both.
    """
    if stored != offered:
        raise EncoderMismatch(
            f"this gallery holds vectors of encoder {stored.encoder} (dim {stored.dim}), but encoder "
            f"{offered.encoder} (dim {offered.dim}) was offered; use the gallery's own encoder, or ingest "
            "the images again into a new gallery"
        )


def check_batch(
    records: Sequence[ImageRecord], vectors: NDArray[np.floating], spec: EmbeddingSpec
) -> NDArray[np.float32]:
    """What every engine asks of an ``add``.

    Args:
        records: N records.
        vectors: (N, D) float.
        spec: The gallery's.

    Returns:
        (N, D) float32 unit rows.

    Raises:
        InvalidInput: As ``Gallery.add`` says.
    """
    array = np.asarray(vectors)
    if array.shape != (len(records), spec.dim):
        raise InvalidInput(
            f"{len(records)} records need vectors of shape ({len(records)}, {spec.dim}), got {array.shape}"
        )
    repeated = [image_id for image_id, n in Counter(record.image_id for record in records).items() if n > 1]
    if repeated:
        raise InvalidInput(f"each image_id must stand once in a call, got {repeated[0]!r} more than once")
    return l2_normalise(array)


def check_search(queries: NDArray[np.floating], k: int, spec: EmbeddingSpec) -> NDArray[np.float32]:
    """What every engine asks of a ``search``.

    Args:
        queries: (Q, D) float.
        k: How many hits.
        spec: The gallery's.

    Returns:
        (Q, D) float32 unit rows.

    Raises:
        InvalidInput: As ``Gallery.search`` says.
    """
    array = np.asarray(queries)
    if array.ndim != 2 or array.shape[1] != spec.dim:
        raise InvalidInput(f"queries must be of shape (Q, {spec.dim}), got {array.shape}")
    if k < 1:
        raise InvalidInput(f"k must be at least 1, got {k}")
    return l2_normalise(array)


def check_page(limit: int, before: tuple[datetime, str] | None) -> tuple[datetime, str] | None:
    """What every engine asks of a ``page``.

    Returns:
        ``before``, its instant in UTC.

    Raises:
        InvalidInput: As ``Gallery.page`` says.
    """
    if limit < 1:
        raise InvalidInput(f"limit must be at least 1, got {limit}")
    return None if before is None else (as_utc(before[0], "before"), before[1])
