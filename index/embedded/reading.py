"""What a gallery holds, read without what searches it: neither its start nor its memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.embedded.store import Store
from index.records import ANY, ImageRecord, Where
from index.space import EmbeddingSpec


class StoredImages:
    """A ``Source`` of an embedded gallery, beside its server too.

    Args:
        folder: Of the gallery.
        spec: Of its encoder.
        live: See each time what was last committed; else the gallery as it was at opening, while SQLite's
            write-ahead file can only grow.

    Raises:
        EncoderMismatch: The gallery holds vectors of another encoder.
        GalleryUnavailable: There is none, or it cannot be read.
    """

    def __init__(self, folder: Path, spec: EmbeddingSpec, *, live: bool) -> None:
        self.spec = spec
        self._store = Store(folder, spec, read_only=True, live=live)

    def vectors(self, where: Where = ANY) -> Iterator[tuple[list[ImageRecord], NDArray[np.float32]]]:
        """See ``Gallery.vectors``."""
        return self._store.pages(where)

    def records(self, where: Where = ANY) -> Iterator[list[ImageRecord]]:
        """See ``Gallery.records``."""
        return self._store.record_pages(where)

    def count(self, where: Where = ANY) -> int:
        """See ``Gallery.count``."""
        return self._store.count(where)

    def close(self) -> None:
        """Close the file; calling it again does nothing."""
        self._store.close()
