"""Studies: the same training with one thing varied, over several seeds, scored on the test identities."""

import csv
import hashlib
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from index.errors import InvalidInput
from training.checkpoint import BEST, LAST, load_checkpoint, restore
from training.data.arrays import INDEX, decode_images, load_images
from training.losses.objective import Objective
from training.models.network import Network
from training.options import Event, TrainOptions
from training.recipe import Recipe
from training.scoring import score_test
from training.trainer import train

RESULT = "result.json"
SWEPT = {
    "tau_ins": ("ins", "temperature"),
    "tau_mod": ("mod", "temperature"),
    "lambda_m": ("mod", "weight"),
}
"""What the paper's Figs. 4 to 6 vary: the loss term and its setting."""
_TEMPERATURES = (0.05, 0.10, 0.15, 0.20, 0.25)
RANGES = {"tau_ins": _TEMPERATURES, "tau_mod": _TEMPERATURES, "lambda_m": (0.0, 0.25, 0.5, 0.75, 1.0)}
"""Their values there."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of a study: its name in tables, and the experiment."""

    name: str
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Study:
    """What is compared, and how each run is made.

    Attributes:
        variants: The rows, in the order of the tables; the first is what the others are held against.
        seeds: Runs of each row, with the seeds 0, 1, ...
        options: Data set, folder, device, precision and starting weights; its recipe and seed are replaced.
        jobs: Runs at a time, each in a process with its share of the processor's cores.
        max_minutes: Stop at checkpoints after so many minutes; the same call goes on from there.
    """

    variants: tuple[Variant, ...]
    seeds: int
    options: TrainOptions
    jobs: int = 1
    max_minutes: float | None = None

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if not names or len(set(names)) < len(names):
            raise InvalidInput(f"a study needs rows with names of their own, got {names}")


@dataclass(frozen=True, slots=True)
class Result:
    """One run on one test; rates in [0, 1].

    Attributes:
        variant: The row.
        seed: The run's.
        test: The test's name, as ``peca dataset describe`` prints it.
        mirrored: Whether features were averaged with those of the mirror images.
        rank1: CMC at rank 1; ``rank10`` and ``rank20`` likewise.
        rank10: CMC at rank 10.
        rank20: CMC at rank 20.
        mean_ap: Mean average precision.
        mean_inp: Mean inverse negative penalty.
    """

    variant: str
    seed: int
    test: str
    mirrored: bool
    rank1: float
    rank10: float
    rank20: float
    mean_ap: float
    mean_inp: float


def check_parameter(parameter: str) -> None:
    """Refuse what cannot be swept.

    Raises:
        InvalidInput: There is no such parameter.
    """
    if parameter not in SWEPT:
        raise InvalidInput(f"no parameter {parameter!r} to sweep; there are {', '.join(SWEPT)}")


def swept(recipe: Recipe, parameter: str, values: Sequence[float]) -> tuple[Variant, ...]:
    """Variants of ``recipe`` that differ in one parameter of the paper's Figs. 4 to 6.

    Args:
        recipe: The experiment; it must have the loss term that the parameter belongs to.
        parameter: ``tau_ins``, ``tau_mod`` or ``lambda_m``.
        values: What it takes.

    Raises:
        InvalidInput: The recipe lacks the loss term, or there is no such parameter.
    """
    check_parameter(parameter)
    term, setting = SWEPT[parameter]
    if term not in recipe.losses:
        raise InvalidInput(
            f"{parameter} belongs to the loss term {term!r}, which recipe {recipe.name} does not have"
        )
    return tuple(
        Variant(f"{parameter} {value:g}", recipe.amended({"losses": {term: {setting: value}}}))
        for value in values
    )


def run_study(study: Study, tell: Tell) -> list[Result]:
    """Train and score every run that has no result yet, seed by seed.

    Each run keeps its folder ``OUT/<row>/seed-<n>`` with checkpoints, log and ``result.json``; a call
    with the same arguments takes up what an earlier one left.

    Args:
        study: What to run.
        tell: Called with a line of text at each validation and each result; sent to other processes
            where ``jobs`` is more than one, so a function of a module.

    Returns:
        The results of the runs that are complete, in the order of the rows.

    Raises:
        InvalidInput: A folder holds a run of another experiment, or as the trainer says.
    """
    began = time.monotonic()
    deadline = math.inf if study.max_minutes is None else began + 60 * study.max_minutes
    for variant in study.variants:
        # Wrong settings of a loss term are found before the decoding.
        Objective(variant.recipe.losses, dim=1, num_identities=1)
    _decode_once(study, tell)
    runs = [(variant, seed) for seed in range(study.seeds) for variant in study.variants]
    results: list[Result] = []
    finished = _run_all(study, runs, deadline, tell)
    for done, (variant, seed, found) in enumerate(finished, start=1):
        results += found
        left = (time.monotonic() - began) / done * (len(runs) - done) / 60
        tell(f"{variant.name}, seed {seed}: {_in_words(found)} ({done} of {len(runs)}, {left:.0f} min left)")
    rows = [variant.name for variant in study.variants]
    return sorted(results, key=lambda one: (rows.index(one.variant), one.seed))


