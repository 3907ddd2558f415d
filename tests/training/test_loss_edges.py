"""Loss terms, centroids and channel aggregation at their edges: half precision, lone samples, fair draws."""

import math
from dataclasses import replace

import pytest
import torch

from training.ical import FORMS, generate
from training.losses.ce import identity_cross_entropy
from training.losses.ins import instance_contrastive
from training.losses.mix import mix_distance
from training.losses.mod import modality_contrastive
from training.losses.sim import SimilarityTerm, global_local_similarity
from training.losses.triplet import batch_hard_triplet, weighted_triplet
from training.memory import CentroidMemory
from training.recipe import load_recipe

CLASSES, DIM = 5, 16
LABELS = torch.arange(20) % CLASSES
MODALITY = torch.arange(20) // 10
CENTROIDS = torch.nn.functional.normalize(
    torch.randn(2, CLASSES, DIM, generator=torch.Generator().manual_seed(1)), dim=2
)
# The square of such a value has no place in float16, whose largest is 65,504.
LARGE = 300 * torch.randn(20, DIM, generator=torch.Generator().manual_seed(2))

TERMS = {
    "ce": lambda rows: identity_cross_entropy(rows[:, :CLASSES], LABELS, MODALITY),
    "hard": lambda rows: batch_hard_triplet(rows, LABELS),
    "weighted": lambda rows: weighted_triplet(rows, LABELS),
    "sim": lambda rows: global_local_similarity(rows[:, :15], rows[:, 1:]),
    "mix": lambda rows: mix_distance(rows, rows.flip(0), rows.roll(1, 0)),
    "ins": lambda rows: instance_contrastive(rows, LABELS),
    "mod": lambda rows: modality_contrastive(rows, LABELS, MODALITY, CENTROIDS.to(rows.dtype)),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", TERMS)
def test_large_features_in_half_precision_keep_value_and_gradient(name, dtype):
    half = LARGE.to(dtype).requires_grad_()
    value = TERMS[name](half)
    value.backward()
    assert value.dtype == torch.float32
    # The same rounded numbers in full precision: the arithmetic itself loses nothing.
    assert value.item() == pytest.approx(TERMS[name](half.detach().float()).item(), rel=2e-3, abs=1e-3)
    assert torch.isfinite(half.grad).all()


def test_cross_entropy_of_nothing_has_a_gradient():
    logits, none = torch.empty(0, 4, requires_grad=True), torch.empty(0, dtype=torch.long)
    identity_cross_entropy(logits, none, none).backward()
    assert logits.grad.shape == (0, 4)


def test_cross_entropy_of_one_modality_is_its_mean():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    plain = sum(
        math.log(sum(map(math.exp, row))) - row[k]
        for row, k in zip(logits.tolist(), [0, 1, 2, 0], strict=True)
    )
    for code in (0, 1):
        found = identity_cross_entropy(logits, labels, torch.full((4,), code))
        assert found.item() == pytest.approx(plain / 4, abs=1e-5)


def test_instance_contrast_without_positives_or_without_negatives_is_zero_with_gradient():
    for labels in (torch.arange(6), torch.zeros(6, dtype=torch.long)):
        rows = torch.randn(6, DIM, requires_grad=True)
        value = instance_contrastive(rows, labels)
        value.backward()
        assert value.item() == pytest.approx(0, abs=1e-6)
        assert torch.isfinite(rows.grad).all()


def test_a_sample_without_a_positive_does_not_count_and_is_still_a_negative():
    rows = torch.nn.functional.normalize(torch.randn(3, DIM), dim=1)
    cosine = rows @ rows.T / 0.15
    labels = torch.tensor([0, 0, 1])
    expected = sum(
        math.log1p(math.exp(cosine[anchor, 2].item() - cosine[anchor, 1 - anchor].item()))
        for anchor in (0, 1)
    )
    assert instance_contrastive(rows, labels).item() == pytest.approx(expected / 2, abs=1e-5)


def test_modality_contrast_knows_one_identity_alone():
    row = torch.nn.functional.normalize(torch.randn(1, DIM), dim=1)
    label, code = torch.tensor([0]), torch.tensor([1])
    logits = [(row[0] @ CENTROIDS[side, 0] / 0.1).item() for side in (0, 1)]
    expected = math.log(sum(map(math.exp, logits))) - sum(logits) / 2
    found = modality_contrastive(row, label, code, CENTROIDS[:, :1]).item()
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("between", [False, True], ids=["plain", "simsiam"])
def test_the_heads_of_l_sim_are_three_pairs_of_linear_layers(between):
    heads = SimilarityTerm(DIM, simsiam_head=between).heads
    kinds = ["Linear", "BatchNorm1d", "ReLU", "Linear"] if between else ["Linear", "Linear"]
    assert [[type(layer).__name__ for layer in head] for head in heads] == [kinds] * 3
    assert len({head[0].weight.data_ptr() for head in heads}) == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_centroids_of_half_precision_features_are_unit_float32(dtype):
    memory = CentroidMemory(CLASSES, DIM)
    unit = torch.nn.functional.normalize(LARGE, dim=1).to(dtype)
    memory.initialise(unit, LABELS, MODALITY)
    memory.update(unit.flip(0), LABELS, MODALITY)
    assert memory.centroids.dtype == torch.float32
    assert torch.allclose(memory.centroids.norm(dim=2), torch.ones(2, CLASSES), atol=1e-5)


def test_filling_the_memory_again_forgets_what_was_there():
    memory, fresh = CentroidMemory(CLASSES, DIM), CentroidMemory(CLASSES, DIM)
    memory.update(LARGE, LABELS, MODALITY)
    for one in (memory, fresh):
        one.initialise(LARGE[:10], LABELS[:10], MODALITY[:10])
    assert torch.equal(memory.centroids, fresh.centroids)
    assert memory.centroids[1].abs().sum() == 0


def test_the_six_forms_are_drawn_uniformly():
    count = 3000
    visible, infrared = torch.zeros(count, 3, 1, 1), torch.ones(2, 3, 1, 1)
    labels = torch.zeros(count, dtype=torch.long)
    made, _ = generate(visible, infrared, labels, labels[:2], torch.Generator().manual_seed(0))
    forms, counts = (made[:, :, 0, 0] == 0).unique(dim=0, return_counts=True)
    assert {tuple(form) for form in forms.tolist()} == set(FORMS)
    assert torch.allclose(counts / count, torch.full((6,), 1 / 6), atol=0.03)


@pytest.mark.parametrize("name", ["agw", "caj"])
def test_a_recipe_with_channel_aggregation_differs_in_nothing_else(name):
    alone, joined = load_recipe(name), load_recipe(f"{name}+ical")
    assert joined.losses == {**alone.losses, "mix": {"weight": 1.0}}
    assert replace(joined, name=name, losses=alone.losses) == alone
