"""Distances within and across modalities, against a plain loop over all pairs."""

import json
from datetime import UTC, datetime
from itertools import combinations

import numpy as np
import pytest

import index.distances
from index.distances import BINS, Pairing, bin_edges, gallery_distances, measure_distances
from index.errors import InvalidInput
from index.gallery import open_gallery
from index.records import ImageRecord
from index.space import EmbeddingSpec, Modality, l2_normalise

VISIBLE, INFRARED = Modality.VISIBLE, Modality.INFRARED
DIM = 6


def people(images=40, seed=0):
    """Unit vectors, identities and modalities, in no order."""
    rng = np.random.default_rng(seed)
    vectors = l2_normalise(rng.normal(size=(images, DIM)))
    modality = [INFRARED if one else VISIBLE for one in rng.random(images) < 0.4]
    return vectors, [str(one) for one in rng.integers(0, 7, images)], modality


def loop(vectors, person_ids, modality):
    """For each pairing and kind, the distances of its pairs, in float64."""
    found = {(pairing, same): [] for pairing in Pairing for same in (True, False)}
    for i, j in combinations(range(len(vectors)), 2):
        pairing = Pairing(str(modality[i])) if modality[i] is modality[j] else Pairing.ACROSS
        distance = 1 - float(np.dot(vectors[i].astype(np.float64), vectors[j].astype(np.float64)))
        found[pairing, person_ids[i] == person_ids[j]].append(distance)
    return found


@pytest.mark.parametrize("chunk", [7, 1 << 21])
def test_every_pair_counts_once(monkeypatch, chunk):
    monkeypatch.setattr(index.distances, "_CHUNK_ELEMENTS", chunk)
    images = people()
    measured = measure_distances(*images)
    for (pairing, same), expected in loop(*images).items():
        got = (measured.same if same else measured.different)[pairing]
        assert got.pairs == len(expected) > 0
        assert got.mean == pytest.approx(np.mean(expected), abs=1e-6)
        assert got.std == pytest.approx(np.std(expected), abs=1e-6)
        cumulated = np.cumsum(got.histogram)
        assert np.abs(cumulated - [np.sum(np.array(expected) < edge) for edge in bin_edges()[1:]]).max() <= 1
    assert measured.images == {one: images[2].count(one) for one in Modality}
    assert measured.people == len(set(images[1]))


def test_the_gaps_are_differences_of_means():
    measured = measure_distances(*people())
    same, different = measured.same, measured.different
    for pairing in Pairing:
        assert measured.separation(pairing) == pytest.approx(different[pairing].mean - same[pairing].mean)
    within = (same[Pairing.VISIBLE].mean + same[Pairing.INFRARED].mean) / 2
    assert measured.modality_gap == pytest.approx(same[Pairing.ACROSS].mean - within)


def test_an_offset_of_one_modality_is_a_gap():
    rng = np.random.default_rng(1)
    near = l2_normalise(np.eye(DIM)[[0, 0, 1, 1]] + 0.05 * rng.normal(size=(4, DIM)))
    shifted = l2_normalise(near + np.eye(DIM)[5])
    identities, lights = ["a", "a", "b", "b"] * 2, [VISIBLE] * 4 + [INFRARED] * 4
    assert measure_distances(np.concatenate([near, near]), identities, lights).modality_gap < 0.01
    assert measure_distances(np.concatenate([near, shifted]), identities, lights).modality_gap > 0.2


def test_one_image_a_person_and_modality_leaves_no_pair_within():
    vectors = np.eye(DIM, dtype=np.float32)[:4]
    measured = measure_distances(vectors, ["a", "b", "a", "b"], [VISIBLE, VISIBLE, INFRARED, INFRARED])
    assert measured.same[Pairing.VISIBLE].mean is None
    assert measured.separation(Pairing.VISIBLE) is None
    assert measured.modality_gap is None
    assert measured.same[Pairing.ACROSS].pairs == measured.different[Pairing.ACROSS].pairs == 2
    assert measured.different[Pairing.ACROSS].mean == 1


def test_opposite_vectors_fall_into_the_last_bin():
    vectors = np.array([[1, 0], [-1, 0]], dtype=np.float32)
    measured = measure_distances(vectors, ["a", "a"], [VISIBLE, INFRARED])
    assert measured.same[Pairing.ACROSS].histogram == (*[0] * (BINS - 1), 1)


def test_it_is_json():
    content = measure_distances(*people()).to_dict()
    assert json.loads(json.dumps(content)) == content
    assert len(content["bin_edges"]) == len(content["across"]["same"]["histogram"]) + 1
    assert content["across"]["same"]["pairs"] == sum(content["across"]["same"]["histogram"])


def test_a_gallery_gives_its_labelled_images():
    vectors, person_ids, modality = people()
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    records = [
        ImageRecord(str(i), light, "c", moment, person_id=None if i % 5 == 0 else person)
        for i, (person, light) in enumerate(zip(person_ids, modality, strict=True))
    ]
    gallery = open_gallery("memory:", EmbeddingSpec(DIM, "test"))
    gallery.add(records, vectors)
    kept = [i for i in range(len(records)) if i % 5]
    expected = measure_distances(vectors[kept], [person_ids[i] for i in kept], [modality[i] for i in kept])
    assert gallery_distances(gallery) == expected


@pytest.mark.parametrize(
    ("vectors", "person_ids", "message"),
    [
        (np.eye(2), ["a", "b"], "1 have visible images, 1 infrared ones"),
        (np.array([[np.nan, 0], [1, 0]]), ["a", "a"], "must be finite"),
    ],
)
def test_refusals(vectors, person_ids, message):
    with pytest.raises(InvalidInput, match=message):
        measure_distances(vectors.astype(np.float32), person_ids, [VISIBLE, INFRARED])
