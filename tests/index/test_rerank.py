"""Ranking beyond one cosine: k-reciprocal re-ranking, fused queries, one result a track."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index.errors import InvalidInput
from index.gallery import Gallery, open_gallery
from index.records import ANY, Hit, ImageRecord, Where
from index.rerank import CANDIDATES, find, first_of_each_track, fuse, k_reciprocal_order
from index.space import EmbeddingSpec, Modality, l2_normalise

SPEC = EmbeddingSpec(8, "encoder-a")
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def record(image_id: str, **changes: Any) -> ImageRecord:
    values: dict[str, Any] = {"modality": Modality.INFRARED, "camera_id": "cam1", "captured_at": NOON}
    return ImageRecord(image_id, **{**values, **changes})


def rows(count: int, seed: int = 0) -> NDArray[np.float32]:
    return l2_normalise(np.random.default_rng(seed).standard_normal((count, SPEC.dim)))


class Plain:
    """A gallery of one's own that knows no index, and so no ``exact``."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    def search(self, queries: NDArray[np.float32], k: int, where: Where = ANY) -> list[list[Hit]]:
        return self._gallery.search(queries, k, where)


def test_a_search_asks_for_exactness_only_where_it_is_wanted(gallery: Gallery) -> None:
    gallery.add([record("a")], rows(1))
    found = find(Plain(gallery), rows(1)[0], 1)  # type: ignore[arg-type]
    assert [one.hit.record.image_id for one in found] == ["a"]
    assert find(gallery, rows(1)[0], 1, exact=True)[0].hit.record.image_id == "a"


@pytest.fixture
def gallery() -> Iterator[Gallery]:
    with closing(open_gallery("memory:", SPEC)) as opened:
        yield opened


def published(points: NDArray[np.float64], k1: int, k2: int, weight: float) -> list[int]:
    """The paper's published code, point by point, for one query, the first point; order of the others."""
    n = len(points)
    original = np.array([[2 - 2 * float(a @ b) for b in points] for a in points]).clip(0)
    original = (original / original.max(axis=0)).T
    ranks = [sorted(range(n), key=lambda j, i=i: (original[i][j], j)) for i in range(n)]

    def mutual(i: int, k: int) -> list[int]:
        return [j for j in ranks[i][: k + 1] if i in ranks[j][: k + 1]]

    encoded = np.zeros((n, n))
    for i in range(n):
        near = mutual(i, k1)
        grown = set(near)
        for j in near:
            theirs = mutual(j, round(k1 / 2))
            if len(set(theirs) & set(near)) > 2 / 3 * len(theirs):
                grown |= set(theirs)
        total = sum(np.exp(-original[i][j]) for j in grown)
        for j in grown:
            encoded[i][j] = np.exp(-original[i][j]) / total
    encoded = np.array([np.mean([encoded[j] for j in ranks[i][:k2]], axis=0) for i in range(n)])
    final = {}
    for i in range(1, n):
        shared = sum(min(encoded[0][j], encoded[i][j]) for j in range(n))
        final[i - 1] = (1 - weight) * (1 - shared / (2 - shared)) + weight * original[0][i]
    return sorted(final, key=lambda i: (round(final[i], 12), i))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("nearest", "expansion", "weight"), [(6, 3, 0.3), (4, 1, 0.0), (10, 6, 0.7)])
def test_the_order_is_that_of_the_published_code(
    seed: int, nearest: int, expansion: int, weight: float
) -> None:
    centres = rows(4, seed)
    points = l2_normalise(centres[np.arange(29) % 4] + 0.4 * rows(29, seed + 100))
    got = k_reciprocal_order(
        points[0], points[1:], nearest=nearest, expansion=expansion, cosine_weight=weight
    )
    assert got.tolist() == published(points.astype(np.float64), nearest, expansion, weight)


def test_neighbours_pull_up_what_cosine_ranks_low() -> None:
    """A view of the person that is far from the query, and near to the person's other views."""
    steps = [0, 0.3, 0.6, 0.9]
    person = np.array([[np.cos(step), np.sin(step), *[0] * 6] for step in steps], np.float32)
    stranger = np.array([[0.7, 0, *np.eye(6)[i] * (1 - 0.7**2) ** 0.5] for i in range(6)], np.float32)
    candidates = np.concatenate([person[1:3], stranger, person[3:]])
    assert np.argsort(-candidates @ person[0], kind="stable").tolist()[-1] == 8
    order = k_reciprocal_order(person[0], candidates, nearest=3, expansion=2)
    assert order.tolist().index(8) <= 3


