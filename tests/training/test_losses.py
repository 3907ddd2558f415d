"""Each loss term against a plain loop in float64, in the empty case, in half precision, backward."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from index.errors import InvalidInput
from training.losses.ce import identity_cross_entropy
from training.losses.ins import instance_contrastive
from training.losses.mix import mix_distance
from training.losses.mod import modality_contrastive
from training.losses.objective import TERMS, Objective
from training.losses.sim import global_local_similarity
from training.losses.term import Generated, Need, StepOutputs
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


def plain_similarity(mapped, local):
    terms = []
    for one, other in zip(mapped.flatten(1).tolist(), local.flatten(1).tolist(), strict=True):
        product = sum(a * b for a, b in zip(one, other, strict=True))
        terms.append(-product / math.hypot(*one) / math.hypot(*other))
    return sum(terms) / len(terms)


def unit_rows(values):
    return [[one / math.hypot(*row) for one in row] for row in values.tolist()]


def plain_mix(visible, infrared, generated, margin, form):
    total = 0.0
    for real in (visible, infrared):
        off = [math.dist(a, b) - margin for a, b in zip(unit_rows(real), unit_rows(generated), strict=True)]
        total += sum(max(one, 0) if form == "hinge" else abs(one) for one in off) / len(off)
    return total


def plain_instance(features, labels, num_negatives, temperature):
    rows, terms = unit_rows(features), []
    for i, anchor in enumerate(rows):
        cosines = [sum(a * b for a, b in zip(anchor, row, strict=True)) for row in rows]
        positives = [cosines[k] for k in range(len(rows)) if k != i and labels[k] == labels[i]]
        negatives = sorted((cosines[k] for k in range(len(rows)) if labels[k] != labels[i]), reverse=True)
        if positives:
            top = math.exp(min(positives) / temperature)
            below = sum(math.exp(one / temperature) for one in negatives[:num_negatives])
            terms.append(-math.log(top / (top + below)))
    return sum(terms) / len(terms)


def plain_modality(features, labels, modality, centroids, temperature):
    terms = []
    for row, label, own in zip(unit_rows(features), labels.tolist(), modality.tolist(), strict=True):
        weigh = [
            [math.exp(sum(a * b for a, b in zip(row, one, strict=True)) / temperature) for one in side]
            for side in centroids.tolist()
        ]
        positives = [weigh[0][label], weigh[1][label]]
        below = sum(positives) + sum(one for k, one in enumerate(weigh[own]) if k != label)
        terms.append(-sum(math.log(one / below) for one in positives) / 2)
    return sum(terms) / len(terms)


def unit_centroids(seed, classes=5, dim=16):
    rows = torch.from_numpy(np.random.default_rng(seed + 100).normal(size=(2, classes, dim)))
    return torch.nn.functional.normalize(rows, dim=2)


@pytest.mark.parametrize("seed", range(5))
def test_similarity_equals_the_plain_loop(seed):
    mapped, local = (
        torch.from_numpy(np.random.default_rng((seed, k)).normal(size=(7, 3, 16))) for k in (0, 1)
    )
    expected = plain_similarity(mapped, local)
    assert global_local_similarity(mapped, local).item() == pytest.approx(expected, abs=1e-5)
    assert global_local_similarity(mapped.flatten(1), local.unbind(1)).item() == pytest.approx(
        expected, abs=1e-5
    )


@pytest.mark.parametrize("form", ["hinge", "literal"])
@pytest.mark.parametrize("seed", range(3))
def test_mix_equals_the_plain_loop(seed, form):
    rows = [torch.from_numpy(np.random.default_rng((seed, k)).normal(size=(9, 4))) for k in range(3)]
    expected = plain_mix(*rows, 0.7, form)
    assert mix_distance(*rows, form=form).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("num_negatives", [1, 5, 50])
@pytest.mark.parametrize("seed", range(3))
def test_instance_contrast_equals_the_plain_loop(seed, num_negatives):
    features, labels, _ = random_batch(seed)
    expected = plain_instance(features, labels, num_negatives, 0.15)
    found = instance_contrastive(features, labels, num_negatives).item()
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_modality_contrast_equals_the_plain_loop(seed):
    features, labels, modality = random_batch(seed)
    centroids = unit_centroids(seed)
    expected = plain_modality(features, labels, modality, centroids, 0.1)
    found = modality_contrastive(features, labels, modality, centroids).item()
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_worked_numbers_of_the_papers_own_terms():
    assert global_local_similarity(torch.tensor([[1.0, 0, 0]]), torch.tensor([[3.0, 4, 0]])) == pytest.approx(
        -0.6
    )
    right, up = torch.tensor([[1.0, 0]]), torch.tensor([[0, 1.0]])
    assert mix_distance(right, up, up).item() == pytest.approx(0.7142, abs=1e-4)
    assert mix_distance(right, up, up, form="literal").item() == pytest.approx(1.4142, abs=1e-4)
    rows, people = torch.cat([right, right, up]), torch.tensor([7, 7, 8])
    assert instance_contrastive(rows, people, temperature=1.0).item() == pytest.approx(0.3133, abs=1e-4)
    centroids = torch.stack([torch.cat([right, up]), torch.cat([up, right])])
    own = torch.tensor([0])
    assert modality_contrastive(right, own, own, centroids, 1.0).item() == pytest.approx(1.0514, abs=1e-4)


def test_no_gradient_reaches_local_features_or_centroids():
    mapped, local = (torch.randn(4, 3, 8, requires_grad=True) for _ in range(2))
    global_local_similarity(mapped, local).backward()
    assert local.grad is None
    assert mapped.grad.abs().sum() > 0
    features, labels, modality = random_batch(0)
    features.requires_grad_()
    centroids = unit_centroids(0).requires_grad_()
    modality_contrastive(features, labels, modality, centroids).backward()
    assert centroids.grad is None
    assert features.grad.abs().sum() > 0


def test_mix_has_finite_gradients_where_images_coincide_and_refuses_other_forms():
    same = torch.ones(3, 4, requires_grad=True)
    mix_distance(same, same, same, form="literal").backward()
    assert torch.isfinite(same.grad).all()
    with pytest.raises(InvalidInput, match="form must be one of hinge, literal; got 'square'"):
        mix_distance(same, same, same, form="square")


def own_terms(dtype):
    """Each of the paper's own functions on one random batch of ``dtype`` with gradient."""
    features, labels, modality = random_batch(2)
    rows = features.to(dtype).requires_grad_()
    return rows, {
        "sim": lambda: global_local_similarity(rows[:, :15], rows[:, 1:]),
        "mix": lambda: mix_distance(rows, rows.flip(0), rows.roll(1, 0)),
        "ins": lambda: instance_contrastive(rows, labels),
        "mod": lambda: modality_contrastive(rows, labels, modality, unit_centroids(2).to(dtype)),
    }


