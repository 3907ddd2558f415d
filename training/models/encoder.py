"""The encoder of AGW with three streams: a stem for each kind of image, one trunk for all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Self, cast

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from training.models.backbone import own_backbones
from training.models.gem import GeneralisedMeanPool
from training.models.nonlocal_block import NonLocalBlock
from training.models.shape import NeckWithShape, ShapeGrid
from training.models.stripes import StripePool
from training.recipe import Affinity, Backbone, Feature, ModelRecipe

# The second stage's map, of an eighth of the image: late enough for more than edges, and early enough to know
# where they are.
SHAPE_STAGE = 1


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
        features: (N, D) pooled features, before the BN-neck, not normalised: C of the whole map, then
            those of its stripes, then the shape, each where the recipe has it.
        neck: (N, D) BN-neck features, not normalised; their direction is the embedding.
        metric: (N, D) the one of the two that the terms on normalised features see.
    """

    maps: Tensor
    features: Tensor
    neck: Tensor
    metric: Tensor

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Encoded":
        """What ``change`` makes of each of the four."""
        return Encoded(change(self.maps), change(self.features), change(self.neck), change(self.metric))

    def split(self, count: int) -> tuple["Encoded", "Encoded"]:
        """The first ``count`` images, and the others."""
        return self.mapped(lambda rows: rows[:count]), self.mapped(lambda rows: rows[count:])


class Encoder(nn.Module):
    """ResNet with three stems, non-local blocks, GeM pooling and a BN-neck (PECA, Sec. 4.1.2).

    Source: AGW (Ye et al., "Deep learning for person re-identification: a survey and outlook",
    TPAMI 2021); the fourth stage keeps its resolution (stride 1). Where the recipe names a backbone of one's
    own by its import path, that one's stems and trunk stand in the ResNet's place.

    Raises:
        InvalidInput: A backbone of one's own cannot be imported or used.
    """

    def __init__(self, recipe: ModelRecipe) -> None:
        super().__init__()
        self.backbone = recipe.backbone
        if isinstance(recipe.backbone, Backbone):
            stems, stages, self.dim = _resnet_parts(recipe.backbone, recipe)
        else:
            own = own_backbones(recipe.backbone, len(Stream))
            stems, stages, self.dim = [one.stem for one in own], [own[0].trunk], own[0].dim
        self.stems, self.stages = nn.ModuleList(stems), nn.ModuleList(stages)
        self._add_feature(recipe, map_channels=self.dim)
        self.metric_feature = recipe.metric_feature
        self._freeze(recipe.frozen_stages)

    def _add_feature(self, recipe: ModelRecipe, map_channels: int) -> None:
        """The parts of the feature that the recipe names, their length, and the neck behind them."""
        self.pool = GeneralisedMeanPool(recipe.gem_p)
        self.whole = recipe.whole
        self.dim = map_channels * recipe.whole
        self.stripes = None
        if recipe.stripes:
            self.stripes = StripePool(self.pool, map_channels, recipe.stripes, recipe.stripe_channels)
            self.dim += recipe.stripes * recipe.stripe_channels
        self.shape: ShapeGrid | None = None
        self.neck: nn.Module = nn.BatchNorm1d(self.dim)
        if recipe.shape_cells:
            channels = _channels(cast(nn.Sequential, self.stages[SHAPE_STAGE]))
            self.shape = ShapeGrid(channels, recipe.shape_cells, recipe.shape_channels)
            self.neck = NeckWithShape(self.dim, self.shape.dim, recipe.shape_share)
            self.dim += self.shape.dim
        _norm_of(self.neck).bias.requires_grad_(False)

    def _freeze(self, stages: int) -> None:
        """Take the stems and so many stages out of training, and the shape where its stage is among them."""
        self.frozen: list[nn.Module] = [self.stems, *self.stages[:stages]] if stages else []
        if self.shape is not None and stages > SHAPE_STAGE:
            self.frozen.append(self.shape)
        for module in self.frozen:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """As of every module; but what is frozen keeps its batch statistics."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, groups: Sequence[tuple[Stream, Tensor]]) -> Encoded:
        """Encode groups of images, one stream each, as one batch in the order given.

        Args:
            groups: Pairs of a stream and (n, 3, H, W) normalised images.
        """
        stemmed = torch.cat([self.stems[stream](images) for stream, images in groups])
        return self.encode_stemmed(stemmed)

    def encode_stemmed(self, stemmed: Tensor) -> Encoded:
        """The shared part: stem outputs, a ResNet's (N, 64, H/4, W/4), to maps, features and neck."""
        early, maps = self.maps_of(stemmed)
        features = self.pooled(early, maps)
        neck = self.neck(features)
        return Encoded(maps, features, neck, neck if self.metric_feature is Feature.NECK else features)

    def maps_of(self, stemmed: Tensor) -> tuple[Tensor, Tensor]:
        """Stem outputs to the maps that the shape is taken from, and to those of the last stage."""
        early = maps = stemmed
        for number, stage in enumerate(self.stages):
            maps = stage(maps)
            if number == SHAPE_STAGE:
                early = maps
        return early, maps

    def pooled(self, early: Tensor, maps: Tensor) -> Tensor:
        """(N, D) features of the maps that ``maps_of`` gives: whole, stripes, shape, as the recipe says."""
        parts: list[Tensor] = [self.pool(maps)] if self.whole else []
        if self.stripes is not None:
            parts.append(self.stripes(maps))
        if self.shape is not None:
            parts.append(self.shape(early))
        # Under autocast the linear maps above give half precision; what compares features wants full.
        return torch.cat(parts, dim=1).float()


def _resnet_parts(backbone: Backbone, recipe: ModelRecipe) -> tuple[list[nn.Module], list[nn.Module], int]:
    """The stems of three ResNets, the stages of the first, and its features' length."""
    resnets = [_resnet(backbone) for _ in Stream]
    trunk = resnets[0]
    stages = (trunk.layer1, trunk.layer2, trunk.layer3, _without_stride(trunk.layer4))[: recipe.last_stage]
    if recipe.stride_first:
        _stride_in_first_convolutions(trunk)
    return (
        [nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool) for net in resnets],
        [
            _with_non_local(stage, count, recipe.affinity)
            for stage, count in zip(stages, recipe.non_local, strict=False)
        ],
        _channels(stages[-1]),
    )


def _norm_of(neck: nn.Module) -> nn.BatchNorm1d:
    return cast(nn.BatchNorm1d, neck.norm if isinstance(neck, NeckWithShape) else neck)


def _resnet(backbone: Backbone) -> torchvision.models.ResNet:
    build = getattr(torchvision.models, backbone.value)
    return cast(torchvision.models.ResNet, build(weights=None))


def _without_stride(stage: nn.Sequential) -> nn.Sequential:
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    return stage


def _stride_in_first_convolutions(trunk: torchvision.models.ResNet) -> None:
    for block in trunk.modules():
        if isinstance(block, Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def _channels(stage: nn.Sequential) -> int:
    return next(m.num_features for m in reversed(list(stage.modules())) if isinstance(m, nn.BatchNorm2d))


def _with_non_local(stage: nn.Sequential, count: int, affinity: Affinity) -> nn.Sequential:
    """Insert a non-local block after each of the last ``count`` blocks of a stage (all, if it has fewer)."""
    blocks = list(stage)
    channels = _channels(stage)
    first = len(blocks) - min(count, len(blocks))
    layers: list[nn.Module] = []
    for position, block in enumerate(blocks):
        layers.append(block)
        if position >= first:
            layers.append(NonLocalBlock(channels, affinity))
    return nn.Sequential(*layers)
