"""What a loss term is, and what a training step offers to it."""

from abc import abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from torch import Tensor, nn

from index.errors import InvalidInput
from training.models.encoder import Encoded

_Value = TypeVar("_Value")


class Need(StrEnum):
    """What a term can ask of a step beyond the encoded real images; computed only where a term asks."""

    GENERATED = "generated"
    LOCAL = "local"
    LOCAL_STATISTICS = "local_statistics"
    """Local features normalised by the batch statistics of the parts, not by the running ones."""
    CENTROIDS = "centroids"
    FRESH_CENTROIDS = "fresh_centroids"
    """Centroids filled anew at the start of every epoch, not of the first alone."""


@dataclass(frozen=True, slots=True)
class Generated:
    """The images that channel aggregation made in a step, encoded.

    Attributes:
        encoded: Maps, features and neck of the G generated images.
        visible: (G,) int64, the row of each one's visible image among the real images.
        infrared: (G,) int64, the row of each one's infrared image.
        logits: (G, C) scores of the C training identities.
    """

    encoded: Encoded
    visible: Tensor
    infrared: Tensor
    logits: Tensor


@dataclass(frozen=True, slots=True)
class StepOutputs:
    """One step, as the loss terms see it: B real images, visible and infrared.

    Attributes:
        encoded: Maps, features and neck of the B images.
        logits: (B, C) scores of the C training identities.
        labels: (B,) int64 identities in [0, C).
        modality: (B,) int64, 0 visible and 1 infrared.
        generated: Where a term needs it: the generated images.
        local: Where a term needs it: (B, 3, D) features of the upper, middle and lower third.
        centroids: Where a term needs it: (2, C, D) unit centroids by modality.
    """

    encoded: Encoded
    logits: Tensor
    labels: Tensor
    modality: Tensor
    generated: Generated | None = None
    local: Tensor | None = None
    centroids: Tensor | None = None


def needed(value: _Value | None) -> _Value:
    """What a step must carry for a term.

    Raises:
        RuntimeError: It does not; the term's ``needs`` does not name what the term reads.
    """
    if value is None:
        raise RuntimeError("the step lacks what this loss term reads; name it in the term's `needs`")
    return value


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that no similarity can be divided by.

    Raises:
        InvalidInput: It is not above 0.
    """
    if not temperature > 0:
        raise InvalidInput(f"temperature must be above 0, got {temperature}")


class LossTerm(nn.Module):
    """One term of the objective. ``needs`` says what the step must compute for it."""

    needs: frozenset[Need] = frozenset()

    @abstractmethod
    def forward(self, step: StepOutputs) -> Tensor:
        """The term's value, a scalar float32 with gradient."""
