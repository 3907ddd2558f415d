"""Ranking beyond one cosine: re-ranking, several query images in one search, one result a track."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from index.errors import InvalidInput
from index.gallery import Gallery
from index.records import ANY, Hit, Where
from index.space import l2_normalise

CANDIDATES = 200
"""How many of the most similar images are ranked anew; those after them keep their places."""
_NEAREST = 20
_EXPANSION = 6
_COSINE_WEIGHT = 0.3
_TRACK_IMAGES = 4
"""Images fetched for each track wanted, at first and again for as long as there are too few tracks."""


def fuse(queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """One query of several images of a person: the mean of their unit vectors.

    Args:
        queries: (Q, D) float, normalised here; Q at least 1.

    Returns:
        (D,) float32 unit vector.

    Raises:
        InvalidInput: There is none, or they cancel each other out.
    """
    if not len(queries):
        raise InvalidInput("expected at least one query vector to fuse, got none")
    if len(queries) == 1:
        return l2_normalise(queries[0])
    return l2_normalise(l2_normalise(queries).mean(axis=0, dtype=np.float64))


def k_reciprocal_order(
    query: NDArray[np.float32],
    candidates: NDArray[np.float32],
    *,
    nearest: int = _NEAREST,
    expansion: int = _EXPANSION,
    cosine_weight: float = _COSINE_WEIGHT,
) -> NDArray[np.intp]:
    """Order candidates by how far they share their nearest neighbours with the query.

    k-reciprocal encoding of Zhong et al., "Re-ranking Person Re-identification with k-reciprocal
    Encoding", CVPR 2017, among the query and its C candidates alone; the defaults are the paper's k1, k2
    and lambda.

    Args:
        query: (D,) float32 unit vector.
        candidates: (C, D) float32 unit rows, best first.
        nearest: k1, the neighbours looked at, at least 1.
        expansion: k2, the neighbours whose encodings are averaged, at least 1.
        cosine_weight: lambda in [0, 1], the weight of the original distance; 1 keeps its order.

    Returns:
        (C,) positions in ``candidates``, best first; equal ones in the order given.
    """
    if len(candidates) < 2:
        return np.arange(len(candidates))
    points = np.concatenate([query[np.newaxis], candidates]).astype(np.float64)
    distances = np.clip(2 - 2 * points @ points.T, 0, None)
    distances /= np.maximum(distances.max(axis=0), 1e-12)  # as the paper's code does, column by column
    distances = distances.T
    order = np.argsort(distances, axis=1, kind="stable")
    encodings = _encodings(distances, order, nearest)
    if expansion > 1:
        encodings = encodings[order[:, :expansion]].mean(axis=1)
    final = (1 - cosine_weight) * _jaccard(encodings) + cosine_weight * distances[0]
    return np.argsort(final[1:], kind="stable")


def _encodings(distances: NDArray[np.float64], order: NDArray[np.intp], nearest: int) -> NDArray[np.float64]:
    """(N, N) each point's expanded k-reciprocal neighbours, weighted by nearness; rows sum to 1."""
    whole, half = _reciprocal(order, nearest), _reciprocal(order, max(1, round(nearest / 2)))
    encodings = np.zeros_like(distances)
    sizes = half.sum(axis=1)
    for point, own in enumerate(whole):
        # A neighbour's own neighbours join where two thirds of them are the point's already.
        shared = (half & own).sum(axis=1)
        joining = own & (shared > 2 / 3 * sizes)
        among = own | half[joining].any(axis=0)
        weights = np.exp(-distances[point, among])
        encodings[point, among] = weights / weights.sum()
    return encodings


def _reciprocal(order: NDArray[np.intp], nearest: int) -> NDArray[np.bool_]:
    """(N, N) whether two points are each among the other's nearest; each is its own."""
    near = np.zeros(order.shape, dtype=np.bool_)
    np.put_along_axis(near, order[:, : nearest + 1], True, axis=1)
    np.fill_diagonal(near, True)
    return near & near.T


