"""The encoder together with the classifier that only training uses."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from index.errors import InvalidInput
from training.models.encoder import Encoded, Encoder, Stream
from training.recipe import ModelRecipe


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


def load_pretrained(encoder: Encoder, path: Path) -> list[str]:
    """Start an encoder from the weights of a torchvision ResNet, as far as the file holds them.

    All three stems take ``conv1`` and ``bn1``; keys of the classifier are not used.

    Args:
        encoder: Changed in place.
        path: A state dictionary in torchvision's key names, saved by ``torch.save``.

    Returns:
        The encoder's parameters that now hold pretrained values, by name.

    Raises:
        InvalidInput: The file cannot be read, or holds no weight of this backbone.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler meets
        raise InvalidInput(f"{path} is not a readable state dictionary: {error}") from error
    state = encoder.state_dict()
    fitting = {
        ours: weights[theirs]
        for ours, theirs in _torchvision_names(encoder).items()
        if theirs in weights and weights[theirs].shape == state[ours].shape
    }
    parameters = [name for name, _ in encoder.named_parameters() if name in fitting]
    if not parameters:
        raise InvalidInput(f"{path} holds no weight that fits this backbone; expected torchvision's names")
    encoder.load_state_dict(fitting, strict=False)
    return parameters


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
