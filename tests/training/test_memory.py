import numpy as np
import pytest
import torch

from index.errors import InvalidInput
from training.memory import CentroidMemory

CLASSES, DIM = 4, 6


def batch(seed, count=30):
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.integers(CLASSES, size=count))
    modality = torch.from_numpy(rng.integers(2, size=count))
    return torch.from_numpy(rng.normal(size=(count, DIM))).float(), labels, modality


def normalised(row):
    return row / np.linalg.norm(row)


def test_it_begins_with_the_normalised_means():
    memory = CentroidMemory(CLASSES, DIM)
    features, labels, modality = batch(0)
    memory.initialise(features, labels, modality)
    for code in (0, 1):
        for label in range(CLASSES):
            mine = features[(labels == label) & (modality == code)].double().numpy()
            assert np.allclose(memory.centroids[code, label], normalised(mine.mean(0)), atol=1e-6)


def test_updates_are_applied_sample_by_sample_in_order():
    memory = CentroidMemory(CLASSES, DIM, update_rate=0.8)
    memory.initialise(*batch(0))
    expected = memory.centroids.double().numpy().copy()
    features, labels, modality = batch(1)
    for feature, label, code in zip(features.double().numpy(), labels, modality, strict=True):
        expected[code, label] = normalised(0.2 * expected[code, label] + 0.8 * feature)
    memory.update(features, labels, modality)
    assert np.allclose(memory.centroids, expected, atol=1e-5)


def test_what_is_not_in_the_batch_stays_and_nothing_seen_is_zero():
    memory = CentroidMemory(CLASSES, DIM)
    memory.update(torch.ones(1, DIM), torch.tensor([2]), torch.tensor([1]))
    assert torch.allclose(memory.centroids[1, 2], torch.full((DIM,), DIM**-0.5))
    assert memory.centroids.abs().sum() == memory.centroids[1, 2].abs().sum()
    memory.update(*(one[:0] for one in batch(0)))
    assert not memory.centroids.requires_grad


def test_it_travels_with_a_checkpoint():
    memory, other = CentroidMemory(CLASSES, DIM), CentroidMemory(CLASSES, DIM)
    memory.initialise(*batch(0))
    other.load_state_dict(memory.state_dict())
    assert torch.equal(other.centroids, memory.centroids)


def test_an_update_rate_outside_its_range_is_refused():
    with pytest.raises(InvalidInput, match=r"update_rate must be in \[0, 1\], got 1\.5"):
        CentroidMemory(3, 4, update_rate=1.5)
