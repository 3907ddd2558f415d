"""From the image files of a query to one vector, and what is told of each of them."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.errors import ImageRefused
from exporter.modality import detect_modality
from exporter.preprocess import load_image
from index.errors import InvalidInput
from index.rerank import fuse
from index.space import Modality
from server.batching import EncodingQueue, Lane
from server.errors import ImageBytesExceeded
from server.limits import SEARCHED
from server.settings import Settings

MAX_QUERY_IMAGES = 16


@dataclass(frozen=True, slots=True)
class QueryImage:
    """One image that was searched with.

    Attributes:
        modality: By which light it was taken.
        detected: That was judged by its content, and not said by the operator or the gallery.
        confidence: Of the judgement, 0.5 to 1; ``None`` where it was said.
        sha256: Of its file; ``None`` where a stored image's file is missing.
        image_id: Of a stored image; ``None`` for one that came with the request.
    """

    modality: Modality
    detected: bool = False
    confidence: float | None = None
    sha256: str | None = None
    image_id: str | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """N query images: (N, H, W, 3) uint8 pixels, and what is told of each."""

    pixels: NDArray[np.uint8]
    images: tuple[QueryImage, ...]


class QueryImages:
    """Decodes and encodes the images of one person that a search or a watchlist asks by."""

    def __init__(self, encoding: EncodingQueue, settings: Settings) -> None:
        self._encoding = encoding
        self._settings = settings

    def decode(self, files: Sequence[bytes], lights: Sequence[Modality | None]) -> Decoded:
        """Decode image files.

        Args:
            files: Their bytes, 1 to ``MAX_QUERY_IMAGES``.
            lights: Of each its modality; ``None`` judges by its content.

        Raises:
            InvalidInput: There is none, or there are too many.
            ImageRefused: One cannot be used.
            DeadlinePassed: The request's time is over.
            ClientLeft: Nobody waits for the answer any more.
        """
        if not 1 <= len(files) <= MAX_QUERY_IMAGES:
            raise InvalidInput(f"expected 1 to {MAX_QUERY_IMAGES} query images, got {len(files)}")
        for number, data in enumerate(files, start=1):
            with _named(number, len(files)):
                check_image_bytes(data, self._settings)
        size, most = self._encoding.image_hw, self._settings.max_image_pixels
        pixels = []
        for number, data in enumerate(files, start=1):
            with SEARCHED.turn(), _named(number, len(files)):
                pixels.append(load_image(data, size, max_pixels=most))
        told = tuple(_told(*one) for one in zip(files, pixels, lights, strict=True))
        return Decoded(np.stack(pixels), told)

    def encode(self, decoded: Decoded) -> NDArray[np.float32]:
        """(D,) the unit vector of all of them together.

        Raises:
            EncoderBusy: Too many searches wait.
        """
        light = [image.modality for image in decoded.images]
        vectors = self._encoding.encode(decoded.pixels, light, Lane.SEARCH)
        alone: NDArray[np.float32] = vectors[0]
        return alone if len(vectors) == 1 else fuse(vectors)


@contextmanager
def _named(number: int, of: int) -> Iterator[None]:
    """Say of a refusal which image it is of, where there are several."""
    try:
        yield
    except ImageRefused as error:
        if of == 1:
            raise
        raise type(error)(f"image {number} of {of}: {error}") from error


def check_image_bytes(data: bytes, settings: Settings) -> None:
    """Refuse an image file that is too large.

    Raises:
        ImageBytesExceeded: It is.
    """
    if len(data) > settings.max_image_bytes:
        raise ImageBytesExceeded(f"expected at most {settings.max_image_bytes:,} bytes, got {len(data):,}")


def _told(data: bytes, pixels: NDArray[np.uint8], modality: Modality | None) -> QueryImage:
    digest = hashlib.sha256(data).hexdigest()
    if modality is not None:
        return QueryImage(modality, sha256=digest)
    judged = detect_modality(pixels)
    return QueryImage(judged.modality, True, round(judged.confidence, 4), digest)
