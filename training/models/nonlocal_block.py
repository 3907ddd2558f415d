"""The non-local block that AGW inserts into ResNet."""

import torch
from torch import Tensor, nn

from training.recipe import Affinity


class NonLocalBlock(nn.Module):
    """Adds to each position a weighted sum over all positions; the identity at initialisation.

    Source: Wang et al., "Non-local neural networks", CVPR 2018; dot-product affinity, halved
    channels and zero-initialised batch norm as in AGW's published code.
    """

    def __init__(self, channels: int, affinity: Affinity = Affinity.DOT) -> None:
        super().__init__()
        inner = channels // 2
        self.affinity = affinity
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        self.g = nn.Conv2d(channels, inner, 1)
        norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(norm.weight)
        self.out = nn.Sequential(nn.Conv2d(inner, channels, 1), norm)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        height, width = maps.shape[2:]
        theta = self.theta(maps).flatten(2).transpose(1, 2)
        phi = self.phi(maps).flatten(2)
        g = self.g(maps).flatten(2).transpose(1, 2)
        products = torch.bmm(theta, phi)
        weights = products.softmax(-1) if self.affinity is Affinity.SOFTMAX else products / products.shape[-1]
        mixed = torch.bmm(weights, g).transpose(1, 2)
        added: Tensor = self.out(mixed.reshape(-1, mixed.shape[1], height, width))
        return maps + added
