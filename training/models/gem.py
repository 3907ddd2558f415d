"""Generalised-mean pooling."""

import torch
from torch import Tensor, nn


class GeneralisedMeanPool(nn.Module):
    """GeM pooling: the p-th root of the mean of p-th powers over the positions of a map.

    p = 1 is average pooling, p to infinity is max pooling. The maps end in a ReLU, so they are
    not negative. Source: Radenovic et al., "Fine-tuning CNN image retrieval with no human
    annotation", TPAMI 2019, Eq. 3; fixed p = 3 as in AGW's published code.
    """

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = p

    def forward(self, maps: Tensor) -> Tensor:
        """Pool (N, C, H, W) maps to (N, C) features."""
        positions = maps.flatten(2).float()
        return torch.pow(torch.pow(positions, self.p).mean(dim=2) + 1e-12, 1 / self.p)
