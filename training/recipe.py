"""A training recipe: an experiment as data, read from TOML into frozen dataclasses."""

import tomllib
from dataclasses import field, replace
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from index.errors import InvalidInput

_STRICT = ConfigDict(extra="forbid")

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Backbone(StrEnum):
    """The depth of the ResNet."""

    RESNET18 = "resnet18"
    RESNET34 = "resnet34"
    RESNET50 = "resnet50"


class Affinity(StrEnum):
    """How a non-local block weighs positions: products over their number (AGW), or softmax."""

    DOT = "dot"
    SOFTMAX = "softmax"


@dataclass(frozen=True, config=_STRICT)
class DataRecipe:
    """What a batch is.

    Attributes:
        image_hw: Height and width in pixels.
        identities: Identities in a batch.
        images_per_modality: Visible, and as many infrared, images of each identity in a batch.
        held_out: Share of the training identities kept for validation.
    """

    image_hw: tuple[Count, Count] = (288, 144)
    identities: Annotated[int, Field(ge=2)] = 8
    images_per_modality: Count = 4
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1


@dataclass(frozen=True, config=_STRICT)
class AugmentRecipe:
    """CAJ's augmentations, each with its probability an image.

    Attributes:
        flip: Mirror left and right.
        pad: Zero padding in pixels before a random crop back to size.
        channel_exchange: Visible only: one channel, drawn uniformly, replaces the other two.
        channel_erase: Visible only: a rectangle is filled with CIFAR's mean, channel by channel.
        exchange_grey: Whether the exchange draws grey too, as a fourth channel (CAJ's random grayscale).
    """

    flip: Probability = 0.5
    pad: Annotated[int, Field(ge=0)] = 10
    channel_exchange: Probability = 0.5
    channel_erase: Probability = 0.5
    exchange_grey: bool = False


@dataclass(frozen=True, config=_STRICT)
class ModelRecipe:
    """The encoder.

    Attributes:
        backbone: Depth of the ResNet.
        non_local: Non-local blocks in each of the four stages, at most the stage's own blocks.
        affinity: Weighing of the non-local blocks.
        gem_p: Exponent of the pooling.
    """

    backbone: Backbone = Backbone.RESNET50
    non_local: tuple[int, int, int, int] = (0, 2, 3, 0)
    affinity: Affinity = Affinity.DOT
    gem_p: Positive = 3.0


@dataclass(frozen=True, config=_STRICT)
class OptimiserRecipe:
    """SGD and its schedule.

    Attributes:
        lr: Learning rate of new layers.
        pretrained_factor: Times ``lr`` for layers that start from pretrained weights.
        momentum: Nesterov momentum.
        weight_decay: L2 penalty.
        warmup_epochs: The rate grows linearly over these.
        decay_epochs: From each of these epochs on the rate is divided by ten once more.
        epochs: Passes over the training set.
    """

    lr: Positive = 0.1
    pretrained_factor: Positive = 0.1
    momentum: Probability = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    warmup_epochs: Annotated[int, Field(ge=0)] = 10
    decay_epochs: tuple[int, ...] = (20, 50)
    epochs: Count = 100

    def rate(self, epoch: int) -> float:
        """The learning rate of new layers in ``epoch``, counted from 0 (PECA, Sec. 4.1.2)."""
        warm = min(1.0, (epoch + 1) / self.warmup_epochs) if self.warmup_epochs else 1.0
        decays = sum(epoch >= start for start in self.decay_epochs)
        return float(self.lr * warm * 0.1**decays)


@dataclass(frozen=True, config=_STRICT)
class Recipe:
    """One experiment.

    Attributes:
        name: As it is called on the command line.
        losses: For each loss term by name its ``weight`` and its own settings.
        data: What a batch is.
        augment: What is done to images.
        model: The encoder.
        optimiser: SGD and its schedule.
    """

    name: str
    losses: dict[str, dict[str, Any]]
    data: DataRecipe = field(default_factory=DataRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    model: ModelRecipe = field(default_factory=ModelRecipe)
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)

    def with_backbone(self, backbone: Backbone) -> "Recipe":
        """The same experiment on another depth."""
        return replace(self, model=replace(self.model, backbone=backbone))

    def as_dict(self) -> dict[str, Any]:
        """The recipe as plain data, for manifests and checkpoints."""
        return _ADAPTER.dump_python(self, mode="json")  # type: ignore[no-any-return]


_ADAPTER = TypeAdapter(Recipe)


def recipe_names() -> list[str]:
    """The recipes that ship."""
    folder = resources.files("training") / "recipes"
    return sorted(
        entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")
    )


def load_recipe(name: str) -> Recipe:
    """Read a recipe that ships, by name, or one of your own, by the path of its TOML file.

    Raises:
        InvalidInput: No such recipe, or a key or value in it is not understood.
    """
    if name.endswith(".toml"):
        text = Path(name).read_text(encoding="utf-8") if Path(name).is_file() else None
    else:
        entry = resources.files("training") / "recipes" / f"{name}.toml"
        text = entry.read_text(encoding="utf-8") if name in recipe_names() else None
    if text is None:
        raise InvalidInput(f"no recipe {name!r}; there are {', '.join(recipe_names())}, or give a .toml file")
    try:
        return parse_recipe(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"recipe {name!r} is not TOML: {error}") from None


def parse_recipe(content: dict[str, Any]) -> Recipe:
    """Check plain data against the recipe's form.

    Raises:
        InvalidInput: A key or value is not understood; the message names each.
    """
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidInput(f"the recipe is not understood: {faults}") from None
