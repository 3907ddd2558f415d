"""The encoder together with the classifier that only training uses."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from index.errors import InvalidInput
from training.models.encoder import Encoded, Encoder, Stream
from training.recipe import Backbone, ModelRecipe


class Network(nn.Module):
    """Encoder and identity classifier (a linear layer without bias, as in AGW)."""

    def __init__(self, recipe: ModelRecipe, num_identities: int) -> None:
        super().__init__()
        self.encoder = Encoder(recipe)
        self.classifier = nn.Linear(self.encoder.dim, num_identities, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, groups: Sequence[tuple[Stream, Tensor]]) -> tuple[Encoded, Tensor]:
        """Encode groups of images and score them: what the encoder says, and (N, C) logits."""
        encoded = self.encoder(groups)
        return encoded, self.classifier(encoded.neck)


IMAGENET = Path("imagenet")
"""Stands for the ImageNet weights that torchvision fetches, where there is no file of this name."""


def read_weights(source: Path, backbone: Backbone | str) -> dict[str, Any]:
    """Read weights to start from.

    Args:
        source: A file that ``torch.save`` wrote: a state dictionary, or a checkpoint of a run. Or
            ``IMAGENET``: torchvision's file for ``backbone`` (IMAGENET1K_V1, which the field's AGW code
            starts from too), fetched once and kept where torch keeps such files.
        backbone: That the weights are for.

    Raises:
        InvalidInput: The file is absent or cannot be read, or the ImageNet weights cannot be had.
    """
    if source == IMAGENET and not source.is_file():
        return _imagenet_weights(backbone)
    if not source.is_file():
        raise InvalidInput(f"there is no file {source} to start from; give one, or --weights {IMAGENET}")
    try:
        weights = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler meets
        raise InvalidInput(f"{source} is not a readable state dictionary: {error}") from error
    if not isinstance(weights, dict):
        raise InvalidInput(f"{source} is no state dictionary: it holds a {type(weights).__name__}")
    return weights


def _imagenet_weights(backbone: Backbone | str) -> dict[str, Any]:
    if not isinstance(backbone, Backbone):
        raise InvalidInput(f"torchvision has no ImageNet weights of {backbone}; give a file to --weights")
    weights = torchvision.models.get_model_weights(backbone.value).IMAGENET1K_V1
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:  # no connection, or a file that is not whole
        raise InvalidInput(
            f"the ImageNet weights of {backbone} could not be fetched from {weights.url} ({error}); fetch "
            f"that file where there is a connection, and give it: --weights {Path(weights.url).name}"
        ) from error


def load_pretrained(encoder: Encoder, source: Path) -> list[str]:
    """Start an encoder from the weights of a torchvision ResNet or of another run, as far as they fit.

    All three stems take ``conv1`` and ``bn1``; keys of the classifier are not used. An encoder with a
    backbone of one's own takes that backbone's weights, all three stems those of its ``stem``.

    Args:
        encoder: Changed in place.
        source: As ``read_weights`` takes it, with torchvision's key names, or those of the ``OwnBackbone``.

    Returns:
        The encoder's parameters that now hold pretrained values, by name.

    Raises:
        InvalidInput: The file cannot be read, or holds no weight of this backbone.
    """
    weights = read_weights(source, encoder.backbone)
    state = encoder.state_dict()
    if {"recipe", "network"} <= weights.keys():
        # Not every run trains the stem of generated images.
        generated, visible = f"stems.{Stream.GENERATED}.", f"stems.{Stream.VISIBLE}."
        weights, names = weights["network"], {n: f"encoder.{n.replace(generated, visible)}" for n in state}
    else:
        names = _names_in_file(encoder)
    fitting = {
        ours: weights[theirs]
        for ours, theirs in names.items()
        if theirs in weights and weights[theirs].shape == state[ours].shape
    }
    parameters = [name for name, _ in encoder.named_parameters() if name in fitting]
    if not parameters:
        expected = "torchvision's names" if isinstance(encoder.backbone, Backbone) else "stem.* and trunk.*"
        raise InvalidInput(f"{source} holds no weight that fits this backbone; expected {expected}")
    encoder.load_state_dict(fitting, strict=False)
    return parameters


def _names_in_file(encoder: Encoder) -> dict[str, str]:
    """Our name of each value that a file of weights may have, and its name there."""
    if isinstance(encoder.backbone, Backbone):
        return _torchvision_names(encoder)
    names = {f"stages.0.{key}": f"trunk.{key}" for key in encoder.stages[0].state_dict()}
    for stream, stem in zip(Stream, encoder.stems, strict=True):
        names |= {f"stems.{stream}.{key}": f"stem.{key}" for key in stem.state_dict()}
    return names


def _torchvision_names(encoder: Encoder) -> dict[str, str]:
    """Our name of each value that a torchvision ResNet has, and its name there."""
    names = {}
    for stream in Stream:
        for position, theirs in ((0, "conv1"), (1, "bn1")):
            for key in encoder.stems.get_submodule(f"{stream}.{position}").state_dict():
                names[f"stems.{stream}.{position}.{key}"] = f"{theirs}.{key}"
    for number, stage in enumerate(encoder.stages):
        # Non-local blocks stand between a stage's own blocks and do not count.
        blocks = [(ours, block) for ours, block in stage.named_children() if hasattr(block, "conv1")]
        for theirs_number, (ours, block) in enumerate(blocks):
            for key in block.state_dict():
                names[f"stages.{number}.{ours}.{key}"] = f"layer{number + 1}.{theirs_number}.{key}"
    return names
