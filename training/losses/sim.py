"""Global-local similarity, L_sim (GSL)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from index.errors import InvalidInput
from training.losses.term import LossTerm, Need, StepOutputs, needed

PARTS = 3


def global_local_similarity(
    global_maps: Tensor | Sequence[Tensor], local_features: Tensor | Sequence[Tensor]
) -> Tensor:
    """PECA, Eq. 1: minus the cosine of a sample's mapped global features and its local features.

    Symbols: f^g is ``global_maps``, what the MLPs make of the global feature, concatenated; f^s is
    ``local_features``, concatenated. Worked: f^g = (1, 0, 0) and f^s = (3, 4, 0) give -0.6.

    Args:
        global_maps: (B, 3, D) or (B, 3 D), or the three (B, D); not normalised.
        local_features: Likewise; receives no gradient.

    Returns:
        Scalar float32 in [-1, 1], the mean over samples; zero, with gradient, for an empty batch.

    Raises:
        InvalidInput: The two differ in the number of samples or in length.
    """
    mapped, local = _concatenated(global_maps), _concatenated(local_features).detach()
    if mapped.shape != local.shape:
        raise InvalidInput(
            "mapped and local features must be as many of one length, "
            f"got {tuple(mapped.shape)} and {tuple(local.shape)}"
        )
    if not len(mapped):
        return mapped.sum()
    return -functional.cosine_similarity(mapped, local, dim=1).mean()


def _concatenated(parts: Tensor | Sequence[Tensor]) -> Tensor:
    whole = parts if isinstance(parts, Tensor) else torch.cat(list(parts), dim=1)
    # Not flatten(1): an empty batch leaves the other dimension unknown to it.
    return whole.float().reshape(len(whole), int(whole[0].numel()) if len(whole) else 0)


class SimilarityTerm(LossTerm):
    """L_sim over the real images, with the three MLPs (two linear layers, no norm, no ReLU).

    Args:
        dim: Length D of a feature.
        simsiam_head: Put a batch norm and a ReLU between the two layers, as SimSiam does.
        own_statistics: Normalise the parts by their own batch statistics, not by the running ones.
    """

    needs = frozenset({Need.LOCAL})

    def __init__(self, dim: int, simsiam_head: bool = False, own_statistics: bool = False) -> None:
        super().__init__()
        if own_statistics:
            self.needs = frozenset({Need.LOCAL, Need.LOCAL_STATISTICS})
        self.heads = nn.ModuleList(_head(dim, simsiam_head) for _ in range(PARTS))

    def forward(self, step: StepOutputs) -> Tensor:
        """See ``global_local_similarity``."""
        mapped = [head(step.encoded.metric) for head in self.heads]
        return global_local_similarity(mapped, needed(step.local))


def _head(dim: int, simsiam_head: bool) -> nn.Sequential:
    between: list[nn.Module] = [nn.BatchNorm1d(dim), nn.ReLU()] if simsiam_head else []
    return nn.Sequential(nn.Linear(dim, dim), *between, nn.Linear(dim, dim))
