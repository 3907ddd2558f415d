import pytest
import torch

from index.errors import InvalidInput
from training.ical import FORMS, aggregate_channels, draw_partners, generate


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_six_forms_are_those_of_the_paper():
    visible = torch.arange(3.0).view(1, 3, 1, 1).expand(6, 3, 4, 2) + 1
    infrared = torch.full((6, 3, 4, 2), 9.0)
    made = aggregate_channels(visible, infrared, torch.arange(6))[:, :, 0, 0].tolist()
    assert made == [[1, 2, 9], [1, 9, 3], [9, 2, 3], [1, 9, 9], [9, 2, 9], [9, 9, 3]]


def test_partners_have_the_same_identity_and_are_drawn_uniformly():
    visible, infrared = torch.tensor([5] * 3000 + [8]), torch.tensor([8, 5, 5, 8, 5])
    partner = draw_partners(visible, infrared, seeded())
    assert torch.equal(infrared[partner], visible)
    share = torch.bincount(partner[:-1], minlength=5) / 3000
    assert torch.allclose(share, torch.tensor([0, 1 / 3, 1 / 3, 0, 1 / 3]), atol=0.05)


def test_a_generated_image_is_made_of_its_two_images_alone():
    labels = torch.arange(4).repeat_interleave(4)
    visible, infrared = torch.rand(16, 3, 6, 4), torch.rand(16, 3, 6, 4)
    made, partner = generate(visible, infrared, labels, labels, seeded())
    assert torch.equal(labels[partner], labels)
    used = set()
    for image, mine, other in zip(made, visible, infrared[partner], strict=True):
        stays = tuple(torch.equal(image[c], mine[c]) for c in range(3))
        assert stays in FORMS
        assert all(torch.equal(image[c], other[c]) for c in range(3) if not stays[c])
        used.add(stays)
    assert len(used) >= 4
    again, _ = generate(visible, infrared, labels, labels, seeded())
    assert torch.equal(made, again)


def test_an_identity_without_an_infrared_image_is_named():
    with pytest.raises(InvalidInput, match=r"no infrared image shows the identities \[5, 7\]"):
        draw_partners(torch.tensor([7, 5, 8, 7]), torch.tensor([8]), seeded())
