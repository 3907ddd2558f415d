"""Instance-similarity contrastive loss, L_ins."""

import torch
from torch import Tensor
from torch.nn import functional

from training.losses.term import LossTerm, Need, StepOutputs, check_temperature, needed


def instance_contrastive(
    features: Tensor, labels: Tensor, num_negatives: int = 50, temperature: float = 0.15
) -> Tensor:
    """PECA, Eq. 6: cross-entropy of the hardest positive among itself and the hardest negatives.

    Symbols: f_i and f_k are rows of ``features``; f_j is the farthest sample of the same identity, of any
    modality; Q holds the ``num_negatives`` nearest samples of other identities (all, if there are fewer);
    tau_ins is ``temperature``. Worked: rows (1, 0) and (1, 0) of one identity and (0, 1) of another, at
    temperature 1: the first two give ln(1 + e^-1) = 0.3133, the third has no positive.

    Args:
        features: (B, D); normalised here.
        labels: (B,) identities. A sample without a positive does not count.
        num_negatives: |Q|, at least 1.
        temperature: Above 0.

    Returns:
        Scalar float32, the mean over the samples that count; zero, with gradient, where none does.
    """
    unit = functional.normalize(features.float(), dim=1)
    # The caller may be under autocast, which would make the product half.
    with torch.autocast(unit.device.type, enabled=False):
        cosine = unit @ unit.T
    same = labels[:, None] == labels[None, :]
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    counts = positive.any(1)
    if not counts.any():
        return cosine.sum() * 0
    # On the unit sphere the farthest sample is the one of the smallest cosine.
    hard_positive = cosine.masked_fill(~positive, torch.inf).amin(1, keepdim=True)[counts]
    negatives = cosine.masked_fill(same, -torch.inf)[counts]
    hard_negatives = negatives.topk(min(num_negatives, negatives.shape[1]), dim=1).values
    logits = torch.cat([hard_positive, hard_negatives], dim=1) / temperature
    return (logits.logsumexp(1) - logits[:, 0]).mean()


class InstanceTerm(LossTerm):
    """L_ins over the real images.

    Args:
        num_negatives: See ``instance_contrastive``.
        temperature: See ``instance_contrastive``.
        generated: Generated images join, with their visible image's identity.
    """

    def __init__(self, num_negatives: int = 50, temperature: float = 0.15, generated: bool = False) -> None:
        super().__init__()
        check_temperature(temperature)
        self.num_negatives = num_negatives
        self.temperature = temperature
        if generated:
            self.needs = frozenset({Need.GENERATED})

    def forward(self, step: StepOutputs) -> Tensor:
        """See ``instance_contrastive``."""
        features, labels = step.encoded.metric, step.labels
        if self.needs:
            made = needed(step.generated)
            features = torch.cat([features, made.encoded.metric])
            labels = torch.cat([labels, labels[made.visible]])
        return instance_contrastive(features, labels, self.num_negatives, self.temperature)