def _jaccard(encodings: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) Jaccard distance of each point's encoding to the first one's."""
    shared = np.minimum(encodings, encodings[0]).sum(axis=1)
    distances: NDArray[np.float64] = 1 - shared / (2 - shared)
    return distances


@dataclass(frozen=True, slots=True)
class Ranked:
    """One result of ``find``.

    Attributes:
        hit: The image, its score the cosine to the query whatever the order.
        group_size: Where one result a track was asked, how many images of its track the filter lets
            through; else 1.
    """

    hit: Hit
    group_size: int = 1


def find(
    gallery: Gallery,
    query: NDArray[np.float32],
    limit: int,
    where: Where = ANY,
    *,
    threshold: float | None = None,
    rerank: bool = False,
    by_track: bool = False,
    exact: bool = False,
    without: Collection[str] = (),
) -> list[Ranked]:
    """Search a gallery, and rank what it gives beyond cosine where asked.

    Args:
        gallery: Where.
        query: (D,) float.
        limit: Most results, at least 1; fewer only where there are fewer.
        where: The filter.
        threshold: Only images of at least this cosine; ``None`` for all.
        rerank: Order the first ``CANDIDATES`` by k-reciprocal neighbours, the rest by cosine after them.
        by_track: Of each camera's track only its first image; images without a track stand alone.
        exact: Passed on to ``Gallery.search``.
        without: Ids of images to leave out.

    Raises:
        InvalidInput: As ``Gallery.search`` says.
    """
    k = max((limit + len(without)) * (_TRACK_IMAGES if by_track else 1), CANDIDATES if rerank else 1)
    search = partial(gallery.search, exact=True) if exact else gallery.search
    head: list[Hit] | None = None
    while True:
        hits = search(query[np.newaxis], k, where)[0]
        kept = [hit for hit in hits if hit.record.image_id not in without]
        if threshold is not None:
            kept = [hit for hit in kept if hit.score >= threshold]
        if rerank:
            # Once: where more is fetched to fill the groups, the first candidates are the same.
            head = reranked(gallery, query, kept[:CANDIDATES]) if head is None else head
            kept = head + kept[CANDIDATES:]
        shown = first_of_each_track(kept) if by_track else kept
        all_seen = len(hits) < k or (threshold is not None and hits[-1].score < threshold)
        if len(shown) >= limit or all_seen:
            sizes = (
                map(partial(_track_size, gallery, where, without), shown[:limit]) if by_track else repeat(1)
            )
            return list(map(Ranked, shown[:limit], sizes))
        k *= _TRACK_IMAGES


def reranked(gallery: Gallery, query: NDArray[np.float32], hits: Sequence[Hit]) -> list[Hit]:
    """``hits`` by ``k_reciprocal_order``, each with its score; images removed since are left out."""
    pages = gallery.vectors(Where(image_ids=[hit.record.image_id for hit in hits]))
    rows = {
        record.image_id: row for records, batch in pages for record, row in zip(records, batch, strict=True)
    }
    here = [hit for hit in hits if hit.record.image_id in rows]
    if not here:
        return []
    order = k_reciprocal_order(l2_normalise(query), np.stack([rows[hit.record.image_id] for hit in here]))
    return [here[position] for position in order]


def first_of_each_track(hits: Iterable[Hit]) -> list[Hit]:
    """The first hit of each camera's track; hits without a track all stay."""
    firsts: dict[tuple[str, ...], Hit] = {}
    for hit in hits:
        record = hit.record
        track = (record.image_id,) if record.track_id is None else (record.camera_id, record.track_id)
        firsts.setdefault(track, hit)
    return list(firsts.values())


def _track_size(gallery: Gallery, where: Where, without: Collection[str], hit: Hit) -> int:
    """How many images of the hit's track pass the filter."""
    record = hit.record
    if record.track_id is None:
        return 1
    track = replace(where, camera_ids=[record.camera_id], track_ids=[record.track_id])
    left_out = gallery.count(replace(track, image_ids=without)) if without else 0
    return gallery.count(track) - left_out
