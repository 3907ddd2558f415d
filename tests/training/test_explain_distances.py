"""The distances that an encoder puts between the images of a tree."""

import numpy as np
import pytest
import torch

import training.explain.trained
from index.distances import Pairing, measure_distances
from training.explain.distances import sample_distances
from training.explain.trained import TrainedEncoder, embed_samples
from training.models.encoder import Stream
from training.models.network import Network


@pytest.fixture
def trained(recipe):
    torch.manual_seed(0)
    network = Network(recipe.model, 4)
    for stream in Stream:
        network.encoder([(stream, torch.randn(8, 3, 48, 24))])
    encoder = network.encoder.eval().requires_grad_(False)
    return TrainedEncoder(encoder, (48, 24), "demo", 1, torch.device("cpu"))


def test_they_are_those_of_the_embeddings_however_many_are_in_memory(trained, dataset, monkeypatch):
    samples = dataset.test
    told = []
    monkeypatch.setattr(training.explain.trained, "_AT_ONCE", 10)
    measured = sample_distances(trained, samples, lambda done, total: told.append((done, total)))
    assert told == [(min(n, len(samples)), len(samples)) for n in range(10, len(samples) + 10, 10)]
    monkeypatch.undo()
    embeddings = embed_samples(trained, samples)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    people = [sample.person_id for sample in samples]
    expected = measure_distances(embeddings, people, [sample.modality for sample in samples])
    for pairing in Pairing:
        assert measured.same[pairing].pairs == expected.same[pairing].pairs
        assert measured.same[pairing].mean == pytest.approx(expected.same[pairing].mean, abs=1e-5)
        assert measured.different[pairing].mean == pytest.approx(expected.different[pairing].mean, abs=1e-5)
