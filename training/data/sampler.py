"""Batches of identities: P identities with K visible and K infrared images each."""

import math

import numpy as np
from numpy.typing import NDArray

from index.errors import InvalidInput


class IdentitySampler:
    """Draws for each step P identities, and K visible and K infrared images of each.

    A batch is a pure function of seed, epoch and step, so that a resumed run draws what the
    unbroken run would have drawn. An epoch has as many steps as show the larger modality once.
    Images are drawn without repeats where an identity has K of them, with repeats otherwise. A data
    set with fewer than P identities that were seen in both modalities gives them all in each batch.

    Args:
        labels: (N,) int64 in [0, C).
        modality: (N,) int64, 0 visible and 1 infrared.
        identities: P.
        images_per_modality: K.
        seed: Of all draws.

    Raises:
        InvalidInput: Fewer than two identities have images of both modalities.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        modality: NDArray[np.int64],
        identities: int,
        images_per_modality: int,
        seed: int,
    ) -> None:
        self.images_per_modality = images_per_modality
        self.seed = seed
        self._rows = [
            [np.flatnonzero((labels == label) & (modality == code)) for code in (0, 1)]
            for label in range(int(labels.max(initial=-1)) + 1)
        ]
        self._usable = np.array(
            [n for n, rows in enumerate(self._rows) if all(map(len, rows))], dtype=np.int64
        )
        if len(self._usable) < 2:
            raise InvalidInput(
                "a batch needs two identities seen in both modalities; "
                f"the training set has {len(self._usable)}"
            )
        self.identities = min(identities, len(self._usable))
        larger = max(np.count_nonzero(modality == code) for code in (0, 1))
        self.steps_per_epoch = math.ceil(larger / (self.identities * images_per_modality))

    def batch(self, epoch: int, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows of one batch: (P*K,) visible and (P*K,) infrared, identity by identity."""
        rng = np.random.default_rng((self.seed, epoch, step))
        chosen = rng.choice(self._usable, self.identities, replace=False)
        visible, infrared = (
            np.concatenate([self._draw(rng, self._rows[label][code]) for label in chosen]) for code in (0, 1)
        )
        return visible, infrared

    def _draw(self, rng: np.random.Generator, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        wanted = self.images_per_modality
        return rng.choice(rows, wanted, replace=len(rows) < wanted)
