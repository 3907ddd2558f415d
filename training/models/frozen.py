"""The encoder as inference uses it: two stems, normalisation inside, unit rows out."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck

from training.data.augment import normalise
from training.models.encoder import Encoder, Stream


class FrozenEncoder(nn.Module):
    """What is exported: uint8 images and their modality to embeddings.

    Batch norms are folded into the convolutions before them; the stem of generated images,
    which only training uses, is left behind.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        encoder = copy.deepcopy(encoder).eval()
        for module in encoder.modules():
            _fold_batch_norms(module)
        del encoder.stems[Stream.GENERATED]
        self.encoder = encoder.requires_grad_(False)
        self.dim = encoder.dim

    def forward(self, images: Tensor, modality: Tensor) -> Tensor:
        """Embed a batch of mixed modalities.

        Args:
            images: (N, H, W, 3) uint8 RGB.
            modality: (N,) int64, 0 visible and 1 infrared.

        Returns:
            (N, D) float32, rows of unit length: the normalised BN-neck feature.
        """
        normalised = normalise(images)
        visible = self.encoder.stems[Stream.VISIBLE](normalised)
        infrared = self.encoder.stems[Stream.INFRARED](normalised)
        is_visible = (modality == int(Stream.VISIBLE))[:, None, None, None]
        encoded = self.encoder.encode_stemmed(torch.where(is_visible, visible, infrared))
        return functional.normalize(encoded.neck, dim=1)


def _fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch norm that directly follows a convolution: in a sequence, or in a ResNet's block."""
    if isinstance(module, nn.Sequential):
        for position in range(len(module) - 1):
            first, second = module[position], module[position + 1]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                module[position] = fuse_conv_bn_eval(first, second)
                module[position + 1] = nn.Identity()
        return
    if not isinstance(module, (BasicBlock, Bottleneck)):
        return
    for number in (1, 2, 3):
        conv: object = getattr(module, f"conv{number}", None)
        norm: object = getattr(module, f"bn{number}", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, f"conv{number}", fuse_conv_bn_eval(conv, norm))
            setattr(module, f"bn{number}", nn.Identity())
