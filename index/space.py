"""The embedding space: its two modalities, what a vector of it is, and unit length."""

from dataclasses import dataclass
from enum import StrEnum
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from index.errors import InvalidInput


class Modality(StrEnum):
    """Which light a camera saw by: visible (day) or infrared (night)."""

    VISIBLE = "visible"
    INFRARED = "infrared"

    @property
    def other(self) -> "Modality":
        """The modality that a cross-modality search looks in."""
        return Modality.INFRARED if self is Modality.VISIBLE else Modality.VISIBLE


@dataclass(frozen=True, slots=True)
class EmbeddingSpec:
    """What a gallery must know of the encoder that made its vectors.

    Attributes:
        dim: Length D of a vector, at least 1.
        encoder: The fingerprint of the encoder's bundle; vectors of two fingerprints never mix.

    Raises:
        InvalidInput: ``dim`` is below 1 or ``encoder`` is empty.
    """

    dim: int
    encoder: str

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise InvalidInput(f"dim must be at least 1, got {self.dim}")
        if not self.encoder:
            raise InvalidInput("encoder must be the bundle's fingerprint, got an empty string")


def l2_normalise(vectors: ArrayLike) -> NDArray[np.float32]:
    """Scale every row to unit length.

    Args:
        vectors: (N, D) or (D,), any real dtype.

    Returns:
        float32 of the same shape, rows of L2 norm 1.

    Raises:
        InvalidInput: A row is not finite, or its norm is zero, so it has no direction.
    """
    array = np.asarray(vectors, dtype=np.float64)
    if not np.isfinite(array).all():
        raise InvalidInput("vectors must be finite; got NaN or infinity")
    peaks = np.abs(array).max(axis=-1, keepdims=True, initial=0.0)
    if (peaks == 0).any():
        raise InvalidInput("a vector of zero length has no direction and cannot be normalised")
    scaled = array / peaks  # squares of very large or very small numbers would overflow or vanish
    norms = np.linalg.norm(scaled, axis=-1, keepdims=True)
    return cast(NDArray[np.float32], (scaled / norms).astype(np.float32))
