"""The encoder of AGW with three streams: a stem for each kind of image, one trunk for all."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import cast

import torch
import torchvision
from torch import Tensor, nn

from training.models.gem import GeneralisedMeanPool
from training.models.nonlocal_block import NonLocalBlock
from training.recipe import Affinity, Backbone, ModelRecipe


class Stream(IntEnum):
    """Which stem an image goes through. Visible and infrared are the codes of the frozen encoder too."""

    VISIBLE = 0
    INFRARED = 1
    GENERATED = 2


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the encoder says of N images.

    Attributes:
        maps: (N, C, h, w) feature maps of the last stage.
        features: (N, D) pooled features, before the BN-neck, not normalised; D = C.
        neck: (N, D) BN-neck features, not normalised; their direction is the embedding.
    """

    maps: Tensor
    features: Tensor
    neck: Tensor

    def split(self, count: int) -> tuple["Encoded", "Encoded"]:
        """The first ``count`` images, and the others."""
        parts = [(one[:count], one[count:]) for one in (self.maps, self.features, self.neck)]
        first, rest = zip(*parts, strict=True)
        return Encoded(*first), Encoded(*rest)


class Encoder(nn.Module):
    """ResNet with three stems, non-local blocks, GeM pooling and a BN-neck (PECA, Sec. 4.1.2).

    Source: AGW (Ye et al., "Deep learning for person re-identification: a survey and outlook",
    TPAMI 2021); the last stage keeps its resolution (stride 1).
    """

    def __init__(self, recipe: ModelRecipe) -> None:
        super().__init__()
        resnets = [_resnet(recipe.backbone) for _ in Stream]
        self.stems = nn.ModuleList(
            nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool) for net in resnets
        )
        trunk = resnets[0]
        stages = (trunk.layer1, trunk.layer2, trunk.layer3, _without_stride(trunk.layer4))
        self.stages = nn.ModuleList(
            _with_non_local(stage, count, recipe.affinity)
            for stage, count in zip(stages, recipe.non_local, strict=True)
        )
        self.dim = int(trunk.fc.in_features)
        self.pool = GeneralisedMeanPool(recipe.gem_p)
        self.neck = nn.BatchNorm1d(self.dim)
        self.neck.bias.requires_grad_(False)

    def forward(self, groups: Sequence[tuple[Stream, Tensor]]) -> Encoded:
        """Encode groups of images, one stream each, as one batch in the order given.

        Args:
            groups: Pairs of a stream and (n, 3, H, W) normalised images.
        """
        stemmed = torch.cat([self.stems[stream](images) for stream, images in groups])
        return self.encode_stemmed(stemmed)

    def encode_stemmed(self, stemmed: Tensor) -> Encoded:
        """The shared part: stem outputs (N, 64, H/4, W/4) to maps, features and neck."""
        maps = stemmed
        for stage in self.stages:
            maps = stage(maps)
        features = self.pool(maps)
        return Encoded(maps, features, self.neck(features))


def _resnet(backbone: Backbone) -> torchvision.models.ResNet:
    build = getattr(torchvision.models, backbone.value)
    return cast(torchvision.models.ResNet, build(weights=None))


def _without_stride(stage: nn.Sequential) -> nn.Sequential:
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    return stage


def _with_non_local(stage: nn.Sequential, count: int, affinity: Affinity) -> nn.Sequential:
    """Insert a non-local block after each of the last ``count`` blocks of a stage (all, if it has fewer)."""
    blocks = list(stage)
    channels = next(m.num_features for m in reversed(list(stage.modules())) if isinstance(m, nn.BatchNorm2d))
    first = len(blocks) - min(count, len(blocks))
    layers: list[nn.Module] = []
    for position, block in enumerate(blocks):
        layers.append(block)
        if position >= first:
            layers.append(NonLocalBlock(channels, affinity))
    return nn.Sequential(*layers)
