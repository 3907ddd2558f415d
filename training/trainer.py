"""The training loop: steps, schedule, validation, checkpoints, log."""

import math
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from index.errors import InvalidInput, PecaError
from training.axes import fit_shape
from training.checkpoint import BEST, LAST, Checkpoint, load_checkpoint, restore
from training.clock import Clock
from training.data.arrays import ImageArray, decode_images, load_images
from training.data.batch import BatchSource
from training.data.sampler import IdentitySampler
from training.log import RunLog
from training.losses.objective import Objective
from training.losses.term import Need, StepOutputs
from training.memory import CentroidMemory
from training.models.joined_norm import join_batch_norms
from training.models.network import Network, load_pretrained, read_weights
from training.optimiser import optimiser_of
from training.options import ArithmeticForm, Event, Report, TrainOptions
from training.processes import ALONE, Processes, device_of_this_process, joined_processes
from training.step import StepForward
from training.validation import embed, validate


class LossNotFinite(PecaError):
    """A loss term became infinite or not a number; the message names it."""


def train(options: TrainOptions, report: Report) -> Path:
    """Train, and return the checkpoint with the best mAP on held-out training identities.

    Started by torchrun, the processes train one network together, each on its share of every batch; the
    first writes and reports, and all see the one folder.

    Raises:
        InvalidInput: The device cannot be used; the folder holds a run and ``resume`` is not set; the
            checkpoint to resume from belongs to another recipe or data set; or as the parts say.
        DatasetInvalid: The data set cannot be read.
        LossNotFinite: A loss term became infinite or not a number.
    """
    device = device_of_this_process(options.device)
    _check_folder(options)
    if options.compiled:
        _check_compiler(device)
    if options.weights and not options.resume:
        # Before the decoding, which takes minutes.
        read_weights(options.weights, options.recipe.model.backbone)
    with joined_processes(device) as processes:
        trainer = Trainer(options, _decoded(options, processes, report), processes)
        asked, held = options.recipe.data.identities, trainer.sampler.identities
        if held < asked and processes.leads:
            report(Event(0, 0, 0, {"batch_identities": held, "asked_identities": asked}))
        if options.resume:
            trainer.restore(load_checkpoint(options.out / LAST))
        trainer.run(report)
    return options.out / BEST


