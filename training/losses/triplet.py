"""Triplet losses of the field's baselines."""

from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional

from training.losses.term import LossTerm, StepOutputs


class TripletForm(StrEnum):
    """Batch-hard with a margin (CAJ), or weighted over all pairs without one (AGW)."""

    HARD = "hard"
    WEIGHTED = "weighted"


def batch_hard_triplet(features: Tensor, labels: Tensor, margin: float = 0.3) -> Tensor:
    """Mean over anchors of max(d(hardest positive) - d(hardest negative) + margin, 0), Euclidean d.

    Source: Hermans et al., "In defense of the triplet loss", 2017, Eq. 5; margin 0.3 as in CAJ's
    published code. Worked: scalars 0, 1 of one identity and 3 of another: the anchors 0 and 1
    give max(1 - 3 + 0.3, 0) = 0 and max(1 - 2 + 0.3, 0) = 0; the anchor 3 has no positive.

    Args:
        features: (B, D), not normalised.
        labels: (B,) identities. An anchor without a positive or a negative does not count.
        margin: In units of distance.

    Returns:
        Scalar float32; zero, with gradient, where no anchor counts.
    """
    distances, positive, negative = _pairs(features, labels)
    if not len(distances):
        return features.float().sum() * 0
    hardest_positive = distances.masked_fill(~positive, -torch.inf).amax(1)
    hardest_negative = distances.masked_fill(~negative, torch.inf).amin(1)
    return functional.relu(hardest_positive - hardest_negative + margin).mean()


def weighted_triplet(features: Tensor, labels: Tensor) -> Tensor:
    """Weighted regularised triplet: softplus of the soft-weighted positive minus negative distance.

    Positives are weighed by softmax of d, negatives by softmax of -d. Source: AGW (Ye et al.,
    TPAMI 2021), Eq. 7 to 9. Worked: scalars 0, 1 and 3 as above: anchors 0 and 1 give
    ln(1 + e^(1 - 3)) = 0.1269 and ln(1 + e^(1 - 2)) = 0.3133, mean 0.2201.

    Args:
        features: (B, D), not normalised.
        labels: (B,) identities. An anchor without a positive or a negative does not count.

    Returns:
        Scalar float32; zero, with gradient, where no anchor counts.
    """
    distances, positive, negative = _pairs(features, labels)
    if not len(distances):
        return features.float().sum() * 0
    near = distances.masked_fill(~positive, -torch.inf).softmax(1)
    far = (-distances).masked_fill(~negative, -torch.inf).softmax(1)
    return functional.softplus((distances * near).sum(1) - (distances * far).sum(1)).mean()


def _pairs(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distances, positives (not the anchor itself) and negatives, (A, B), of the A anchors that have both."""
    wide = features.float()
    # Differences, not products: products lose the small distances, and those decide.
    distances = torch.cdist(wide, wide, compute_mode="donot_use_mm_for_euclid_dist")
    same = labels[:, None] == labels[None, :]
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    counts = positive.any(1) & ~same.all(1)
    return distances[counts], positive[counts], ~same[counts]


class TripletTerm(LossTerm):
    """Triplet loss on the pooled features of the real images."""

    def __init__(self, form: TripletForm = TripletForm.HARD, margin: float = 0.3) -> None:
        super().__init__()
        self.form = TripletForm(form)
        self.margin = margin

    def forward(self, step: StepOutputs) -> Tensor:
        """See ``batch_hard_triplet`` and ``weighted_triplet``."""
        features = step.encoded.features
        if self.form is TripletForm.WEIGHTED:
            return weighted_triplet(features, step.labels)
        return batch_hard_triplet(features, step.labels, self.margin)
