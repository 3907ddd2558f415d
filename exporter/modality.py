"""By which light an image was taken, judged by its content: only visible light has colour."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.errors import InvalidInput
from index.space import Modality

_EVEN_ODDS = 1.5
"""Colour at which either light is as likely: infrared images have 0 to 1.3 (2.9 where tinted), the greyest
of 1,509 visible ones 2.7."""
_GRID = (18, 9)
_CHROMA = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, slots=True)
class Detection:
    """What an image's content says of its light.

    Attributes:
        modality: The more likely one.
        confidence: From 0.5, undecided, to 1; grows with the distance from the boundary, and is not a
            calibrated probability.
    """

    modality: Modality
    confidence: float


def detect_modality(pixels: NDArray[np.uint8]) -> Detection:
    """Judge by which light an image was taken: near-infrared and thermal cameras give shades of one colour.

    An image of visible light without colour (a black and white photograph, a scene at dusk) is taken for
    infrared, and a thermal image in false colours for visible: say the modality of such yourself.

    Args:
        pixels: (H, W, 3) uint8 RGB, as ``load_image`` gives it; H and W at least 1.

    Raises:
        InvalidInput: ``pixels`` is not such an array.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise InvalidInput(f"pixels must be uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}")
    colour = colourfulness(pixels)
    visible = colour**2 / (colour**2 + _EVEN_ODDS**2)
    modality = Modality.VISIBLE if visible > 0.5 else Modality.INFRARED
    return Detection(modality, max(visible, 1 - visible))


def colourfulness(pixels: NDArray[np.uint8]) -> float:
    """The 95th percentile over small patches of how far the colour strays from what brightness explains.

    Chroma (Cb and Cr of JFIF, in grey levels) less its linear fit on luma, so that a tint, as some
    near-infrared cameras have, counts as no colour.

    Args:
        pixels: (H, W, 3) uint8 RGB.
    """
    flat = _patches(pixels).reshape(-1, 3)
    luma, chroma = flat @ _LUMA, flat @ _CHROMA.T
    luma -= luma.mean()
    chroma -= chroma.mean(axis=0)
    slope = luma @ chroma / max(float(luma @ luma), 1e-9)
    stray = np.linalg.norm(chroma - luma[:, np.newaxis] * slope, axis=1)
    return float(np.percentile(stray, 95))


def _patches(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(h, w, 3) means of patches, at most ``_GRID`` of them: noise and JPEG's rounding cancel out."""
    height, width = pixels.shape[:2]
    rows, columns = _starts(height, _GRID[0]), _starts(width, _GRID[1])
    sums = np.add.reduceat(np.add.reduceat(pixels.astype(np.float64), rows, axis=0), columns, axis=1)
    heights, widths = np.diff([*rows, height]), np.diff([*columns, width])
    means: NDArray[np.float64] = sums / (heights[:, np.newaxis] * widths)[..., np.newaxis]
    return means


def _starts(length: int, parts: int) -> NDArray[np.intp]:
    """Where ``parts`` parts of a length begin, or as many as it has pixels."""
    parts = min(parts, length)
    return np.arange(parts) * length // parts
