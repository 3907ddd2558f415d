"""Identity classification, L_ce."""

import torch
from torch import Tensor
from torch.nn import functional

from training.losses.term import LossTerm, Need, StepOutputs, needed
from training.models.encoder import Stream


def identity_cross_entropy(logits: Tensor, labels: Tensor, modality: Tensor) -> Tensor:
    """PECA, Eq. 4: cross-entropy, the mean over visible and the mean over infrared samples, added.

    Symbols: C(E(x)) is ``logits``, y is ``labels``, v and ir are the values of ``modality``.
    Worked: two classes, logits (0, 0) for one visible and one infrared sample give ln 2 each,
    1.3863 in all.

    Args:
        logits: (B, C) scores of the BN-neck feature.
        labels: (B,) int64 in [0, C).
        modality: (B,) int64; every value that occurs has a mean of its own.

    Returns:
        Scalar float32; zero, with gradient, for an empty batch.
    """
    losses = functional.cross_entropy(logits.float(), labels, reduction="none")
    alike = (modality[:, None] == modality[None, :]).sum(1)
    return (losses / alike).sum()


class CrossEntropyTerm(LossTerm):
    """L_ce over the real images.

    Args:
        generated: Generated images join, with a mean of their own and their visible image's identity.
    """

    def __init__(self, generated: bool = False) -> None:
        super().__init__()
        if generated:
            self.needs = frozenset({Need.GENERATED})

    def forward(self, step: StepOutputs) -> Tensor:
        """See ``identity_cross_entropy``."""
        logits, labels, modality = step.logits, step.labels, step.modality
        if self.needs:
            made = needed(step.generated)
            logits = torch.cat([logits, made.logits])
            labels = torch.cat([labels, labels[made.visible]])
            modality = torch.cat([modality, torch.full_like(made.visible, Stream.GENERATED)])
        return identity_cross_entropy(logits, labels, modality)
