"""A backbone of one's own, named by its import path in a recipe."""

import torch
from torch import Tensor, nn

from index.errors import InvalidInput
from training.import_path import imported_class, settings_of

_PROBE_HW = (96, 48)


class OwnBackbone(nn.Module):
    """A convolutional network in two parts; subclass it and name the subclass in a recipe.

    The encoder makes one for each kind of image, visible, infrared and generated. It takes the stem of each
    and the trunk of the first, pools the trunk's maps (GeM) and adds the BN-neck. A file given as
    ``--weights`` holds the state dictionary of this class.

    Attributes:
        stem: From normalised images (N, 3, H, W) to maps (N, c, h, w). H and W vary: L_sim has thirds of
            an image encoded too.
        trunk: From these to maps (N, D, h', w'), none below zero, since GeM takes roots: end in a ReLU.
        dim: Length D of a feature.
    """

    stem: nn.Module
    trunk: nn.Module
    dim: int


def own_backbones(path: str, count: int) -> list[OwnBackbone]:
    """Make ``count`` of the backbone that an import path names, and check that it is one.

    Raises:
        InvalidInput: ``path`` cannot be imported or names no ``OwnBackbone`` that is made without arguments,
            or what it makes breaks what ``OwnBackbone`` says of its parts.
    """
    kind = imported_class(path, OwnBackbone)
    if needed := [name for name, must in settings_of(kind).items() if must]:
        raise InvalidInput(f"{path!r} must be made without arguments; give {', '.join(needed)} a default")
    made = [kind() for _ in range(count)]
    _refuse_unfit(path, made[0])
    return made


def _refuse_unfit(path: str, backbone: OwnBackbone) -> None:
    expected = {"stem": nn.Module, "trunk": nn.Module, "dim": int}
    for name, type_ in expected.items():
        if not isinstance(getattr(backbone, name, None), type_):
            raise InvalidInput(f"{path!r} must set self.{name} in __init__, to a {type_.__name__}")
    maps = _probed(backbone)
    shape = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
    if not isinstance(maps, Tensor) or maps.dim() != 4 or maps.shape[1] != backbone.dim:
        raise InvalidInput(
            f"{path!r}: the trunk must give maps (N, dim, h, w) with dim {backbone.dim}, it gave {shape}"
        )
    if maps.amin() < 0:
        raise InvalidInput(
            f"{path!r}: the trunk's maps go below zero, to {maps.amin():.3g}, and GeM pooling takes roots of "
            "their means; end the trunk in a ReLU"
        )


@torch.no_grad()
def _probed(backbone: OwnBackbone) -> object:
    """What the trunk makes of two images of noise, drawn apart from the run's draws."""
    images = torch.randn((2, 3, *_PROBE_HW), generator=torch.Generator().manual_seed(0))
    was_training = backbone.training
    backbone.eval()
    maps = backbone.trunk(backbone.stem(images))
    backbone.train(was_training)
    return maps
