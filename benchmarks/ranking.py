"""Whether re-ranking, several query images and one result a track help: on a synthetic test set.

Usage: ranking.py TREE [BUNDLE]

TREE is what `peca synth --preset bench` wrote; its test people are searched across modalities. A track is
all images of one person by one camera, as a tracker without faults would give them. A query of N images is
N images of one track.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.bundle import default_bundle
from exporter.preprocess import load_image
from exporter.runtime import load_encoder
from index.metrics import RankingMetrics, evaluate_ranking
from index.protocols import PLAIN
from index.rerank import CANDIDATES, fuse, k_reciprocal_order
from index.space import Modality
from training.datasets.reader import read_dataset

QUERIES = 300
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Images:
    """N images: (N, D) unit rows, and who, where and by which light, (N,) each."""

    vectors: NDArray[np.float32]
    people: NDArray[np.str_]
    cameras: NDArray[np.str_]
    modality: NDArray[np.str_]


def embedded(root: Path, bundle: Path) -> Images:
    """The test part of a SYSU-MM01 tree as an encoder sees it."""
    encoder, images = load_encoder(bundle), read_dataset("sysu", root).test
    rows = []
    for start in range(0, len(images), _BATCH):
        part = images[start : start + _BATCH]
        pixels = np.stack([load_image(one.path, encoder.image_hw) for one in part])
        rows.append(encoder.encode(pixels, [one.modality for one in part]))
    return Images(
        np.concatenate(rows),
        np.array([one.person_id for one in images]),
        np.array([one.camera_id for one in images]),
        np.array([str(one.modality) for one in images]),
    )


Order = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.intp]]
"""From (Q, D) query rows of one person and (G, D) gallery rows to the gallery's positions, best first."""


def by_mean(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.intp]:
    """By cosine to the mean of the query rows."""
    return np.argsort(-(rows @ fuse(queries)), kind="stable")


def by_best(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.intp]:
    """By the best cosine to any query row."""
    return np.argsort(-(rows @ queries.T).max(axis=1), kind="stable")


def by_neighbours(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.intp]:
    """By cosine, the first of them by k-reciprocal neighbours."""
    order = by_mean(queries, rows)
    head = order[:CANDIDATES]
    return np.concatenate([head[k_reciprocal_order(fuse(queries), rows[head])], order[CANDIDATES:]])


def best_of_tracks(order: NDArray[np.intp], tracks: NDArray[np.str_]) -> NDArray[np.intp]:
    """The first image of each track, in the ranking's order."""
    _, first = np.unique(tracks[order], return_index=True)
    return order[np.sort(first)]


def scored(images: Images, asking: Modality, shots: int, order: Order, grouped: bool) -> RankingMetrics:
    """The mean over the same queries, whatever the method."""
    rng = np.random.default_rng(0)
    gallery = np.flatnonzero(images.modality != str(asking))
    tracks = np.char.add(np.char.add(images.people, "/"), images.cameras)
    similarity, people = [], []
    for query in rng.choice(np.flatnonzero(images.modality == str(asking)), QUERIES, replace=False):
        others = np.flatnonzero(tracks == tracks[query])
        chosen = [query, *others[others != query][: shots - 1]]
        ranked = order(images.vectors[chosen], images.vectors[gallery])
        if grouped:
            ranked = best_of_tracks(ranked, tracks[gallery])
        row = np.full(len(gallery), -2.0)
        row[ranked] = -np.arange(len(ranked)) / len(gallery)
        similarity.append(row)
        people.append(images.people[query])
    if grouped:
        # What is never shown is of nobody, so that it is neither a match nor missed.
        return _mean_over_shown(np.array(similarity), people, images.people[gallery])
    ids = images.people[gallery].tolist()
    return evaluate_ranking(np.array(similarity), people, ids, [0] * len(people), [0] * len(ids), PLAIN)


def _mean_over_shown(
    similarity: NDArray[np.float64], people: list[str], ids: NDArray[np.str_]
) -> RankingMetrics:
    parts = []
    for row, person in zip(similarity, people, strict=True):
        shown = row > -2
        count = int(shown.sum())
        parts.append(
            evaluate_ranking(row[shown][None], [person], ids[shown].tolist(), [0], [0] * count, PLAIN)
        )
    length = min(len(part.cmc) for part in parts)
    return RankingMetrics(
        np.mean([part.cmc[:length] for part in parts], axis=0),
        float(np.mean([part.mean_ap for part in parts])),
        float(np.mean([part.mean_inp for part in parts])),
        len(parts),
    )


METHODS: dict[str, tuple[int, Order, bool]] = {
    "cosine, one query image": (1, by_mean, False),
    "2 query images, mean": (2, by_mean, False),
    "2 query images, best of each": (2, by_best, False),
    "4 query images, mean": (4, by_mean, False),
    "4 query images, best of each": (4, by_best, False),
    "re-ranked": (1, by_neighbours, False),
    "4 query images, mean, re-ranked": (4, by_neighbours, False),
    "one result a track": (1, by_mean, True),
    "re-ranked, one result a track": (1, by_neighbours, True),
    "4 query images, mean, one result a track": (4, by_mean, True),
    "4 query images, mean, re-ranked, one result a track": (4, by_neighbours, True),
}


def main() -> None:
    """Print a table, each number in percent."""
    images = embedded(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else default_bundle())
    for asking in Modality:
        gallery = int((images.modality != str(asking)).sum())
        print(f"\n{asking} to {asking.other}: {QUERIES} queries, {gallery} gallery images\n")
        print("| method | R1 | R5 | R10 | mAP | mINP |\n|---|---|---|---|---|---|")
        for name, (shots, order, grouped) in METHODS.items():
            found = scored(images, asking, shots, order, grouped)
            figures = [found.rank(1), found.rank(5), found.rank(10), found.mean_ap, found.mean_inp]
            print(f"| {name} | {' | '.join(f'{100 * one:.1f}' for one in figures)} |", flush=True)


if __name__ == "__main__":
    main()
