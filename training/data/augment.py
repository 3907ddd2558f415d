"""CAJ's augmentations, on whole batches and on the device of the images.

Source: Ye et al., "Channel augmented joint learning for visible-infrared recognition", ICCV 2021;
the numbers are those of its published code.
"""

import torch
from torch import Tensor
from torch.nn import functional

from training.recipe import AugmentRecipe

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CIFAR_MEAN = (0.4914, 0.4822, 0.4465)

_LUMINANCE = (0.299, 0.587, 0.114)
_ERASE_AREA = (0.02, 0.4)
_ERASE_ASPECT = (0.3, 1 / 0.3)
_ERASE_TRIES = 10


def normalise(images: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32, ImageNet's mean and deviation taken out."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(1, 3, 1, 1)
    return (images.permute(0, 3, 1, 2).float() / 255 - mean) / std


def augment(images: Tensor, recipe: AugmentRecipe, visible: bool, generator: torch.Generator) -> Tensor:
    """Flip and crop; for visible images also channel exchange and channel erasing.

    Args:
        images: (N, H, W, 3) uint8 of one modality.
        recipe: The probabilities.
        visible: Whether the images are visible ones.
        generator: On the processor; the source of all randomness.

    Returns:
        (N, 3, H, W) float32, normalised.
    """
    pixels = images.permute(0, 3, 1, 2)
    pixels = _crop(_flip(pixels, recipe.flip, generator), recipe.pad, generator)
    if visible:
        pixels = exchange_channels(pixels, recipe.channel_exchange, generator, grey=recipe.exchange_grey)
    normalised = normalise(pixels.permute(0, 2, 3, 1))
    return erase_channels(normalised, recipe.channel_erase, generator) if visible else normalised


def exchange_channels(
    images: Tensor, probability: float, generator: torch.Generator, *, grey: bool = False
) -> Tensor:
    """Replace all three channels by one of them, drawn uniformly, with ``probability`` an image.

    Args:
        images: (N, 3, H, W) uint8.
        probability: Of the exchange, an image.
        generator: On the processor.
        grey: Draw among four: luminance (ITU-R BT.601) joins red, green and blue.
    """
    count = len(images)
    source = torch.randint(4 if grey else 3, (count,), generator=generator)
    exchanged = torch.rand(count, generator=generator) < probability
    order = torch.where(exchanged[:, None], source[:, None], torch.arange(3)[None, :]).to(images.device)
    rows = torch.arange(count, device=images.device)[:, None]
    if not grey:
        return images[rows, order]
    weights = torch.tensor(_LUMINANCE, device=images.device).view(1, 3, 1, 1)
    luminance = (images * weights).sum(1, keepdim=True).round().to(images.dtype)
    return torch.cat([images, luminance], dim=1)[rows, order]


def erase_channels(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Fill one rectangle an image with CIFAR's mean, channel by channel, with ``probability``.

    Area 0.02 to 0.4 of the image, aspect 0.3 to 3.33, up to ten tries to fit.

    Args:
        images: (N, 3, H, W) normalised.
        probability: Of the erasing, an image.
        generator: On the processor.
    """
    count, _, height, width = images.shape
    tries = (count, _ERASE_TRIES)
    area = torch.empty(tries).uniform_(*_ERASE_AREA, generator=generator) * height * width
    aspect = torch.empty(tries).uniform_(*_ERASE_ASPECT, generator=generator)
    heights, widths = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (heights < height) & (widths < width)
    first = fits.int().argmax(1, keepdim=True)
    box_height, box_width = heights.gather(1, first), widths.gather(1, first)
    top = (torch.rand(count, 1, generator=generator) * (height - box_height + 1)).floor()
    left = (torch.rand(count, 1, generator=generator) * (width - box_width + 1)).floor()
    chosen = (torch.rand(count, generator=generator) < probability) & fits.any(1)
    rows, columns = torch.arange(height)[None, :], torch.arange(width)[None, :]
    inside = (rows >= top) & (rows < top + box_height) & chosen[:, None]
    across = (columns >= left) & (columns < left + box_width)
    box = (inside[:, :, None] & across[:, None, :])[:, None].to(images.device)
    fill = torch.tensor(CIFAR_MEAN, device=images.device).view(1, 3, 1, 1)
    return torch.where(box, fill, images)


def _flip(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    flipped = (torch.rand(len(images), generator=generator) < probability).to(images.device)
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


def _crop(images: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    count, channels, height, width = images.shape
    padded = functional.pad(images, (pad, pad, pad, pad))
    top = torch.randint(2 * pad + 1, (count, 1), generator=generator)
    left = torch.randint(2 * pad + 1, (count, 1), generator=generator)
    rows = (top + torch.arange(height)).to(images.device)
    columns = (left + torch.arange(width)).to(images.device)
    image = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
