"""The embedded gallery against exact numpy: latency of one search, filtered and not, and adding.

Vectors lie in clusters, as people's do. Usage: gallery.py [IMAGES] [DIM]
"""

import statistics
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from index.gallery import Gallery, open_gallery
from index.records import ANY, ImageRecord, Where
from index.space import EmbeddingSpec, Modality

CAMERAS = 20
BATCH = 256
SEARCHES = 40
START = datetime(2026, 3, 2, tzinfo=UTC)
FILTERS = {
    "no filter": ANY,
    "modality (1/2)": Where(modality=Modality.INFRARED),
    "one camera (1/20)": Where(camera_ids=["cam3"]),
}


def site(count: int, dim: int) -> tuple[list[ImageRecord], NDArray[np.float32]]:
    """Records of cameras that alternate in modality, and clustered vectors (count, dim)."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(max(count // 20, 1), dim))
    vectors = centres[rng.integers(len(centres), size=count)] + 0.5 * rng.normal(size=(count, dim))
    records = [
        ImageRecord(f"image-{n}", list(Modality)[n % 2], f"cam{n % CAMERAS}", START + timedelta(seconds=n))
        for n in range(count)
    ]
    return records, vectors.astype(np.float32)


def fill(gallery: Gallery, records: list[ImageRecord], vectors: NDArray[np.float32]) -> float:
    """Add in batches; returns vectors per second."""
    began = time.perf_counter()
    for start in range(0, len(records), BATCH):
        gallery.add(records[start : start + BATCH], vectors[start : start + BATCH])
    return len(records) / (time.perf_counter() - began)


def median_ms(gallery: Gallery, queries: NDArray[np.float32], where: Where) -> float:
    """The median time of a search for the 20 nearest, over single queries."""
    times = []
    for query in queries:
        began = time.perf_counter()
        gallery.search(query[None], 20, where)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def main(count: int = 50_000, dim: int = 512) -> None:
    """Measure both engines and print the table."""
    spec = EmbeddingSpec(dim, "benchmark")
    records, vectors = site(count, dim)
    queries = vectors[:: max(count // SEARCHES, 1)][:SEARCHES]
    with (
        TemporaryDirectory() as folder,
        closing(open_gallery("memory:", spec)) as exact,
        closing(open_gallery(f"embedded:{Path(folder) / 'gallery'}", spec)) as embedded,
    ):
        print(f"{count:,} images of {dim} dimensions, {SEARCHES} single searches each, k=20")
        print(f"{'adding, vectors/s':22} exact {fill(exact, records, vectors):9,.0f}", end="")
        print(f"   embedded, durable {fill(embedded, records, vectors):9,.0f}")
        for name, where in FILTERS.items():
            reference, measured = (median_ms(engine, queries, where) for engine in (exact, embedded))
            ratio = measured / reference
            print(f"{name:22} exact {reference:6.2f} ms   embedded {measured:6.2f} ms   ratio {ratio:.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
