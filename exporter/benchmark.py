"""How quick an encoder is on each runtime that is present, measured in turns."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from exporter.bundle import Bundle
from exporter.errors import BundleInvalid, ProviderUnfit
from exporter.parity import closeness
from exporter.probe import read_probe
from exporter.providers import RUNS, Arithmetic, Provider, Run
from exporter.runtime import open_form

REFERENCES = (Arithmetic.FP32, Arithmetic.INT8, Arithmetic.FP16)


@dataclass(frozen=True, slots=True)
class Way:
    """One runtime in one arithmetic, and how near it comes to the trained network (mean cosine)."""

    provider: Provider
    arithmetic: Arithmetic
    run: Run
    mean_cosine: float

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.provider} {self.arithmetic}"


@dataclass(frozen=True, slots=True)
class Timing:
    """One way at one batch size.

    Attributes:
        way: The way's name.
        batch: Images of a call.
        p50_ms: Median wall time of a call.
        images_per_s: At that time.
        cpu_ms_per_image: Median processor time of all threads for an image; other work on the machine hardly
            moves it.
        speed: How many times the reference's speed, the median over rounds of the ratio of wall times.
    """

    way: str
    batch: int
    p50_ms: float
    images_per_s: float
    cpu_ms_per_image: float
    speed: float


def open_ways(bundle: Bundle) -> tuple[list[Way], dict[str, str]]:
    """Open each way to run a bundle whose files were checked.

    Returns:
        Those that run here, and what each of the others lacks, by name.
    """
    probe = read_probe(bundle.path / bundle.manifest.probe.file)
    ways, absent = [], {}
    for provider, arithmetics in RUNS.items():
        for arithmetic, form in arithmetics.items():
            name = f"{provider} {arithmetic}"
            if form not in bundle.manifest.files:
                absent[name] = f"the bundle has no form {form}"
                continue
            try:
                run = open_form(bundle, provider, arithmetic)
            except (ProviderUnfit, BundleInvalid) as error:
                absent[name] = str(error)
                continue
            cosine = closeness(run(probe.images, probe.modality), probe.trained)[1]
            ways.append(Way(provider, arithmetic, run, cosine))
    return ways, absent


def reference_of(ways: Sequence[Way]) -> Way:
    """What the others are compared with: ONNX Runtime on the processor, in fp32 where the bundle has that."""
    by_arithmetic = {way.arithmetic: way for way in ways if way.provider is Provider.CPU}
    return next(by_arithmetic[one] for one in REFERENCES if one in by_arithmetic)


def time_ways(
    bundle: Bundle,
    ways: Sequence[Way],
    batches: Sequence[int],
    rounds: int,
    progress: Callable[[], object] = lambda: None,
) -> list[Timing]:
    """Time each way at each batch size, in turns, so that other work on the machine falls on all alike.

    Args:
        bundle: Whose probe is encoded, over and over.
        ways: Of ``open_ways``.
        batches: Images of a call.
        rounds: Turns at each batch size.
        progress: Called after each batch size.
    """
    probe = read_probe(bundle.path / bundle.manifest.probe.file)
    timings = []
    for batch in batches:
        images = np.resize(probe.images, (batch, *probe.images.shape[1:]))
        codes = np.resize(probe.modality, batch)
        for way in ways:
            way.run(images, codes)
        wall = np.empty((rounds, len(ways)))
        busy = np.empty((rounds, len(ways)))
        for turn in range(rounds):
            for place in range(len(ways)):
                # Another one begins each turn.
                number = (turn + place) % len(ways)
                started = time.perf_counter(), time.process_time()
                ways[number].run(images, codes)
                wall[turn, number] = time.perf_counter() - started[0]
                busy[turn, number] = time.process_time() - started[1]
        reference = list(ways).index(reference_of(ways))
        speeds = np.median(wall[:, [reference]] / wall, axis=0)
        for number, way in enumerate(ways):
            p50_s = float(np.median(wall[:, number]))
            busy_ms = 1000 * float(np.median(busy[:, number])) / batch
            timings.append(
                Timing(way.name, batch, 1000 * p50_s, batch / p50_s, busy_ms, float(speeds[number]))
            )
        progress()
    return timings
