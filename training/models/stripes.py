"""Pooling of horizontal stripes: where on a body something is, beside that it is there."""

import torch
from torch import Tensor, nn


class StripePool(nn.Module):
    """Pools each of equally high stripes of a map, and maps each pooled stripe to few channels.

    Source: the uniform partition of PCB (Sun et al., "Beyond part models", ECCV 2018), with one linear
    map for all stripes. The map starts orthogonal, so that it keeps angles before it has learnt anything.

    Args:
        pool: Pools (N, C, h, w) to (N, C).
        dim: C.
        stripes: How many stripes.
        channels: Length of a stripe's feature.
    """

    def __init__(self, pool: nn.Module, dim: int, stripes: int, channels: int) -> None:
        super().__init__()
        self.pool = pool
        self.stripes = stripes
        self.reduce = nn.Linear(dim, channels, bias=False)
        nn.init.orthogonal_(self.reduce.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """Pool (N, C, h, w) maps to (N, stripes * channels); stripes overlap by a row where h asks for it."""
        height = maps.shape[2]
        rows = [
            maps[:, :, height * i // self.stripes : -(-height * (i + 1) // self.stripes)]
            for i in range(self.stripes)
        ]
        pooled = torch.stack([self.pool(row) for row in rows], dim=1)
        reduced: Tensor = self.reduce(pooled)
        return reduced.flatten(1)
