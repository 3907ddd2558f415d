"""What one training run is, and what it reports."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from training.datasets.tree import Dataset
from training.recipe import Recipe


class ArithmeticForm(StrEnum):
    """The number format of convolutions and products; sums, losses and weights stay float32."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


@dataclass(frozen=True, slots=True)
class Event:
    """What the loop reports after a step or a validation.

    Attributes:
        epoch: Counted from 0.
        step: Steps done since the start of the run.
        steps: Steps of the whole run.
        values: What was measured: ``loss``, each term by name, ``lr``, ``images_per_s``, ``time_left_s``; or
            ``val_rank1`` and ``val_map``; or ``decoded`` and ``images``; or, where the data set has
            fewer identities than a batch should hold, ``batch_identities`` and ``asked_identities``.
        run: Before the first step: how the run goes on, in words by name.
    """

    epoch: int
    step: int
    steps: int
    values: dict[str, float]
    run: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """One run of the trainer.

    Attributes:
        recipe: The experiment.
        dataset: What it is trained on; only its training part is read.
        out: The run's folder.
        seed: Of all draws.
        max_steps: Stop, at a checkpoint, when this many steps of the run are done.
        max_minutes: Stop, at a checkpoint, at the first step that ends so many minutes after the start.
        resume: Go on from the folder's last checkpoint.
        weights: What to start from, as ``read_weights`` takes it; not read where a run is resumed.
        arithmetic: Number format of the network.
        device: A torch device, for example ``cpu`` or ``cuda``.
        compiled: Run the encoder's training steps through ``torch.compile``.
        training_set: The data set in words, for the checkpoint; its layout and folder, if empty.
    """

    recipe: Recipe
    dataset: Dataset
    out: Path
    seed: int = 0
    max_steps: int | None = None
    max_minutes: float | None = None
    resume: bool = False
    weights: Path | None = None
    arithmetic: ArithmeticForm = ArithmeticForm.FP32
    device: str = "cpu"
    compiled: bool = False
    training_set: str = ""


Report = Callable[[Event], None]
