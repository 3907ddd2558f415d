"""Identity classification, L_ce."""

from torch import Tensor
from torch.nn import functional

from training.losses.term import LossTerm, StepOutputs


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
    means = [losses[modality == code].mean() for code in set(modality.tolist())]
    return sum(means, start=losses.sum() * 0)


class CrossEntropyTerm(LossTerm):
    """L_ce over the real images."""

    def forward(self, step: StepOutputs) -> Tensor:
        """See ``identity_cross_entropy``."""
        return identity_cross_entropy(step.logits, step.labels, step.modality)
