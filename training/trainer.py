"""The training loop: steps, schedule, validation, checkpoints, log."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from index.errors import InvalidInput, PecaError
from training.checkpoint import BEST, LAST, Checkpoint, load_checkpoint
from training.data.arrays import ImageArray, decode_images
from training.data.augment import augment
from training.data.sampler import IdentitySampler
from training.datasets.tree import Dataset
from training.ical import generate
from training.log import RunLog
from training.losses.objective import Objective
from training.losses.sim import PARTS
from training.losses.term import Generated, Need, StepOutputs
from training.memory import CentroidMemory
from training.models.encoder import Stream
from training.models.network import Network, load_pretrained
from training.recipe import Recipe
from training.validation import embed, validate

Report = Callable[["Event"], None]


class ArithmeticForm(StrEnum):
    """The number format of convolutions and products; sums, losses and weights stay float32."""

    FP32 = "fp32"
    BF16 = "bf16"


class LossNotFinite(PecaError):
    """A loss term became infinite or not a number; the message names it."""


@dataclass(frozen=True, slots=True)
class Event:
    """What the loop reports after a step or a validation.

    Attributes:
        epoch: Counted from 0.
        step: Steps done since the start of the run.
        steps: Steps of the whole run.
        values: What was measured: ``loss``, each term by name, ``lr``, ``images_per_s``; or
            ``val_rank1`` and ``val_map``; or ``decoded`` and ``images``; or, where the data set has
            fewer identities than a batch should hold, ``batch_identities`` and ``asked_identities``.
    """

    epoch: int
    step: int
    steps: int
    values: dict[str, float]


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
        weights: A state dictionary of a torchvision ResNet to start from.
        arithmetic: Number format of the network.
        device: A torch device, for example ``cpu`` or ``cuda``.
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
    training_set: str = ""


def train(options: TrainOptions, report: Report) -> Path:
    """Train, and return the checkpoint with the best mAP on held-out training identities.

    Raises:
        InvalidInput: The device cannot be used; the folder holds a run and ``resume`` is not set; the
            checkpoint to resume from belongs to another recipe or data set; or as the parts say.
        DatasetInvalid: The data set cannot be read.
        LossNotFinite: A loss term became infinite or not a number.
    """
    _check_device(options.device)
    _check_folder(options)
    data = decode_images(
        options.dataset.train,
        options.recipe.data.image_hw,
        options.out,
        lambda done, of: report(Event(0, 0, 0, {"decoded": done, "images": of})),
    )
    trainer = Trainer(options, data)
    asked, held = options.recipe.data.identities, trainer.sampler.identities
    if held < asked:
        report(Event(0, 0, 0, {"batch_identities": held, "asked_identities": asked}))
    if options.resume:
        trainer.restore(load_checkpoint(options.out / LAST))
    trainer.run(report)
    return options.out / BEST


class Trainer:
    """One network in training on one device."""

    def __init__(self, options: TrainOptions, data: ImageArray) -> None:
        self.options = options
        self.recipe = recipe = options.recipe
        self.device = torch.device(options.device)
        training, held_out = _split_identities(data.identities, recipe.data.held_out, options.seed)
        self.data, self.held_out = data.of(training), data.of(held_out)
        self.sampler = IdentitySampler(
            self.data.labels,
            self.data.modality,
            recipe.data.identities,
            recipe.data.images_per_modality,
            options.seed,
        )
        torch.manual_seed(options.seed)
        network = Network(recipe.model, len(self.data.identities))
        pretrained = load_pretrained(network.encoder, options.weights) if options.weights else []
        self.start = (
            f"{options.weights.name}, {len(pretrained)} tensors" if options.weights else "from scratch"
        )
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self.objective = Objective(recipe.losses, network.encoder.dim).to(self.device)
        self.memory = CentroidMemory(len(self.data.identities), network.encoder.dim).to(self.device)
        self.optimiser = _optimiser(self.network, self.objective, set(pretrained), recipe)
        self.epoch, self.step, self.best_map = 0, 0, -1.0

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        whole = self.recipe.optimiser.epochs * self.sampler.steps_per_epoch
        return whole if self.options.max_steps is None else min(whole, self.options.max_steps)

    @property
    def done(self) -> int:
        """Steps done since the start of the run."""
        return self.epoch * self.sampler.steps_per_epoch + self.step

    def run(self, report: Report) -> None:
        """Train to the end of the recipe, of ``max_steps`` or of ``max_minutes``.

        A checkpoint is written at the end of each epoch and of the run.
        """
        began = time.monotonic()
        limit_s = math.inf if self.options.max_minutes is None else 60 * self.options.max_minutes
        with closing(RunLog(self.options.out)) as log:

            def tell(values: dict[str, float]) -> None:
                log.write(self.epoch, self.done, values)
                report(Event(self.epoch, self.done, self.steps, values))

            if self.done == 0:
                self.fill_memory()
            out_of_time = False
            while self.done < self.steps and not out_of_time:
                tell(self.train_step())
                if self.step == self.sampler.steps_per_epoch:
                    self.epoch, self.step = self.epoch + 1, 0
                out_of_time = time.monotonic() - began >= limit_s
                if self.step == 0 or self.done == self.steps or out_of_time:
                    tell(self.validate_and_save())

    def fill_memory(self) -> None:
        """Fill the centroid memory, if a term needs it, by one pass over the training set (Eq. 7, 8)."""
        if Need.CENTROIDS not in self.objective.needs:
            return
        features = embed(self.network.encoder, self.data, self.device, of=attrgetter("features"))
        labels, modality = torch.from_numpy(self.data.labels), torch.from_numpy(self.data.modality)
        self.memory.initialise(*(t.to(self.device) for t in (torch.from_numpy(features), labels, modality)))

    def train_step(self) -> dict[str, float]:
        """Take the next step and return its loss, terms, learning rate and images per second."""
        began = time.perf_counter()
        rate = self._set_rate()
        outputs = self._encode_batch()
        total, terms = self.objective(outputs)
        for name, value in terms.items():
            if not torch.isfinite(value):
                raise LossNotFinite(
                    f"loss term {name!r} is {value.item()} at step {self.done}; lower the rate"
                )
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        self.optimiser.step()
        if Need.CENTROIDS in self.objective.needs:
            unit = functional.normalize(outputs.encoded.features.detach().float(), dim=1)
            self.memory.update(unit, outputs.labels, outputs.modality)
        self.step += 1
        elapsed = time.perf_counter() - began
        values = {name: value.item() for name, value in terms.items()}
        images_per_s = len(outputs.labels) / elapsed
        return {"loss": total.item(), **values, "lr": rate, "images_per_s": images_per_s}

    def validate_and_save(self) -> dict[str, float]:
        """Score the held-out identities and write the checkpoints."""
        result = validate(self.network.encoder, self.held_out, self.device)
        best = result.mean_ap > self.best_map
        self.best_map = max(self.best_map, result.mean_ap)
        checkpoint = self.checkpoint()
        checkpoint.save(self.options.out / LAST)
        if best:
            checkpoint.save(self.options.out / BEST)
        return {"val_rank1": result.rank1, "val_map": result.mean_ap}

    def checkpoint(self) -> Checkpoint:
        """The state of the run now."""
        return Checkpoint(
            recipe=self.recipe.as_dict(),
            identities=self.data.identities,
            held_out=self.held_out.identities,
            epoch=self.epoch,
            step=self.step,
            network=self.network.state_dict(),
            objective=self.objective.state_dict(),
            memory=self.memory.state_dict(),
            optimiser=self.optimiser.state_dict(),
            best_map=self.best_map,
            seed=self.options.seed,
            start=self.start,
            training_set=self._training_set(),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from ``checkpoint``.

        Raises:
            InvalidInput: It belongs to another recipe, seed or set of identities.
        """
        for name, ours, theirs in (
            ("recipe", self.recipe.as_dict(), checkpoint.recipe),
            ("seed", self.options.seed, checkpoint.seed),
            ("training identities", self.data.identities, tuple(checkpoint.identities)),
        ):
            if ours != theirs:
                raise InvalidInput(f"cannot resume: the run in {self.options.out} has another {name}")
        self.network.load_state_dict(checkpoint.network)
        self.objective.load_state_dict(checkpoint.objective)
        self.memory.load_state_dict(checkpoint.memory)
        self.optimiser.load_state_dict(checkpoint.optimiser)
        self.epoch, self.step, self.best_map = checkpoint.epoch, checkpoint.step, checkpoint.best_map
        self.start = checkpoint.start

    def _training_set(self) -> str:
        dataset = self.options.dataset
        named = self.options.training_set or f"{dataset.layout} layout in a folder named {dataset.root.name}"
        return f"{named}; {len(self.data):,} images of {len(self.data.identities):,} identities"

    def _set_rate(self) -> float:
        rate = self.recipe.optimiser.rate(self.epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        return rate

    def _draw_batch(self) -> tuple[list[Tensor], Tensor, Tensor, torch.Generator]:
        """The step's augmented images by modality, their labels and modality, and its generator."""
        visible, infrared = self.sampler.batch(self.epoch, self.step)
        # The draws of a step depend on nothing but the step, so that a resumed run repeats them.
        seed = int(np.random.SeedSequence((self.options.seed, self.done)).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        images = [
            self._augmented(rows, stream is Stream.VISIBLE, generator)
            for stream, rows in ((Stream.VISIBLE, visible), (Stream.INFRARED, infrared))
        ]
        rows = np.concatenate((visible, infrared))
        labels, modality = (
            torch.from_numpy(values[rows]).to(self.device)
            for values in (self.data.labels, self.data.modality)
        )
        return images, labels, modality, generator

    def _encode_batch(self) -> StepOutputs:
        images, labels, modality, generator = self._draw_batch()
        count, needs = len(images[0]), self.objective.needs
        self.network.train()
        with self._autocast():
            groups = [(Stream.VISIBLE, images[0]), (Stream.INFRARED, images[1])]
            made = None
            if Need.GENERATED in needs:
                made, partner = generate(images[0], images[1], labels[:count], labels[count:], generator)
                groups.append((Stream.GENERATED, made))
            encoded = self.network.encoder(groups)
            real, mixed = encoded.split(len(labels))
            logits = self.network.classifier(real.neck)
            local = self._local_features(groups[:2]) if Need.LOCAL in needs else None
        generated = None
        if made is not None:
            first = torch.arange(len(made), device=self.device)
            generated = Generated(mixed, first, count + partner)
        centroids = self.memory.centroids if Need.CENTROIDS in needs else None
        return StepOutputs(real, logits, labels, modality, generated, local, centroids)

    @torch.no_grad()
    def _local_features(self, groups: Sequence[tuple[Stream, Tensor]]) -> Tensor:
        """Features (B, 3, D) of the upper, middle and lower third of each real image.

        By the encoder as it stands, in evaluation mode, so that batch statistics stay those of whole images.
        """
        encoder = self.network.encoder.eval()
        thirds = zip(*(images.chunk(PARTS, dim=2) for _, images in groups), strict=True)
        streams = [stream for stream, _ in groups]
        parts = [encoder(list(zip(streams, third, strict=True))).features for third in thirds]
        encoder.train()
        return torch.stack(parts, dim=1)

    def _augmented(self, rows: np.ndarray[Any, np.dtype[np.int64]], visible: bool, generator: Any) -> Tensor:
        images = torch.from_numpy(self.data.take(rows)).to(self.device)
        augmented = augment(images, self.recipe.augment, visible, generator)
        return augmented.contiguous(memory_format=torch.channels_last)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.options.arithmetic is ArithmeticForm.FP32:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


def _check_device(name: str) -> None:
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"the device {name!r} cannot be used: {reason}; choose another --device") from None


def _check_folder(options: TrainOptions) -> None:
    exists = (options.out / LAST).is_file()
    if exists and not options.resume:
        raise InvalidInput(
            f"{options.out} holds a run already; add --resume to go on, or choose another --out"
        )
    if options.resume and not exists:
        raise InvalidInput(f"there is no run to resume in {options.out}")
    options.out.mkdir(parents=True, exist_ok=True)


def _split_identities(
    identities: tuple[str, ...], share: float, seed: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and held-out identities; at least two are held out."""
    count = max(2, round(len(identities) * share))
    order = np.random.default_rng(seed).permutation(len(identities))
    held_out = {identities[position] for position in order[:count]}
    return tuple(one for one in identities if one not in held_out), tuple(sorted(held_out))


def _optimiser(
    network: Network, objective: Objective, pretrained: set[str], recipe: Recipe
) -> torch.optim.SGD:
    settings = recipe.optimiser
    old: list[Tensor] = []
    new: list[Tensor] = list(objective.parameters())
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            (old if name.removeprefix("encoder.") in pretrained else new).append(parameter)
    groups = [
        {"params": parameters, "factor": factor}
        for parameters, factor in ((new, 1.0), (old, settings.pretrained_factor))
        if parameters
    ]
    return torch.optim.SGD(
        groups,
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=True,
        weight_decay=settings.weight_decay,
    )
