"""Ranking metrics against hand-worked numbers and against a plain loop in float64."""

import numpy as np
import pytest

from index.errors import InvalidInput
from index.metrics import Rankings, evaluate_ranking
from index.protocols import LLCM, PLAIN, REGDB, SYSU, CmcUnit

PROTOCOLS = [SYSU, REGDB, LLCM, PLAIN]


def dropped(protocol, query_id, gallery_id, query_camera, gallery_camera):
    """The protocol table's row "dropped", written out."""
    if protocol is SYSU:
        return query_camera == 3 and gallery_camera == 2
    if protocol is LLCM:
        return query_id == gallery_id and query_camera == gallery_camera
    return False


def plain_loop(similarity, query_ids, gallery_ids, query_cameras, gallery_cameras, protocol):
    """CMC, mAP, mINP and the number of valid queries, one query and one image at a time."""
    by_identity = protocol in (SYSU, LLCM)
    length = len(set(gallery_ids)) if by_identity else len(gallery_ids)
    hits_at, ap, inp = [0] * length, [], []
    for q, scores in enumerate(similarity):
        ranking = sorted(range(len(gallery_ids)), key=lambda g: (-float(scores[g]), g))
        ranking = [
            gallery_ids[g]
            for g in ranking
            if not dropped(protocol, query_ids[q], gallery_ids[g], query_cameras[q], gallery_cameras[g])
        ]
        ranks = [rank for rank, person in enumerate(ranking, start=1) if person == query_ids[q]]
        if not ranks:
            continue
        ap.append(sum(hit / rank for hit, rank in enumerate(ranks, start=1)) / len(ranks))
        inp.append(len(ranks) / ranks[-1])
        counted = list(dict.fromkeys(ranking)) if by_identity else ranking
        hits_at[counted.index(query_ids[q])] += 1
    cmc = [sum(hits_at[: k + 1]) / len(ap) for k in range(length)]
    return cmc, sum(ap) / len(ap), sum(inp) / len(inp), len(ap)


def random_case(rng, dtype):
    queries, gallery = rng.integers(1, 30), rng.integers(2, 60)
    # Few distinct scores, so that most rankings hold ties.
    similarity = (rng.integers(-5, 6, (queries, gallery)) / 5).astype(dtype)
    people = int(rng.integers(2, 12))
    return (
        similarity,
        rng.integers(0, people, queries).tolist(),
        rng.integers(0, people, gallery).tolist(),
        rng.choice([3, 6], queries).tolist(),
        rng.choice([1, 2, 3, 4, 6], gallery).tolist(),
    )


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("elements", [1 << 21, 64])
def test_equals_a_plain_loop_on_random_rankings_with_ties(protocol, dtype, elements, monkeypatch):
    monkeypatch.setattr("index.metrics._CHUNK_ELEMENTS", elements)
    rng = np.random.default_rng(7)
    compared = 0
    for _ in range(40):
        case = random_case(rng, dtype)
        try:
            cmc, mean_ap, mean_inp, valid = plain_loop(*case, protocol)
        except ZeroDivisionError:
            with pytest.raises(InvalidInput, match="has a match"):
                evaluate_ranking(*case, protocol)
            continue
        got = evaluate_ranking(*case, protocol)
        assert got.valid_queries == valid
        np.testing.assert_allclose(got.cmc, cmc, rtol=0, atol=1e-12)
        assert got.mean_ap == pytest.approx(mean_ap, abs=1e-12)
        assert got.mean_inp == pytest.approx(mean_inp, abs=1e-12)
        compared += 1
    assert compared > 20


def test_hand_worked_over_images():
    # Ranking of the one query: g1 (hit), g3, g0 (hit), g2. AP = (1/1 + 2/3) / 2, INP = 2/3.
    got = evaluate_ranking([[0.5, 0.9, 0.1, 0.7]], [1], [1, 1, 2, 3], [0], [0, 0, 0, 0], PLAIN)
    assert got.cmc.tolist() == [1, 1, 1, 1]
    assert got.mean_ap == pytest.approx(5 / 6)
    assert got.mean_inp == pytest.approx(2 / 3)


