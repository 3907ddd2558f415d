"""Recall and latency of a gallery in Milvus, filtered and not, before and after its segments are sealed.

    python benchmarks/milvus_recall.py milvus:127.0.0.1:19530 --images 60000 --dim 512 --index FLAT

Clustered vectors of synthetic people over 1,000 cameras; a filter names so many of the cameras. The truth is
an exact search of the same vectors in memory.
"""

import argparse
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import numpy as np
from pymilvus import MilvusClient

from index.gallery import Gallery, open_gallery
from index.milvus_address import MilvusAddress
from index.milvus_collection import generation_name
from index.records import ImageRecord, Where
from index.space import EmbeddingSpec, Modality, l2_normalise

CAMERAS = 1000
PEOPLE = 2000
SHARES = (0.001, 0.01, 0.1, 0.5, 1.0)
QUERIES = 50
K = 20
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def main() -> None:
    """Fill, measure, seal, measure again."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--index", default="FLAT")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    centres = random.standard_normal((PEOPLE, options.dim)).astype(np.float32)
    people = random.integers(0, PEOPLE, options.images)
    rows = l2_normalise(centres[people] + 0.8 * random.standard_normal((options.images, options.dim)))
    cameras = random.integers(0, CAMERAS, options.images)
    queries = l2_normalise(centres[:QUERIES] + random.standard_normal((QUERIES, options.dim)))
    records = [
        ImageRecord(f"i{i}", Modality.VISIBLE, f"cam{cameras[i]}", NOON + timedelta(seconds=i))
        for i in range(options.images)
    ]
    spec = EmbeddingSpec(options.dim, "benchmark")
    name = f"bench_{options.index.lower()}_{int(time.time())}"
    url = f"{options.url}?collection={name}&index={options.index}"
    with closing(open_gallery(url, spec)) as gallery:
        began = time.perf_counter()
        for start in range(0, options.images, 1000):
            gallery.add(records[start : start + 1000], rows[start : start + 1000])
        print(
            f"{options.index}: {options.images / (time.perf_counter() - began):,.0f} images/s added",
            flush=True,
        )
        measure(gallery, rows, cameras, queries, f"{options.index}, as added")
        client = MilvusClient(MilvusAddress.parse(url).uri, dedicated=True)
        collection = generation_name(MilvusAddress.parse(url), spec)
        began = time.perf_counter()
        client.flush(collection)
        wait_for_index(client, collection, options.images)
        print(f"{options.index}: sealed and indexed after {time.perf_counter() - began:.0f} s", flush=True)
        measure(gallery, rows, cameras, queries, f"{options.index}, sealed")
        client.drop_alias(name)
        client.drop_collection(collection)
        client.close()


def wait_for_index(client: MilvusClient, collection: str, images: int) -> None:
    """Until every row is indexed, and long enough for Milvus to load what it indexed."""
    while int(client.describe_index(collection, "vector").get("indexed_rows", 0)) < images:
        time.sleep(1)
    time.sleep(30)


def measure(gallery: Gallery, rows, cameras, queries, label: str) -> None:
    """Print recall@20, how many answers were short, and latency, for each share of the gallery."""
    scores = queries @ rows.T
    for share in SHARES:
        kept = cameras < share * CAMERAS
        camera_ids = None if share == 1 else [f"cam{i}" for i in range(int(share * CAMERAS))]
        where = Where(modality=Modality.VISIBLE, camera_ids=camera_ids)
        recalls, times, short = [], [], 0
        for query, score in zip(queries, scores, strict=True):
            began = time.perf_counter()
            (hits,) = gallery.search(query[np.newaxis], K, where)
            times.append(1000 * (time.perf_counter() - began))
            allowed = np.flatnonzero(kept)
            expected = {f"i{i}" for i in allowed[np.argsort(-score[allowed])[:K]]}
            recalls.append(len(expected & {hit.record.image_id for hit in hits}) / len(expected))
            short += len(hits) < len(expected)
        print(
            f"{label}: filter keeps {share:.1%}: recall@{K} {np.mean(recalls):.4f}, short {short}, "
            f"p50 {np.median(times):.1f} ms, p99 {np.quantile(times, 0.99):.1f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
