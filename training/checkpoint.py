"""The state of a training run on disk."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from index.errors import InvalidInput

FORMAT = 1
LAST = "last.pt"
BEST = "best.pt"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that a run needs to go on, or to be frozen.

    Attributes:
        recipe: The recipe as plain data.
        identities: The person ids that the classifier knows, in its order.
        held_out: The person ids kept for validation.
        epoch: Epochs and
        step: steps of the next epoch that are done.
        network: State of encoder and classifier.
        objective: State of the loss terms that have layers of their own.
        memory: The centroid memory.
        optimiser: State of the optimiser.
        best_map: Best mAP on the held-out identities so far, in [0, 1]; -1 before the first.
        seed: Of all draws.
        start: What the weights started from, in words.
        training_set: What it is trained on, in words.
        pretrained: The encoder's parameters, by name, that started from weights; they have their own rate.
        scaler: State of the loss scaling that fp16 needs; empty otherwise.
    """

    recipe: dict[str, Any]
    identities: tuple[str, ...]
    held_out: tuple[str, ...]
    epoch: int
    step: int
    network: dict[str, Any]
    objective: dict[str, Any]
    memory: dict[str, Any]
    optimiser: dict[str, Any]
    best_map: float
    seed: int
    start: str
    training_set: str
    pretrained: tuple[str, ...] = ()
    scaler: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write to ``path`` so that a kill leaves the old file or the new one, never a part."""
        partial = path.with_suffix(".partial")
        content = {name: getattr(self, name) for name in self.__slots__}
        with partial.open("wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what ``Checkpoint.save`` wrote.

    Raises:
        InvalidInput: There is no such file, or it is not a checkpoint of this format.
    """
    if not path.is_file():
        raise InvalidInput(f"no checkpoint at {path}; train one with `peca train`")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content.pop("format") != FORMAT:
            raise InvalidInput(f"{path} is a checkpoint of another format than {FORMAT}")
        return Checkpoint(**content)
    except InvalidInput:
        raise
    except Exception as error:  # torch.load raises whatever its unpickler meets
        raise InvalidInput(f"{path} is not a readable checkpoint: {error}") from error


def restore(module: nn.Module, state: dict[str, Any], what: str) -> None:
    """Give ``module`` the state that a checkpoint holds of it.

    Args:
        module: As the checkpoint's recipe makes it today.
        state: What the checkpoint holds.
        what: The module in words, for the message.

    Raises:
        InvalidInput: The state is that of another module: its code is not what it was in training.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise InvalidInput(
            f"the checkpoint does not fit the {what}, whose code must be that of the training: {error}"
        ) from error