def test_few_candidates_keep_their_order() -> None:
    query = rows(1)[0]
    assert k_reciprocal_order(query, rows(0)).tolist() == []
    assert k_reciprocal_order(query, rows(1, 5)).tolist() == [0]
    assert sorted(k_reciprocal_order(query, rows(3, 5)).tolist()) == [0, 1, 2]
    same = np.repeat(query[None], 4, axis=0)
    assert k_reciprocal_order(query, same).tolist() == [0, 1, 2, 3]


def test_a_weight_of_one_is_the_order_of_cosine() -> None:
    query, candidates = rows(1)[0], rows(40, 3)
    order = k_reciprocal_order(query, candidates, cosine_weight=1.0)
    assert order.tolist() == np.argsort(-(candidates @ query), kind="stable").tolist()


def test_fused_queries_are_the_mean_of_their_directions() -> None:
    queries = np.array([[3, 0, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(fuse(queries)[:2], [0.5**0.5, 0.5**0.5], atol=1e-7)
    np.testing.assert_allclose(fuse(queries[:1])[:2], [1, 0])
    for bad in (queries[:0], np.stack([queries[0], -queries[0]])):
        with pytest.raises(InvalidInput):
            fuse(bad)


def test_find_is_the_search_of_the_gallery(gallery: Gallery) -> None:
    gallery.add([record(f"i{i:03}") for i in range(300)], rows(300))
    query = rows(1, 9)[0]
    expected = gallery.search(query[None], 25)[0]
    assert [one.hit for one in find(gallery, query, 25)] == expected
    assert {one.group_size for one in find(gallery, query, 25)} == {1}
    left_out = {expected[0].record.image_id, expected[3].record.image_id}
    assert [one.hit for one in find(gallery, query, 23, without=left_out)] == [
        hit for hit in expected if hit.record.image_id not in left_out
    ]
    above = [hit for hit in expected if hit.score >= expected[9].score]
    assert [one.hit for one in find(gallery, query, 25, threshold=expected[9].score)] == above


def test_the_first_candidates_are_ranked_anew_and_the_rest_follow(gallery: Gallery) -> None:
    gallery.add([record(f"i{i:03}") for i in range(400)], rows(400))
    query = rows(1, 9)[0]
    plain = gallery.search(query[None], 400)[0]
    found = [one.hit for one in find(gallery, query, 400, rerank=True)]
    assert found[CANDIDATES:] == plain[CANDIDATES:]
    assert found[:CANDIDATES] != plain[:CANDIDATES]
    assert sorted(found, key=lambda hit: hit.record.image_id) == sorted(
        plain, key=lambda hit: hit.record.image_id
    )
    assert [one.hit for one in find(gallery, query, 5, rerank=True)] == found[:5]


def test_one_result_a_track_fetches_until_there_are_enough(gallery: Gallery) -> None:
    """One track of 500 images stands before every other."""
    query = rows(1)[0]
    near = l2_normalise(query + 0.01 * rows(500, 1))
    gallery.add([record(f"near-{i:03}", track_id="t0") for i in range(500)], near)
    others = [record(f"far-{i}", track_id=f"t{i % 10 + 1}") for i in range(100)]
    gallery.add(others, rows(100, 2))
    gallery.add([record("other camera", camera_id="cam2", track_id="t0")], rows(1, 3))
    gallery.add([record("alone-1"), record("alone-2")], rows(2, 4))
    found = find(gallery, query, 5, by_track=True)
    assert found[0].group_size == 500
    assert len(found) == 5
    everything = find(gallery, query, 50, by_track=True)
    assert len(everything) == 1 + 10 + 1 + 2
    assert everything[:5] == found
    scores = [one.hit.score for one in everything]
    assert scores == sorted(scores, reverse=True)
    assert sorted(one.group_size for one in everything) == [1, 1, 1, *[10] * 10, 500]
    best = gallery.search(query[None], 1, Where(track_ids=["t4"]))[0][0]
    assert best in [one.hit for one in everything]
    reranked = find(gallery, query, 50, by_track=True, rerank=True)
    assert {one.hit.record.track_id for one in reranked} == {one.hit.record.track_id for one in everything}
    own = find(gallery, query, 1, Where(camera_ids=["cam1"]), by_track=True, without={"near-000"})
    assert own[0].group_size == 499


def test_hits_without_a_track_all_stay() -> None:
    hits = [Hit(record(name), score) for name, score in (("a", 0.9), ("b", 0.8), ("c", 0.7))]
    tracked = [Hit(record("d", track_id="a"), 0.6), Hit(record("e", track_id="a"), 0.5)]
    assert first_of_each_track([*hits, *tracked]) == [*hits, tracked[0]]


def test_an_empty_gallery_has_nothing_to_rank(gallery: Gallery) -> None:
    for options in ({}, {"rerank": True}, {"by_track": True}, {"rerank": True, "by_track": True}):
        assert find(gallery, rows(1)[0], 3, ANY, **options) == []