class Trainer:
    """One network in training, on one device in each process.

    Args:
        options: The run.
        data: Its images, decoded.
        processes: That train it together.

    Raises:
        InvalidInput: A batch does not divide over the processes, or as the parts say.
    """

    def __init__(self, options: TrainOptions, data: ImageArray, processes: Processes = ALONE) -> None:
        self.options = options
        self.processes = processes
        self.recipe = recipe = options.recipe
        self.device = device_of_this_process(options.device)
        # Faster convolutions on a GPU for images of one size; without effect elsewhere.
        torch.backends.cudnn.benchmark = True
        training, held_out = _split_identities(data.identities, recipe.data.held_out, options.seed)
        self.data, self.held_out = data.of(training), data.of(held_out)
        self.sampler = IdentitySampler(
            self.data.labels,
            self.data.modality,
            recipe.data.identities,
            recipe.data.images_per_modality,
            options.seed,
        )
        processes.share(self.sampler.identities * recipe.data.images_per_modality)
        self.source = BatchSource(self.data, self.sampler, recipe.augment, options.seed, self.device)
        identities = len(self.data.identities)
        torch.manual_seed(options.seed)
        network = Network(recipe.model, identities)
        # A resumed run has its weights in the checkpoint.
        weights = None if options.resume else options.weights
        self.pretrained = tuple(load_pretrained(network.encoder, weights)) if weights else ()
        self.start = _start(weights, self.pretrained, network)
        if recipe.model.frozen_stages and not (self.pretrained or options.resume):
            raise InvalidInput(
                "frozen_stages keeps the weights that a run starts from; give some to --weights"
            )
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        join_batch_norms(network.encoder, processes, self.device)
        if "shape.reduce.weight" not in self.pretrained and not options.resume:
            fit_shape(network.encoder, self.data, self.device, processes)
        self.objective = Objective(recipe.losses, network.encoder.dim, identities).to(self.device)
        self.memory = CentroidMemory(identities, network.encoder.dim).to(self.device)
        self.optimiser = optimiser_of(self.network, self.objective, self.pretrained, recipe)
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=options.arithmetic is ArithmeticForm.FP16
        )
        self.forward = StepForward(self.network, self.objective.needs, processes, compiled=options.compiled)
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
        clock = Clock(self.options.max_minutes, self.done, self.steps)
        with ExitStack() as stack:
            tell = self._teller(report, stack) if self.processes.leads else _ignore
            out_of_time = False
            while self.done < self.steps and not out_of_time:
                if self.step == 0 and (self.epoch == 0 or Need.FRESH_CENTROIDS in self.objective.needs):
                    self.fill_memory()
                values = self.train_step()
                tell({**values, "time_left_s": clock.left_s(self.done)})
                if self.step == self.sampler.steps_per_epoch:
                    self.epoch, self.step = self.epoch + 1, 0
                out_of_time = clock.limited and self.processes.any(clock.is_out())
                if self.step == 0 or self.done == self.steps or out_of_time:
                    tell(self.validate_and_save())

    def describe(self) -> dict[str, str]:
        """The run in words, by name."""
        model, options = self.recipe.model, self.options
        together = f", {self.processes.count} processes" if self.processes.count > 1 else ""
        return {
            "recipe": self.recipe.name,
            "backbone": str(model.backbone),
            "start": self.start,
            "data": self._training_set(),
            "images": f"held on {self.device}" if self.source.held is not None else "memory-mapped",
            "precision": str(options.arithmetic) + (", compiled" if options.compiled else ""),
            "device": f"{self.device}{together}",
            "seed": str(options.seed),
        }

    def _teller(self, report: Report, stack: ExitStack) -> Callable[[dict[str, float]], None]:
        """What logs and reports values."""
        log = stack.enter_context(closing(RunLog(self.options.out)))
        log.describe(self.epoch, self.done, self.describe())
        report(Event(self.epoch, self.done, self.steps, {}, self.describe()))

        def tell(values: dict[str, float]) -> None:
            log.write(self.epoch, self.done, values)
            report(Event(self.epoch, self.done, self.steps, values))

        return tell

    def fill_memory(self) -> None:
        """Fill the centroid memory, if a term needs it, by one pass over the training set (Eq. 7, 8)."""
        if Need.CENTROIDS not in self.objective.needs:
            return
        with self.autocast():
            features = embed(
                self.network.encoder,
                self.data,
                self.device,
                of=attrgetter("metric"),
                processes=self.processes,
            )
        labels, modality = torch.from_numpy(self.data.labels), torch.from_numpy(self.data.modality)
        self.memory.initialise(*(t.to(self.device) for t in (torch.from_numpy(features), labels, modality)))
        self.processes.copy_first(self.memory.centroids)

    def train_step(self) -> dict[str, float]:
        """Take the next step and return its loss, terms, learning rate and images per second."""
        began = time.perf_counter()
        rate = self._set_rate()
        outputs = self.encode_batch()
        total, terms = self.objective(outputs)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(total).backward()
        self.processes.average_gradients([*self.network.parameters(), *self.objective.parameters()])
        # One transfer, and after the backward pass was queued, so that a GPU does not wait for it.
        loss, *parts = torch.stack([total, *terms.values()]).tolist()
        values = dict(zip(terms, parts, strict=True))
        self._check_finite(values)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if Need.CENTROIDS in self.objective.needs:
            unit = functional.normalize(outputs.encoded.metric.detach().float(), dim=1)
            self.memory.update(unit, outputs.labels, outputs.modality)
        self.step += 1
        elapsed = time.perf_counter() - began
        images_per_s = len(outputs.labels) / elapsed
        return {"loss": loss, **values, "lr": rate, "images_per_s": images_per_s}

    def encode_batch(self) -> StepOutputs:
        """What the loss terms see of the next step's batch."""
        batch = self.source.batch(self.epoch, self.step, generated=Need.GENERATED in self.objective.needs)
        with self.autocast():
            return self.forward(batch, self.memory.centroids)

    def _check_finite(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                raise LossNotFinite(f"loss term {name!r} is {value} at step {self.done + 1}; lower the rate")

    def validate_and_save(self) -> dict[str, float]:
        """Score the held-out identities and write the checkpoints."""
        result = validate(self.network.encoder, self.held_out, self.device, self.processes)
        best = result.mean_ap > self.best_map
        if self.step == 0:
            self.best_map = max(self.best_map, result.mean_ap)
        else:
            # An unbroken run is not validated within an epoch, so what a stop finds may only stand in.
            best = self.best_map < 0
        if self.processes.leads:
            checkpoint = self.checkpoint()
            # The best first: whatever kill comes between, `last` never speaks of a better one than there is.
            if best:
                checkpoint.save(self.options.out / BEST)
            checkpoint.save(self.options.out / LAST)
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
            pretrained=self.pretrained,
            training_set=self._training_set(),
            scaler=self.scaler.state_dict(),
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
                raise InvalidInput(f"cannot resume: the run in {self.options.out} differs in its {name}")
        restore(self.network, checkpoint.network, "network")
        restore(self.objective, checkpoint.objective, "loss terms")
        self.memory.load_state_dict(checkpoint.memory)
        self.pretrained = tuple(checkpoint.pretrained)
        self.optimiser = optimiser_of(self.network, self.objective, self.pretrained, self.recipe)
        self.optimiser.load_state_dict(checkpoint.optimiser)
        if checkpoint.scaler:
            self.scaler.load_state_dict(checkpoint.scaler)
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

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which the network runs."""
        if self.options.arithmetic is ArithmeticForm.FP32:
            return nullcontext()
        half = torch.bfloat16 if self.options.arithmetic is ArithmeticForm.BF16 else torch.float16
        return torch.autocast(self.device.type, half)


def _decoded(options: TrainOptions, processes: Processes, report: Report) -> ImageArray:
    """The training images; the first process decodes them, and the others wait and map them."""
    if not processes.leads:
        processes.wait()
        return load_images(options.out)
    data = decode_images(
        options.dataset.train,
        options.recipe.data.image_hw,
        options.out,
        lambda done, of: report(Event(0, 0, 0, {"decoded": done, "images": of})),
    )
    processes.wait()
    return data


def _ignore(values: dict[str, float]) -> None:
    """Only the first process logs and reports."""


def _start(weights: Path | None, pretrained: Collection[str], network: Network) -> str:
    """What the encoder starts from, in words."""
    if weights is None:
        return "from scratch"
    every = len(list(network.encoder.parameters()))
    return f"{weights.name}, {len(pretrained)} of {every} tensors; the others from scratch"


def _check_compiler(device: torch.device) -> None:
    try:
        torch.compile(lambda values: values + 1)(torch.zeros(1, device=device))
    except Exception as error:  # torch.compile raises whatever its back end meets
        raise InvalidInput(
            f"torch.compile does not work here ({str(error).splitlines()[0]}); leave --compile away"
        ) from None


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
