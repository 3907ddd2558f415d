"""What a loss term is, and what a training step offers to it."""

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from training.models.encoder import Encoded


@dataclass(frozen=True, slots=True)
class StepOutputs:
    """One step, as the loss terms see it: B real images, visible and infrared.

    Attributes:
        encoded: Maps, features and neck of the B images.
        logits: (B, C) scores of the C training identities.
        labels: (B,) int64 identities in [0, C).
        modality: (B,) int64, 0 visible and 1 infrared.
    """

    encoded: Encoded
    logits: Tensor
    labels: Tensor
    modality: Tensor


class LossTerm(nn.Module):
    """One term of the objective."""

    @abstractmethod
    def forward(self, step: StepOutputs) -> Tensor:
        """The term's value, a scalar float32 with gradient."""