def _run_all(
    study: Study, runs: list[tuple[Variant, int]], deadline: float, tell: Tell
) -> Iterator[tuple[Variant, int, list[Result]]]:
    if study.jobs == 1:
        for variant, seed in runs:
            yield variant, seed, _run(study.options, variant, seed, deadline, tell)
        return
    threads = max(1, (os.cpu_count() or 1) // study.jobs)
    with ProcessPoolExecutor(study.jobs, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        pending = {pool.submit(_run, study.options, *run, deadline, tell): run for run in runs}
        try:
            for future in as_completed(pending):
                yield (*pending[future], future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _run(options: TrainOptions, variant: Variant, seed: int, deadline: float, tell: Tell) -> list[Result]:
    """The results of one run, or none where it could not be completed before ``deadline``."""
    folder = options.out / variant.name.replace(" ", "-").replace("/", "-") / f"seed-{seed}"
    decoded = _images_folder(options.out, variant.recipe.data.image_hw, "train")
    images = decoded / json.loads((decoded / INDEX).read_text(encoding="utf-8"))["pixels"]
    experiment = {
        "recipe": variant.recipe.as_dict(),
        "images": images.name,
        "weights": _digest(options.weights),
        "precision": str(options.arithmetic),
    }
    if (stored := _stored(folder, experiment)) is not None:
        return stored
    minutes = None if math.isinf(deadline) else (deadline - time.monotonic()) / 60
    if minutes is not None and minutes <= 0:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / images.name).exists():
        os.link(images, folder / images.name)
    run = replace(
        options,
        recipe=variant.recipe,
        out=folder,
        seed=seed,
        max_minutes=minutes,
        resume=(folder / LAST).is_file(),
    )
    train(run, partial(_watch, variant.name, seed, tell))
    if load_checkpoint(folder / LAST).epoch < variant.recipe.optimiser.epochs:
        return []
    results = _scored(options, variant, seed, folder)
    _write_json(folder / RESULT, {**experiment, "results": [asdict(one) for one in results]})
    return results


def _digest(weights: Path | None) -> str | None:
    """What tells starting weights from others: the file's SHA-256, or the name of what is no file."""
    if weights is None or not weights.is_file():
        return None if weights is None else str(weights)
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _watch(row: str, seed: int, tell: Tell, event: Event) -> None:
    if "val_map" in event.values:
        held_out = f"held-out R1 {event.values['val_rank1']:.1%}, mAP {event.values['val_map']:.1%}"
        tell(f"{row}, seed {seed}: step {event.step} of {event.steps}, {held_out}")


def _stored(folder: Path, experiment: dict[str, Any]) -> list[Result] | None:
    path = folder / RESULT
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    for part, ours in experiment.items():
        if content.get(part) != ours:
            raise InvalidInput(f"{path} is the result of another run ({part}); choose another --out")
    return [Result(**one) for one in content["results"]]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    beside = path.with_suffix(".partial")
    beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)


def _scored(options: TrainOptions, variant: Variant, seed: int, folder: Path) -> list[Result]:
    """The best checkpoint of a run, by mAP on held-out training identities, on every test."""
    dataset, device = options.dataset, torch.device(options.device)
    checkpoint = load_checkpoint(folder / BEST)
    network = Network(variant.recipe.model, len(checkpoint.identities))
    restore(network, checkpoint.network, "network")
    encoder = network.encoder.eval().to(device).to(memory_format=torch.channels_last)
    images = load_images(_images_folder(options.out, variant.recipe.data.image_hw, "test"))
    metrics = [field.name for field in fields(Result)][4:]
    return [
        Result(variant.name, seed, test, mirrored, **{name: getattr(report.mean, name) for name in metrics})
        for mirrored in (False, True)
        for test, report in score_test(
            encoder, dataset.test, images, dataset.layout, device, mirrored=mirrored
        ).items()
    ]


def _decode_once(study: Study, tell: Tell) -> None:
    """Decode the images before the runs, which then share the files."""
    dataset, out = study.options.dataset, study.options.out
    tell(f"decoding {len(dataset.train) + len(dataset.test):,} images")
    for image_hw in sorted({variant.recipe.data.image_hw for variant in study.variants}):
        decode_images(dataset.train, image_hw, _images_folder(out, image_hw, "train"))
        decode_images(dataset.test, image_hw, _images_folder(out, image_hw, "test"))


def _images_folder(out: Path, image_hw: tuple[int, int], part: str) -> Path:
    return out / "images" / f"{part}-{image_hw[0]}x{image_hw[1]}"


def _in_words(found: list[Result]) -> str:
    if not found:
        return "not complete"
    first = found[0]
    return f"{first.test} R1 {first.rank1:.1%}, mAP {first.mean_ap:.1%}"


@dataclass(frozen=True, slots=True)
class Cell:
    """A metric of one row on one test, over its seeds, in percent.

    Attributes:
        mean: Its mean.
        spread: Sample standard deviation; 0 for a single seed.
        gain: Mean of the differences from the first row, seed by seed; ``None`` without a common seed.
        gain_spread: Their sample standard deviation.
    """

    mean: float
    spread: float
    gain: float | None
    gain_spread: float


def summarise(results: Sequence[Result], test: str, mirrored: bool, metric: str) -> dict[str, Cell]:
    """Each row's ``metric`` on ``test``, in the order of ``results``."""
    values: dict[str, dict[int, float]] = {}
    for one in results:
        if one.test == test and one.mirrored == mirrored:
            values.setdefault(one.variant, {})[one.seed] = 100 * getattr(one, metric)
    first = next(iter(values.values()), {})
    cells = {}
    for row, by_seed in values.items():
        gains = [value - first[seed] for seed, value in by_seed.items() if seed in first]
        cells[row] = Cell(
            statistics.mean(by_seed.values()),
            _spread(list(by_seed.values())),
            statistics.mean(gains) if gains else None,
            _spread(gains),
        )
    return cells


def _spread(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def tests_of(results: Sequence[Result]) -> list[str]:
    """The tests that results are of, in their order."""
    return list(dict.fromkeys(one.test for one in results))


_COLUMNS = {"rank1": "R1", "rank10": "R10", "rank20": "R20", "mean_ap": "mAP", "mean_inp": "mINP"}


def markdown_table(results: Sequence[Result], test: str, mirrored: bool = False) -> str:
    """One test as a Markdown table, in percent: mean ± standard deviation over the seeds.

    The last two columns hold each row against the first: mean ± standard deviation of the
    differences seed by seed.
    """
    cells = {metric: summarise(results, test, mirrored, metric) for metric in _COLUMNS}
    titles = ["row", "seeds", *_COLUMNS.values(), "R1 gain", "mAP gain"]
    lines = [titles, ["---"] * len(titles)]
    for position, row in enumerate(cells["rank1"]):
        seeds = len({one.seed for one in results if one.variant == row})
        shown = [f"{column[row].mean:.1f} ± {column[row].spread:.1f}" for column in cells.values()]
        gains = [_gain(cells[metric][row]) if position else "" for metric in ("rank1", "mean_ap")]
        lines.append([row, str(seeds), *shown, *gains])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _gain(cell: Cell) -> str:
    return "" if cell.gain is None else f"{cell.gain:+.1f} ± {cell.gain_spread:.1f}"


def write_tables(results: Sequence[Result], out: Path, name: str) -> tuple[Path, Path]:
    """Write ``<name>.md``, every test with and without mirror images, and ``<name>.csv``, every run.

    Returns:
        The two paths.
    """
    markdown, table = out / f"{name}.md", out / f"{name}.csv"
    views = {False: "one view of each image", True: "averaged with the mirror image"}
    markdown.write_text(
        "\n".join(
            f"{test}, {view}:\n\n{markdown_table(results, test, mirrored)}"
            for test in tests_of(results)
            for mirrored, view in views.items()
        ),
        encoding="utf-8",
    )
    with table.open("w", encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = [asdict(one) for one in results]
        writer = csv.DictWriter(file, [field.name for field in fields(Result)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return markdown, table
