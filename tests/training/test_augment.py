import numpy as np
import pytest
import torch

from training.data.augment import CIFAR_MEAN, augment, erase_channels, exchange_channels, normalise
from training.recipe import AugmentRecipe

NOTHING = AugmentRecipe(flip=0, pad=0, channel_exchange=0, channel_erase=0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(256, size=(64, 20, 10, 3), dtype=np.uint8))


def test_normalise_is_that_of_imagenet():
    white = torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(normalise(white)[0, :, 0, 0], expected)


def test_without_augmentation_the_image_stays(images):
    assert torch.equal(augment(images, NOTHING, True, generator()), normalise(images))


def test_a_flip_mirrors_about_half_of_the_images(images):
    flipped = augment(images, AugmentRecipe(0.5, 0, 0, 0), True, generator())
    plain = normalise(images)
    mirrored = [torch.equal(one, other.flip(2)) for one, other in zip(flipped, plain, strict=True)]
    same = [torch.equal(one, other) for one, other in zip(flipped, plain, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 16 < sum(mirrored) < 48


def test_a_crop_shifts_by_at_most_the_padding(images):
    cropped = augment(images, AugmentRecipe(0, 3, 0, 0), False, generator())
    black = normalise(torch.zeros_like(images))
    shifts = set()
    for one, image, empty in zip(cropped, normalise(images), black, strict=True):
        found = [
            (dy, dx)
            for dy in range(-3, 4)
            for dx in range(-3, 4)
            if torch.equal(one, shifted(image, empty, dy, dx))
        ]
        assert len(found) == 1
        shifts.add(found[0])
    assert len(shifts) > 20


def shifted(image, empty, dy, dx):
    """``image`` moved down by dy and right by dx, ``empty`` where nothing is."""
    result = empty.clone()
    height, width = image.shape[1:]
    result[:, max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = image[
        :, max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)
    ]
    return result


def test_channel_exchange_repeats_one_channel(images):
    pixels = images.permute(0, 3, 1, 2)
    exchanged = exchange_channels(pixels, 0.5, generator())
    sources = []
    for one, original in zip(exchanged, pixels, strict=True):
        if torch.equal(one, original):
            sources.append(None)
        else:
            assert torch.equal(one[0], one[1])
            assert torch.equal(one[1], one[2])
            sources.append(next(c for c in range(3) if torch.equal(one[0], original[c])))
    assert {0, 1, 2, None} == set(sources)
    assert 16 < sources.count(None) < 48


def test_channel_exchange_draws_grey_where_asked(images):
    pixels = images.permute(0, 3, 1, 2)
    exchanged = exchange_channels(pixels, 1.0, generator(), grey=True)
    grey = (pixels.double() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1).round()
    shares = [sum(torch.equal(a[0], b[c]) for a, b in zip(exchanged, pixels, strict=True)) for c in range(3)]
    shares.append(sum(bool((a[0] - b).abs().max() <= 1) for a, b in zip(exchanged, grey, strict=True)))
    assert sum(shares) == len(images)
    assert min(shares) > 6
    assert torch.equal(exchanged[:, 0], exchanged[:, 2])


def test_channel_erasing_fills_one_rectangle_with_the_mean(images):
    plain = normalise(images)
    erased = erase_channels(plain, 0.5, generator())
    shares = []
    for one, original in zip(erased, plain, strict=True):
        changed = (one != original).any(0)
        shares.append(changed.float().mean().item())
        if changed.any():
            rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
            box = one[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert torch.equal(box, torch.tensor(CIFAR_MEAN)[:, None, None].expand_as(box))
    touched = [share for share in shares if share]
    assert 16 < len(touched) < 48
    # Sides are rounded to whole pixels, so the area may leave its range by a little.
    assert min(touched) > 0.01
    assert max(touched) < 0.45


def test_infrared_images_keep_their_channels_equal(images):
    grey = images[..., :1].expand(-1, -1, -1, 3)
    seen = augment(grey, AugmentRecipe(channel_exchange=1, channel_erase=1), False, generator())
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    raw = seen * std + mean
    assert torch.allclose(raw[:, 0], raw[:, 1], atol=1e-5)


def test_the_same_seed_gives_the_same_batch(images):
    recipe = AugmentRecipe()
    first, second, other = (augment(images, recipe, True, generator(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
