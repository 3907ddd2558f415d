"""A training recipe: an experiment as data, read from TOML into frozen dataclasses."""

import tomllib
from dataclasses import field, replace
from enum import StrEnum
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from index.errors import InvalidInput
from training.import_path import is_import_path

_STRICT = ConfigDict(extra="forbid")

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Backbone(StrEnum):
    """The depth of the ResNet."""

    RESNET18 = "resnet18"
    RESNET34 = "resnet34"
    RESNET50 = "resnet50"


def _backbone(name: object) -> object:
    if isinstance(name, str) and is_import_path(name):
        return name
    if not isinstance(name, str) or name not in list(Backbone):
        known = ", ".join(Backbone)
        raise ValueError(f"expected {known}, or module:Class for one of your own, got {name!r}")
    return Backbone(name)


AnyBackbone = Annotated[Backbone | str, BeforeValidator(_backbone)]


class Feature(StrEnum):
    """Which feature of an image the terms on normalised features see: ins, mod, mix and sim.

    Pooled features follow a rectifier, so all of them point the same way (cosine 0.9998 between two
    people, measured after training from scratch): on them L_ins stays at ln(1 + Q) and L_mix at 0.
    The BN-neck takes their mean away; it is also what inference compares.
    """

    NECK = "neck"
    POOLED = "pooled"


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
        backbone: Depth of the ResNet, or the import path of an ``OwnBackbone`` (training/models/backbone.py).
        non_local: Non-local blocks in each of the ResNet's four stages, at most the stage's own blocks; all 0
            with a backbone of one's own.
        affinity: Weighing of the non-local blocks.
        gem_p: Exponent of the pooling.
        metric_feature: What the terms ins, mod, mix and sim see.
        last_stage: Of the ResNet: 4, or 3, which is quicker and gives half the channels.
        stripes: Horizontal stripes of the map that are pooled apart and join the feature; 0 for none.
        stripe_channels: Length of a stripe's part of the feature.
        whole: Whether the pooled whole map is part of the feature; without it there must be stripes.
        shape_cells: Rows and columns of the grid in which the second stage's map joins the feature, without
            each image's mean (training/models/shape.py); none for no such part.
        shape_channels: Length of a cell's part of the feature.
        shape_share: Of the embedding's squared length that the grid has.
        frozen_stages: So many of the ResNet's first stages, with its stems, keep the weights that the run
            starts from, batch statistics too; 0 for none.
        stride_first: Blocks of ResNet-50 take their stride in the first convolution (1x1), as He et al. and
            Keras have it, not in the second (3x3), as torchvision has it: for weights of that form.
    """

    backbone: AnyBackbone = Backbone.RESNET50
    non_local: tuple[int, int, int, int] = (0, 2, 3, 0)
    affinity: Affinity = Affinity.DOT
    gem_p: Positive = 3.0
    metric_feature: Feature = Feature.NECK
    last_stage: Literal[3, 4] = 4
    stripes: Annotated[int, Field(ge=0)] = 0
    stripe_channels: Count = 128
    whole: bool = True
    shape_cells: tuple[Count, Count] | None = None
    shape_channels: Count = 16
    shape_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    frozen_stages: Literal[0, 1, 2, 3] = 0
    stride_first: bool = False

    @model_validator(mode="after")
    def _non_local_blocks_stand_in_stages_used(self) -> Self:
        if not isinstance(self.backbone, Backbone) and any(self.non_local):
            raise ValueError("a backbone of your own takes no non-local blocks; set non_local = [0, 0, 0, 0]")
        if self.last_stage == 3 and self.non_local[3]:
            raise ValueError("non_local asks for blocks in stage 4, but last_stage is 3")
        return self

    @model_validator(mode="after")
    def _there_is_a_feature(self) -> Self:
        if not self.whole and not self.stripes:
            raise ValueError("whole = false leaves no feature; set stripes")
        if self.shape_cells and not isinstance(self.backbone, Backbone):
            raise ValueError(
                "shape_cells needs a ResNet's second stage; a backbone of your own has one trunk"
            )
        if self.frozen_stages and not isinstance(self.backbone, Backbone):
            raise ValueError("frozen_stages counts a ResNet's stages; a backbone of your own has one trunk")
        return self


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
        losses: For each loss term by name its ``weight`` and its own settings; ``term`` where the name is not
            that of a term that ships (see ``training.losses.objective.Objective``).
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

    def amended(self, changes: dict[str, Any]) -> "Recipe":
        """The same experiment with some values replaced, table by table, as a form's TOML file gives them.

        Raises:
            InvalidInput: A key or value in ``changes`` is not understood.
        """
        return parse_recipe(_merged(self.as_dict(), changes))

    def as_dict(self) -> dict[str, Any]:
        """The recipe as plain data, for manifests and checkpoints."""
        return _ADAPTER.dump_python(self, mode="json")  # type: ignore[no-any-return]


_ADAPTER = TypeAdapter(Recipe)


def recipe_names() -> list[str]:
    """The recipes that ship."""
    return _names(resources.files("training") / "recipes")


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    both = base.keys() & changes.keys()
    tables = {
        key: _merged(base[key], changes[key])
        for key in both
        if isinstance(base[key], dict) and isinstance(changes[key], dict)
    }
    return base | changes | tables


def form_names() -> list[str]:
    """The forms that ship: changes that make any recipe the same experiment at another cost."""
    return _names(resources.files("training") / "recipes" / "forms")


def load_form(name: str) -> dict[str, Any]:
    """Read a form that ships, by name, or one of your own, by the path of its TOML file.

    Returns:
        Tables and values for ``Recipe.amended``.

    Raises:
        InvalidInput: There is no such form, or it is not TOML.
    """
    return _read_toml("form", name, resources.files("training") / "recipes" / "forms")


def load_recipe(name: str) -> Recipe:
    """Read a recipe that ships, by name, or one of your own, by the path of its TOML file.

    Raises:
        InvalidInput: No such recipe, or a key or value in it is not understood.
    """
    return parse_recipe(_read_toml("recipe", name, resources.files("training") / "recipes"))


def _names(folder: Traversable) -> list[str]:
    return sorted(
        entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")
    )


def _read_toml(kind: str, name: str, folder: Traversable) -> dict[str, Any]:
    """What the file ``name``, if it ends in .toml, or else what ``folder`` holds by that name, says."""
    shipped = _names(folder)
    if name.endswith(".toml"):
        text = Path(name).read_text(encoding="utf-8") if Path(name).is_file() else None
    else:
        text = (folder / f"{name}.toml").read_text(encoding="utf-8") if name in shipped else None
    if text is None:
        raise InvalidInput(f"no {kind} {name!r}; there are {', '.join(shipped)}, or give a .toml file")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{kind} {name!r} is not TOML: {error}") from None


def parse_recipe(content: dict[str, Any]) -> Recipe:
    """Check plain data against the recipe's form.

    Raises:
        InvalidInput: A key or value is not understood; the message names each.
    """
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise InvalidInput(f"the recipe is not understood: {faults}") from None
