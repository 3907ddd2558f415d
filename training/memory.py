"""The centroid of every identity in each modality, kept while training (PECA, Eq. 7 to 9)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from index.errors import InvalidInput


class CentroidMemory(nn.Module):
    """Modality centroids; a buffer, so that they travel with checkpoints.

    Args:
        num_identities: C.
        dim: D.
        update_rate: alpha of Eq. 9, the weight of the new feature, in [0, 1].

    Raises:
        InvalidInput: ``update_rate`` lies elsewhere.

    Attributes:
        centroids: (2, C, D) float32, visible then infrared, of unit length; zero where nothing was seen.
    """

    centroids: Tensor

    def __init__(self, num_identities: int, dim: int, update_rate: float = 0.8) -> None:
        super().__init__()
        if not 0 <= update_rate <= 1:
            raise InvalidInput(f"update_rate must be in [0, 1], got {update_rate}")
        self.update_rate = update_rate
        self.register_buffer("centroids", torch.zeros(2, num_identities, dim))

    @torch.no_grad()
    def initialise(self, features: Tensor, labels: Tensor, modality: Tensor) -> None:
        """Eq. 7 and 8: the mean of all that is given, by identity and modality, normalised.

        Args:
            features: (N, D), as they shall be averaged (the trainer gives normalised ones).
            labels: (N,) int64 in [0, C).
            modality: (N,) int64, 0 visible and 1 infrared.
        """
        sums = torch.zeros_like(self.centroids).flatten(0, 1)
        sums.index_add_(0, self._rows(labels, modality), features.to(sums.dtype))
        # The mean and the sum have one direction, and only that is kept.
        self.centroids.copy_(functional.normalize(sums, dim=1).view_as(self.centroids))

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, modality: Tensor) -> None:
        """Eq. 9: m <- (1 - alpha) m + alpha f, sample by sample in the order given, then normalised.

        Args:
            features: (B, D), as they shall be averaged (the trainer gives normalised ones).
            labels: (B,) int64 in [0, C).
            modality: (B,) int64, 0 visible and 1 infrared.
        """
        flat = self.centroids.view(-1, self.centroids.shape[2])
        rows = self._rows(labels, modality)
        turn = _turns(rows)
        # Samples of different centroids do not meet, so each round takes the next of every centroid at once.
        for number in range(int(turn.max()) + 1 if len(turn) else 0):
            now = turn == number
            mixed = (1 - self.update_rate) * flat[rows[now]] + self.update_rate * features[now].to(flat.dtype)
            flat[rows[now]] = functional.normalize(mixed, dim=1)

    def _rows(self, labels: Tensor, modality: Tensor) -> Tensor:
        return modality * self.centroids.shape[1] + labels


def _turns(rows: Tensor) -> Tensor:
    """How many equal entries stand before each entry."""
    equal = rows[:, None] == rows[None, :]
    return equal.tril(-1).sum(1)