@pytest.mark.parametrize("name", ["sim", "mix", "ins", "mod"])
def test_the_papers_own_terms_in_half_precision(name):
    half, half_terms = own_terms(torch.bfloat16)
    _, full_terms = own_terms(torch.float32)
    value = half_terms[name]()
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(full_terms[name]().item(), rel=0.05, abs=0.01)
    assert torch.isfinite(half.grad).all()
    assert half.grad.abs().sum() > 0


def test_the_papers_own_terms_of_nothing_are_zero_with_gradient():
    empty, none = torch.empty(0, 6, requires_grad=True), torch.empty(0, dtype=torch.long)
    values = [
        global_local_similarity(empty, empty),
        mix_distance(empty, empty, empty),
        instance_contrastive(empty, none),
        modality_contrastive(empty, none, none, unit_centroids(0, dim=6)),
    ]
    assert [value.item() for value in values] == [0, 0, 0, 0]
    sum(values).backward()


def step_outputs():
    features, labels, modality = random_batch(1)
    features = features.float().requires_grad_()
    encoded = Encoded(features[:, :, None, None], features, features, features)
    some = torch.arange(6)
    mixed = features.roll(3, 0)[:6]
    made = Generated(
        Encoded(encoded.maps[:6], features[:6], features[:6], mixed), some, some + 6, mixed[:, :5]
    )
    local = features.detach()[:, None].expand(-1, 3, -1).flip(2)
    return StepOutputs(encoded, features[:, :5], labels, modality, made, local, unit_centroids(1).float())


@pytest.mark.parametrize("name", sorted(TERMS))
def test_the_objective_is_the_weighted_sum(name):
    step = step_outputs()
    total, values = Objective({name: {"weight": 0.5}}, 16, 5)(step)
    assert total.item() == pytest.approx(0.5 * values[name].item())
    total.backward()
    assert step.encoded.features.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({}, "at least one loss term"),
        ({"hinge": {"weight": 1}}, "no loss term 'hinge'; there are ce, ins, mix, mod, sim, triplet"),
        ({"ce": {}}, "needs a weight"),
        ({"triplet": {"weight": 1, "margins": 3}}, r"knows \['form', 'margin'\], not \['margins'\]"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(losses, message):
    with pytest.raises(InvalidInput, match=message):
        Objective(losses, 16, 5)


def test_the_objective_asks_for_what_its_terms_need():
    weighted = {"weight": 1.0}
    assert Objective({"ce": weighted, "triplet": weighted}, 16, 5).needs == frozenset()
    assert Objective({"sim": weighted, "mod": weighted}, 16, 5).needs == {Need.LOCAL, Need.CENTROIDS}
    step = replace(step_outputs(), generated=None)
    with pytest.raises(RuntimeError, match="lacks what this loss term reads"):
        Objective({"mix": weighted}, 16, 5)(step)


@pytest.mark.parametrize("term", ["ins", "mod"])
def test_a_temperature_of_nothing_is_refused(term):
    with pytest.raises(InvalidInput, match="temperature must be above 0, got 0"):
        Objective({term: {"weight": 1, "temperature": 0}}, 16, 5)


def test_features_that_do_not_pair_are_refused():
    four, one = torch.randn(4, 8), torch.randn(1, 8)
    with pytest.raises(InvalidInput, match=r"one shape \(n, D\), got \(4, 8\), \(1, 8\), \(4, 8\)"):
        mix_distance(four, one, four)
    with pytest.raises(InvalidInput, match="as many of one length"):
        global_local_similarity(torch.randn(4, 3, 8), torch.randn(1, 3, 8))


def test_the_terms_stay_float32_under_autocast():
    features, labels, modality = random_batch(2)
    features, centroids = features.float(), unit_centroids(2).float()
    plain = (
        instance_contrastive(features, labels),
        modality_contrastive(features, labels, modality, centroids),
    )
    with torch.autocast("cpu", torch.bfloat16):
        under = (
            instance_contrastive(features, labels),
            modality_contrastive(features, labels, modality, centroids),
        )
    assert plain == under
