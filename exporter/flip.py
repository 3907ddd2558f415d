"""An encoder that also looks at the mirror image, as one module."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class MirroredEncoder(nn.Module):
    """The mean of the unit feature of an image and of its mirror image, left to right, normalised again.

    This is the test-time flip of AGW and CAJ, in the graph; it costs twice the work.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor, modality: Tensor) -> Tensor:
        """Embed a batch.

        Args:
            images: (N, H, W, 3) uint8 RGB.
            modality: (N,) int64, 0 visible and 1 infrared.

        Returns:
            (N, D) float32, rows of unit length.
        """
        both = torch.cat([images, images.flip(2)])
        features: Tensor = self.encoder(both, modality.repeat(2))
        seen, mirrored = features.tensor_split(2)
        return functional.normalize(seen + mirrored, dim=1)
