"""One training step: against the same step written plainly, and where its time goes.

Images are noise: a step takes as long on them. Usage: training_step.py [--recipe NAME] [--form NAME]
[--device DEVICE] [--precision NAME ...] [--repeats N] [--compile]
"""

import argparse
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor
from torch.autograd.profiler_util import FunctionEvent
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from training.data.arrays import ImageArray
from training.datasets.tree import Dataset, Layout
from training.losses.sim import PARTS
from training.losses.term import Generated, Need, StepOutputs
from training.options import ArithmeticForm, TrainOptions
from training.recipe import Recipe, load_form, load_recipe
from training.trainer import Trainer

IDENTITIES = 64
IMAGES_PER_MODALITY = 8
WARM_UP = 2
SYSU_STEPS = 100 * -(-22_258 // 32)
FAMILIES = {
    "convolutions": ("conv",),
    "batch norms": ("batch_norm",),
    "matrix products": ("mm", "bmm", "addmm", "linear"),
}


def noise(image_hw: tuple[int, int], folder: Path) -> ImageArray:
    """A decoded, memory-mapped file of noise: as many images as a small data set has."""
    count = IDENTITIES * 2 * IMAGES_PER_MODALITY
    path = folder / "noise.npy"
    np.save(path, np.random.default_rng(0).integers(256, size=(count, *image_hw, 3), dtype=np.uint8))
    rows = np.arange(count)
    return ImageArray(
        np.load(path, mmap_mode="r"),
        rows,
        rows % IDENTITIES,
        rows // IDENTITIES % 2,
        np.array(["camera"] * count),
        tuple(f"{person:04d}" for person in range(IDENTITIES)),
    )


def plain_step(trainer: Trainer) -> None:
    """The step that ``trainer`` would take, without what makes it fast.

    No half precision, no memory layout, the thirds one after another, each loss read as it is made.
    """
    needs, network = trainer.objective.needs, trainer.network
    batch = trainer.source.batch(trainer.epoch, trainer.step, generated=Need.GENERATED in needs)
    groups = [(stream, images.contiguous()) for stream, images in batch.images.items()]
    count = len(batch.labels)
    network.train()
    real, made = network.encoder(groups).split(count)
    logits, generated, local = network.classifier(real.neck), None, None
    if batch.partner is not None:
        visible = torch.arange(count // 2, device=trainer.device)
        generated = Generated(made, visible, count // 2 + batch.partner, network.classifier(made.neck))
    if Need.LOCAL in needs:
        network.eval()
        with torch.no_grad():
            thirds = zip(*(images.chunk(PARTS, dim=2) for _, images in groups[:2]), strict=True)
            streams = [stream for stream, _ in groups[:2]]
            local = torch.stack(
                [network.encoder(list(zip(streams, third, strict=True))).metric for third in thirds], 1
            )
        network.train()
    centroids = trainer.memory.centroids
    outputs = StepOutputs(real, logits, batch.labels, batch.modality, generated, local, centroids)
    total, terms = trainer.objective(outputs)
    trainer.optimiser.zero_grad()
    total.backward()
    trainer.optimiser.step()
    trainer.memory.update(functional.normalize(real.metric.detach(), dim=1), batch.labels, batch.modality)
    [value.item() for value in terms.values()]


def wait_for(device: torch.device) -> None:
    """Let a GPU finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """How long a call takes."""
    wait_for(device)
    began = time.perf_counter()
    call()
    wait_for(device)
    return time.perf_counter() - began


def medians(calls: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, float]:
    """The median time of each call, taken in turns, so that a busy machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(WARM_UP + repeats):
        for name, call in calls.items():
            taken = seconds(call, device)
            if repeat >= WARM_UP:
                times[name].append(taken)
    return {name: statistics.median(taken) for name, taken in times.items()}


class SplitStep:
    """A step of a trainer in phases, the losses' backward pass apart from the network's."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._cut: list[tuple[Tensor, Tensor]] = []

    def __call__(self) -> None:
        """Take the step."""
        one = self.trainer
        self._cut.clear()
        with self._timed("data and augmentation"):
            batch = one.source.batch(0, 0, generated=Need.GENERATED in one.objective.needs)
        with self._timed("network forward"), one.autocast():
            outputs = one.forward(batch, one.memory.centroids)
        with self._timed("losses, both ways"):
            one.optimiser.zero_grad()
            total, _ = one.objective(self._apart(outputs))
            one.scaler.scale(total).backward()
        with self._timed("network backward"):
            reached = [(whole, leaf.grad) for whole, leaf in self._cut if leaf.grad is not None]
            wholes, gradients = zip(*reached, strict=True)
            torch.autograd.backward(wholes, gradients)
        with self._timed("optimiser and memory"):
            one.scaler.step(one.optimiser)
            one.scaler.update()
            one.memory.update(outputs.encoded.metric.detach(), outputs.labels, outputs.modality)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        wait_for(self.trainer.device)
        began = time.perf_counter()
        with record_function(phase):
            yield
            wait_for(self.trainer.device)
        self.seconds[phase] += time.perf_counter() - began

    def _apart(self, outputs: StepOutputs) -> StepOutputs:
        """The same values as leaves, at which the losses' backward pass ends."""
        made = outputs.generated
        if made is not None:
            made = replace(made, encoded=made.encoded.mapped(self._leaf), logits=self._leaf(made.logits))
        encoded = outputs.encoded.mapped(self._leaf)
        return replace(outputs, encoded=encoded, logits=self._leaf(outputs.logits), generated=made)

    def _leaf(self, whole: Tensor) -> Tensor:
        leaf = whole.detach().requires_grad_()
        self._cut.append((whole, leaf))
        return leaf


def print_phases(trainer: Trainer, repeats: int) -> None:
    """Where the time of a step goes: by phase, and of the network by kind of operator."""
    split = SplitStep(trainer)
    for _ in range(WARM_UP):
        split()
    split.seconds.clear()
    for _ in range(repeats):
        split()
    whole = sum(split.seconds.values())
    for phase, taken in split.seconds.items():
        print(f"  {phase:24} {1000 * taken / repeats:8.1f} ms {taken / whole:6.1%}")
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        split()
    spent = Counter[str]()
    for event in recorded.events():
        if event.self_cpu_time_total and phase_of(event).startswith("network"):
            spent[family_of(event.name)] += event.self_cpu_time_total
    shares = ", ".join(f"{name} {taken / spent.total():.0%}" for name, taken in spent.most_common())
    print(f"  of the network, on the processor: {shares}")


def phase_of(event: FunctionEvent) -> str:
    """The phase that an operator ran in."""
    while event.cpu_parent is not None:
        event = event.cpu_parent
    return event.name


def family_of(operator: str) -> str:
    """The kind of an operator."""
    name = operator.removeprefix("aten::")
    for family, starts in FAMILIES.items():
        if any(start in name for start in starts):
            return family
    return "the rest"


def operations(trainer: Trainer) -> int:
    """Floating-point operations of the matrix products and convolutions of one step."""
    with FlopCounterMode(display=False) as counter:
        trainer.train_step()
    return int(counter.get_total_flops())


def matrix_peak(precision: ArithmeticForm, device: torch.device) -> float:
    """Operations a second of one large matrix product, the best of ten."""
    size = 8192
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    one, two = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    return 2 * size**3 / min(seconds(lambda: one @ two, device) for _ in range(10))


def main() -> None:
    """Measure, and print."""
    options = arguments()
    recipe = load_recipe(options.recipe)
    if options.form:
        recipe = recipe.amended(load_form(options.form))
    with TemporaryDirectory() as name:
        folder = Path(name)
        data = noise(recipe.data.image_hw, folder)

        def trainer(precision: str, *, compiled: bool = False) -> Trainer:
            run = TrainOptions(
                recipe,
                Dataset(Layout.SYSU, folder, (), ()),
                folder,
                arithmetic=ArithmeticForm(precision),
                device=options.device,
                compiled=compiled,
            )
            made = Trainer(run, data)
            made.fill_memory()
            return made

        plain = trainer("fp32")
        plain.network.to(memory_format=torch.contiguous_format)
        ours = {form: trainer(form, compiled=options.compile) for form in options.precision}
        calls: dict[str, Callable[[], object]] = {"plain fp32": partial(plain_step, plain)}
        calls |= {form: one.train_step for form, one in ours.items()}
        times = medians(calls, options.repeats, plain.device)
        report(recipe, times, ours, options.repeats)


def report(recipe: Recipe, times: dict[str, float], ours: dict[str, Trainer], repeats: int) -> None:
    """Print what was measured."""
    height, width = recipe.data.image_hw
    device = next(iter(ours.values())).device
    images = 2 * recipe.data.identities * recipe.data.images_per_modality
    print(f"{recipe.name}, {recipe.model.backbone}, {height}x{width}, {images} real images")
    print(f"{device}, {torch.get_num_threads()} threads; medians of {repeats}")
    for name, taken in times.items():
        print(f"{name:12} {1000 * taken:8.1f} ms   ratio {taken / times['plain fp32']:.2f}")
    for form, one in ours.items():
        speed = operations(one) / times[form]
        print(f"{form}: {images / times[form]:.0f} images/s, {speed / 1e12:.2f} TFLOP/s")
        if device.type == "cuda":
            share = speed / matrix_peak(ArithmeticForm(form), device)
            print(f"  {share:.0%} of the speed of a large matrix product")
            print(f"  100 epochs of SYSU-MM01's size: {SYSU_STEPS * times[form] / 60:,.0f} minutes")
        print_phases(one, repeats)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="M1")
    parser.add_argument("--form", help="as in `peca train`")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--compile", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
