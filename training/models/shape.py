"""Where on an image something stands out, whatever the light, beside what pooling gives."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ShapeGrid(nn.Module):
    """A grid of cells of an early map, each channel's mean over the image taken out.

    What is left says where a channel answers more than elsewhere in the same image, as histograms of oriented
    gradients do (Dalal and Triggs, CVPR 2005), on a network's channels. The mean over an image is the part of
    a feature that its light and its camera's modality move most (Ulyanov et al., "Instance normalization",
    2016), so neither is seen. The map of channels starts orthogonal, so that it keeps angles; ``fit`` has
    it keep what differs most.

    Args:
        dim: C, channels of the map.
        cells: Rows and columns.
        channels: Length of a cell's part of the feature.
    """

    def __init__(self, dim: int, cells: tuple[int, int], channels: int) -> None:
        super().__init__()
        self.cells = cells
        self.dim = channels * cells[0] * cells[1]
        self.reduce = nn.Linear(dim, channels, bias=False)
        nn.init.orthogonal_(self.reduce.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, h, w) maps to (N, rows * columns * channels)."""
        reduced: Tensor = self.reduce(self._contrast(maps))
        return reduced.flatten(1)

    @torch.no_grad()
    def fit(self, maps: Tensor) -> None:
        """Take the axes of channels along which the cells of (N, C, h, w) maps differ most."""
        cells = self._contrast(maps).flatten(0, 1).double()
        _, axes = torch.linalg.eigh(cells.T @ cells)
        self.reduce.weight.copy_(axes[:, -len(self.reduce.weight) :].T)

    def _contrast(self, maps: Tensor) -> Tensor:
        """(N, rows * columns, C): each cell's mean, without the image's."""
        cells = functional.adaptive_avg_pool2d(maps, self.cells).flatten(2).transpose(1, 2)
        return cells - cells.mean(dim=1, keepdim=True)


class NeckWithShape(nn.Module):
    """The BN-neck of the pooled features, and the shape as it is, each with its share of a fixed length.

    Batch norm would make all cells of the grid equally strong; their strengths are what the grid says.

    Args:
        dim: P, length of the pooled features.
        shape_dim: S, length of the shape, which comes after them.
        share: Of the squared length, P + S, that the shape has.
    """

    def __init__(self, dim: int, shape_dim: int, share: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim)
        self.dims = [dim, shape_dim]
        length = float(dim + shape_dim)
        self.lengths = ((length * (1 - share)) ** 0.5, (length * share) ** 0.5)

    def forward(self, features: Tensor) -> Tensor:
        """(N, P + S) features to (N, P + S) of equal length, the square root of P + S."""
        pooled, shape = features.split_with_sizes(self.dims, dim=1)
        parts = (self.norm(pooled), shape)
        return torch.cat(
            [
                length * functional.normalize(part, dim=1)
                for length, part in zip(self.lengths, parts, strict=True)
            ],
            dim=1,
        )
