"""Each loss term against a plain loop in float64, in the empty case, in half precision, backward."""

import math

import numpy as np
import pytest
import torch

from index.errors import InvalidInput
from training.losses.ce import identity_cross_entropy
from training.losses.objective import TERMS, Objective
from training.losses.term import StepOutputs
from training.losses.triplet import batch_hard_triplet, weighted_triplet
from training.models.encoder import Encoded


def random_batch(seed, count=24, dim=16, classes=5):
    rng = np.random.default_rng(seed)
    features = torch.from_numpy(rng.normal(size=(count, dim)))
    labels = torch.from_numpy(rng.integers(classes, size=count))
    modality = torch.from_numpy(rng.integers(2, size=count))
    return features, labels, modality


def plain_cross_entropy(logits, labels, modality):
    sums = {}
    for row, label, code in zip(logits.tolist(), labels.tolist(), modality.tolist(), strict=True):
        loss = math.log(sum(math.exp(value) for value in row)) - row[label]
        sums.setdefault(code, []).append(loss)
    return sum(sum(losses) / len(losses) for losses in sums.values())


def plain_triplets(features, labels):
    """For each anchor that has both, its distances to positives and to negatives."""
    rows = features.tolist()
    for i, anchor in enumerate(rows):
        positives = [
            math.dist(anchor, rows[j]) for j in range(len(rows)) if j != i and labels[j] == labels[i]
        ]
        negatives = [math.dist(anchor, rows[j]) for j in range(len(rows)) if labels[j] != labels[i]]
        if positives and negatives:
            yield positives, negatives


def plain_batch_hard(features, labels, margin):
    terms = [max(max(p) - min(n) + margin, 0) for p, n in plain_triplets(features, labels)]
    return sum(terms) / len(terms)


def plain_weighted(features, labels):
    terms = []
    for positives, negatives in plain_triplets(features, labels):
        near = sum(d * math.exp(d) for d in positives) / sum(math.exp(d) for d in positives)
        far = sum(d * math.exp(-d) for d in negatives) / sum(math.exp(-d) for d in negatives)
        terms.append(math.log1p(math.exp(near - far)))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("seed", range(5))
def test_cross_entropy_equals_the_plain_loop(seed):
    logits, labels, modality = random_batch(seed)
    expected = plain_cross_entropy(logits, labels, modality)
    assert identity_cross_entropy(logits, labels, modality).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_triplets_equal_the_plain_loop(seed):
    features, labels, _ = random_batch(seed)
    hard = batch_hard_triplet(features, labels, 0.3).item()
    assert hard == pytest.approx(plain_batch_hard(features, labels, 0.3), abs=1e-5)
    assert weighted_triplet(features, labels).item() == pytest.approx(
        plain_weighted(features, labels), abs=1e-5
    )


def test_the_worked_numbers_of_the_docstrings():
    zeros, labels = torch.zeros(2, 2), torch.tensor([0, 1])
    assert identity_cross_entropy(zeros, labels, labels).item() == pytest.approx(1.3863, abs=1e-4)
    scalars, people = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([7, 7, 8])
    assert batch_hard_triplet(scalars, people).item() == 0
    assert weighted_triplet(scalars, people).item() == pytest.approx(0.2201, abs=1e-4)


@pytest.mark.parametrize("loss", [batch_hard_triplet, weighted_triplet])
def test_a_batch_without_triplets_gives_zero_with_gradient(loss):
    for labels in (torch.arange(4), torch.zeros(4, dtype=torch.long), torch.empty(0, dtype=torch.long)):
        features = torch.randn(len(labels), 3, requires_grad=True)
        value = loss(features, labels)
        value.backward()
        assert value.item() == 0
        assert torch.equal(features.grad, torch.zeros_like(features))


def test_cross_entropy_of_an_empty_batch_is_zero():
    empty = torch.empty(0, dtype=torch.long)
    assert identity_cross_entropy(torch.empty(0, 4), empty, empty).item() == 0


@pytest.mark.parametrize("loss", [batch_hard_triplet, weighted_triplet])
def test_half_precision_and_backward(loss):
    features, labels, _ = random_batch(0)
    half = features.to(torch.bfloat16).requires_grad_()
    value = loss(half, labels)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(features.float(), labels).item(), rel=0.05)
    assert torch.isfinite(half.grad).all()
    assert half.grad.abs().sum() > 0


def test_coinciding_features_have_finite_gradients():
    features = torch.ones(4, 3, requires_grad=True)
    batch_hard_triplet(features, torch.tensor([0, 0, 1, 1])).backward()
    assert torch.isfinite(features.grad).all()


def step_outputs():
    features, labels, modality = random_batch(1)
    features = features.float().requires_grad_()
    return StepOutputs(
        Encoded(features[:, :, None, None], features, features), features[:, :5], labels, modality
    )


@pytest.mark.parametrize("name", sorted(TERMS))
def test_the_objective_is_the_weighted_sum(name):
    step = step_outputs()
    total, values = Objective({name: {"weight": 0.5}})(step)
    assert total.item() == pytest.approx(0.5 * values[name].item())
    total.backward()
    assert step.encoded.features.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({}, "at least one loss term"),
        ({"hinge": {"weight": 1}}, "no loss term 'hinge'; there are ce, triplet"),
        ({"ce": {}}, "needs a weight"),
        ({"triplet": {"weight": 1, "margins": 3}}, r"knows \['form', 'margin'\], not \['margins'\]"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(losses, message):
    with pytest.raises(InvalidInput, match=message):
        Objective(losses)