def test_cmc_counts_identities_where_the_protocol_does():
    # Ranked ids: 2, 2, 3, 1. Over images the match is at rank 4, over identities at rank 3.
    case = ([[0.1, 0.9, 0.8, 0.7]], [1], [1, 2, 2, 3], [6], [1, 1, 1, 1])
    assert evaluate_ranking(*case, REGDB).cmc.tolist() == [0, 0, 0, 1]
    assert evaluate_ranking(*case, SYSU).cmc.tolist() == [0, 0, 1]
    assert evaluate_ranking(*case, SYSU).mean_ap == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("query", "other", "seen"), [(3, 6, 2), ("3", "6", "2"), ("cam3", "cam6", "cam2"), ("cam3", "cam6", 2)]
)
def test_sysu_drops_camera_2_for_queries_of_camera_3_only(query, other, seen):
    # Camera 2 ranks first with the right identity; camera 1 holds a stranger, then the identity.
    gallery = ["0006", "0010", "0006"]
    cameras = (
        [seen, 1, 1] if isinstance(seen, int) else [seen, seen.replace("2", "1"), seen.replace("2", "1")]
    )
    scores = [[0.9, 0.8, 0.7]]
    assert evaluate_ranking(scores, ["0006"], gallery, [query], cameras, SYSU).cmc.tolist() == [0, 1]
    assert evaluate_ranking(scores, ["0006"], gallery, [other], cameras, SYSU).cmc.tolist() == [1, 1]


def test_llcm_drops_the_querys_identity_on_its_own_camera_but_no_stranger_there():
    got = evaluate_ranking([[0.9, 0.8, 0.7]], [1], [1, 2, 1], ["cam4"], ["cam4", "cam4", "cam5"], LLCM)
    assert got.cmc.tolist() == [0, 1]
    assert got.mean_ap == pytest.approx(1 / 2)


def test_ties_go_to_the_earlier_gallery_image():
    assert evaluate_ranking([[0.5, 0.5]], [1], [2, 1], [0], [0, 0], PLAIN).rank(1) == 0
    assert evaluate_ranking([[0.5, 0.5]], [1], [1, 2], [0], [0, 0], PLAIN).rank(1) == 1
    assert evaluate_ranking([[0.0, -0.0]], [1], [2, 1], [0], [0, 0], PLAIN).rank(1) == 0


def test_queries_without_a_match_do_not_count():
    got = evaluate_ranking([[0.9, 0.1], [0.9, 0.1]], [1, 9], [1, 2], [0, 0], [0, 0], PLAIN)
    assert (got.valid_queries, got.rank(1), got.mean_ap) == (1, 1, 1)


def test_ids_may_be_arrays_and_rank_past_the_end_is_the_last():
    got = evaluate_ranking(
        np.array([[3, 1, 2]]),
        np.array([4], dtype=np.int16),
        np.array([5, 5, 4]),
        np.array([0]),
        np.array([0, 0, 0]),
        REGDB,
    )
    assert got.cmc.tolist() == [0, 1, 1]
    assert got.rank(20) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_chance_is_the_mean_rank_1_of_random_rankings(protocol):
    rng = np.random.default_rng(3)
    _, *labels = random_case(rng, np.float64)
    shape = (len(labels[0]), len(labels[1]))
    valid, chance = Rankings(*labels, protocol).chance()
    rates = [evaluate_ranking(rng.random(shape), *labels, protocol) for _ in range(1000)]
    assert {rate.valid_queries for rate in rates} == {valid}
    assert chance == pytest.approx(np.mean([rate.rank(1) for rate in rates]), abs=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"similarity": [[np.nan, 0.1]]}, "finite"),
        ({"similarity": [[np.inf, 0.1]]}, "finite"),
        ({"similarity": [[0.1]]}, r"\(1, 2\)"),
        ({"similarity": [0.1, 0.2]}, r"\(1, 2\)"),
        ({"similarity": [["a", "b"]]}, "real numbers"),
        ({"query_cameras": [3, 3]}, "query_cameras must be as many"),
        ({"gallery_cameras": [1]}, "gallery_cameras must be as many"),
        ({"gallery_cameras": [1, "door"]}, "'door'"),
        ({"query_ids": ["0001"]}, "both be numbers or both strings"),
        ({"query_ids": [1.5]}, "whole numbers or all strings"),
        ({"query_ids": [], "query_cameras": [], "similarity": np.zeros((0, 2))}, "query_ids is empty"),
        ({"gallery_ids": [], "gallery_cameras": [], "similarity": np.zeros((1, 0))}, "gallery_ids is empty"),
        ({"query_ids": [9]}, "none of 1 queries has a match among 2 gallery images under SYSU-MM01"),
    ],
)
def test_refuses(change, message):
    whole = {
        "similarity": [[0.9, 0.1]],
        "query_ids": [1],
        "gallery_ids": [1, 2],
        "query_cameras": [3],
        "gallery_cameras": [1, 1],
        "protocol": SYSU,
    }
    assert evaluate_ranking(**whole).rank(1) == 1
    with pytest.raises(InvalidInput, match=message):
        evaluate_ranking(**{**whole, **change})


def test_what_cmc_counts_is_data():
    assert {protocol.name: protocol.cmc_unit for protocol in PROTOCOLS} == {
        "SYSU-MM01": CmcUnit.IDENTITIES,
        "LLCM": CmcUnit.IDENTITIES,
        "RegDB": CmcUnit.IMAGES,
        "plain": CmcUnit.IMAGES,
    }
