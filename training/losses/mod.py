"""Modality-similarity contrastive loss, L_mod."""

import torch
from torch import Tensor
from torch.nn import functional

from training.losses.term import LossTerm, Need, StepOutputs, check_temperature, needed


def modality_contrastive(
    features: Tensor, labels: Tensor, modality: Tensor, centroids: Tensor, temperature: float = 0.10
) -> Tensor:
    """PECA, Eq. 10: each sample toward both centroids of its identity, from the others of its modality.

    Symbols: f_i is a row of ``features``; P holds both modality centroids of its identity; U those of its
    own modality with other identities; tau_mod is ``temperature``. Each m in P is one numerator, the
    denominator is the sum over P and U, and the mean over P stands outside the logarithm. Worked: one
    sample (1, 0) of identity 0, visible, temperature 1; centroids (1, 0) visible and (0, 1) infrared of
    identity 0, (0, 1) visible of identity 1: denominator e + 2 = 4.7183, mean of ln(4.7183) - 1 and
    ln(4.7183) - 0, that is 1.0514.

    Args:
        features: (B, D); normalised here.
        labels: (B,) int64 in [0, C).
        modality: (B,) int64, 0 visible and 1 infrared.
        centroids: (2, C, D) of unit length, visible then infrared; receives no gradient.
        temperature: Above 0.

    Returns:
        Scalar float32, the mean over samples; zero, with gradient, for an empty batch.
    """
    unit = functional.normalize(features.float(), dim=1)
    if not len(unit):
        return unit.sum()
    fixed = centroids.detach().float()
    identities = fixed.shape[1]
    # The caller may be under autocast, which would make the product half.
    with torch.autocast(unit.device.type, enabled=False):
        logits = (unit @ fixed.flatten(0, 1).T / temperature).view(-1, 2, identities)
    own_identity = functional.one_hot(labels, identities).bool()[:, None, :].expand_as(logits)
    own_modality = functional.one_hot(modality, 2).bool()[:, :, None]
    denominator = logits.masked_fill(~(own_identity | own_modality), -torch.inf).flatten(1).logsumexp(1)
    numerators = logits[own_identity].view(len(unit), 2)
    loss: Tensor = (denominator - numerators.mean(1)).mean()
    return loss


class ModalityTerm(LossTerm):
    """L_mod of the real images against the centroid memory.

    Args:
        temperature: See ``modality_contrastive``.
        refresh: Fill the memory by a full pass over the training set at the start of every epoch.
    """

    needs = frozenset({Need.CENTROIDS})

    def __init__(self, temperature: float = 0.10, refresh: bool = False) -> None:
        super().__init__()
        check_temperature(temperature)
        self.temperature = temperature
        if refresh:
            self.needs = frozenset({Need.CENTROIDS, Need.FRESH_CENTROIDS})

    def forward(self, step: StepOutputs) -> Tensor:
        """See ``modality_contrastive``."""
        centroids = needed(step.centroids)
        return modality_contrastive(
            step.encoded.metric, step.labels, step.modality, centroids, self.temperature
        )
