"""`peca ablate` and `peca sweep`: the paper's Table 3 and Figs. 4 to 6 on a data set of the user's."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clients.extras import need
from clients.layouts import TreeLayout
from index.wording import counted
from training.datasets.tree import Layout

if TYPE_CHECKING:
    from training.options import TrainOptions
    from training.recipe import Recipe
    from training.studies import Cell, Result, Study

studies_app = typer.Typer()

ROWS = "M1,M2,M3,M4,M5,PECA"

Root = Annotated[Path, typer.Option(exists=True, file_okay=False, help="The data set tree.")]
Out = Annotated[Path, typer.Option(file_okay=False, help="Folder of the runs, the tables and the plot.")]
Seeds = Annotated[int, typer.Option(min=1, help="Runs of each row, with the seeds 0, 1, ...")]
Split = Annotated[int, typer.Option(min=1, max=10, help="RegDB's split, 1 to 10.")]
Form = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        show_default="the paper's",
        help="A change to any recipe: `small` for two processor cores, or a .toml file.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        dir_okay=False,
        metavar="FILE|imagenet",
        show_default="from scratch",
        help="Start from a torchvision ResNet's state, a run's checkpoint, or fetched ImageNet weights.",
    ),
]
Precision = Annotated[
    str, typer.Option(metavar="NAME", help="Number format of the network: fp32, bf16 or fp16.")
]
Device = Annotated[str, typer.Option(help="A torch device: cpu, cuda, cuda:1.")]
Jobs = Annotated[int, typer.Option(min=1, help="Runs at a time, each with its share of the cores.")]
MaxMinutes = Annotated[
    float | None,
    typer.Option(min=0, help="Stop at checkpoints after so many minutes; the same command goes on."),
]


@studies_app.command()
def ablate(
    root: Root,
    out: Out,
    rows: Annotated[str, typer.Option(metavar="LIST", help="Recipes by name, or .toml files.")] = ROWS,
    seeds: Seeds = 3,
    dataset: TreeLayout = Layout.SYSU,
    split: Split = 1,
    form: Form = None,
    weights: Weights = None,
    precision: Precision = "fp32",
    device: Device = "cpu",
    jobs: Jobs = 1,
    max_minutes: MaxMinutes = None,
) -> None:
    """Train each row over several seeds and compare them on the test identities (the paper's Table 3).

    OUT gets ablation.md, ablation.csv and ablation.png, and a folder for each run. Rows are held against
    the first. A run that is complete is not repeated: the same command goes on where the last one stopped.

    Example: peca ablate --rows M1,PECA --seeds 3 --root bench --out ablation --form small
    """
    need("torch", "train")
    need("matplotlib", "train")
    from training.recipe import load_recipe
    from training.studies import Study, Variant

    recipes = [in_form(load_recipe(row.strip()), form) for row in rows.split(",")]
    variants = tuple(Variant(recipe.name, recipe) for recipe in recipes)
    options = _options(recipes[0], dataset, root, split, out, weights, precision, device)
    results = _conduct(Study(variants, seeds, options, jobs, max_minutes), "ablation")
    if results:
        _plot_rows(results, out / "ablation.png")


@studies_app.command()
def sweep(
    parameter: Annotated[str, typer.Argument(metavar="PARAMETER", help="tau_ins, tau_mod or lambda_m.")],
    root: Root,
    out: Out,
    values: Annotated[
        str | None,
        typer.Option(metavar="LIST", show_default="the paper's range", help="Values, with commas."),
    ] = None,
    recipe: Annotated[str, typer.Option(help="The recipe that is varied.")] = "PECA",
    seeds: Seeds = 3,
    dataset: TreeLayout = Layout.SYSU,
    split: Split = 1,
    form: Form = None,
    weights: Weights = None,
    precision: Precision = "fp32",
    device: Device = "cpu",
    jobs: Jobs = 1,
    max_minutes: MaxMinutes = None,
) -> None:
    """Vary one parameter of the method and plot rank-1 and mAP against it (the paper's Figs. 4 to 6).

    OUT gets PARAMETER.md, .csv and .png, and a folder for each run; the same command goes on where the
    last one stopped.

    Example: peca sweep tau_ins --values 0.05,0.15,0.25 --root bench --out sweep --form small
    """
    need("torch", "train")
    need("matplotlib", "train")
    from training.recipe import load_recipe
    from training.studies import RANGES, Study, check_parameter, swept

    check_parameter(parameter)
    taken = RANGES[parameter] if values is None else tuple(_number(text) for text in values.split(","))
    varied = in_form(load_recipe(recipe), form)
    options = _options(varied, dataset, root, split, out, weights, precision, device)
    results = _conduct(Study(swept(varied, parameter, taken), seeds, options, jobs, max_minutes), parameter)
    if results:
        _plot_curve(results, parameter, out / f"{parameter}.png")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"--values takes numbers with commas, got {text!r}") from None


def in_form(recipe: "Recipe", form: str | None) -> "Recipe":
    """The recipe as ``--form`` wants it."""
    from training.recipe import load_form

    return recipe if form is None else recipe.amended(load_form(form))


def _options(
    recipe: "Recipe",
    dataset: str,
    root: Path,
    split: int,
    out: Path,
    weights: Path | None,
    precision: str,
    device: str,
) -> "TrainOptions":
    from training.datasets.reader import read_dataset
    from training.options import ArithmeticForm, TrainOptions

    if precision not in set(ArithmeticForm):
        raise typer.BadParameter(f"--precision is one of {', '.join(ArithmeticForm)}, got {precision!r}")
    return TrainOptions(
        recipe,
        read_dataset(dataset, root, split=split),
        out,
        weights=weights,
        arithmetic=ArithmeticForm(precision),
        device=device,
    )


def _tell(line: str) -> None:
    """Progress, a line at a time, from whichever process."""
    print(line, file=sys.stderr, flush=True)


def _conduct(study: "Study", name: str) -> "list[Result]":
    """Run a study, and print and write its tables."""
    from training.studies import markdown_table, run_study, write_tables

    results = run_study(study, _tell)
    complete = len({(one.variant, one.seed) for one in results})
    asked = len(study.variants) * study.seeds
    if results:
        write_tables(results, study.options.out, name)
        print(f"{results[0].test}\n\n{markdown_table(results, results[0].test)}")
        print(f"{study.options.out / name}.md, .csv and .png hold every test, and each run")
    if complete < asked:
        print(f"{complete} of {counted(asked, 'run')} complete; the same command goes on")
    return results


def _plot_rows(results: "Sequence[Result]", path: Path) -> None:
    """Rank-1 and mAP of each row on the first test, a point with its spread over the seeds."""
    from clients.plots import COLOURS, MARKERS, figure

    with figure(path) as (panel,):
        for series, (label, cells) in enumerate(_both_metrics(results)):
            panel.errorbar(
                [position + 0.12 * (series - 0.5) for position in range(len(cells))],
                [cell.mean for cell in cells.values()],
                [cell.spread for cell in cells.values()],
                fmt=MARKERS[series],
                color=COLOURS[series],
                label=label,
            )
            panel.set_xticks(range(len(cells)), list(cells))
            panel.set_xlim(-0.6, len(cells) - 0.4)
        panel.set_ylabel("%")
        panel.set_title(_titled(results))
        panel.legend()


def _plot_curve(results: "Sequence[Result]", parameter: str, path: Path) -> None:
    """Rank-1 and mAP on the first test against the parameter, with their spread over the seeds."""
    from clients.plots import figure, line_with_spread

    with figure(path) as (panel,):
        for series, (label, cells) in enumerate(_both_metrics(results)):
            x = [float(row.rsplit(" ", 1)[1]) for row in cells]
            mean, spread = ([getattr(cell, name) for cell in cells.values()] for name in ("mean", "spread"))
            line_with_spread(panel, x, mean, spread, label, series=series)
        panel.set_xlabel(parameter)
        panel.set_ylabel("%")
        panel.set_title(_titled(results))
        panel.legend()


def _both_metrics(results: "Sequence[Result]") -> "Iterator[tuple[str, dict[str, Cell]]]":
    from training.studies import summarise

    for metric, label in (("rank1", "rank-1"), ("mean_ap", "mAP")):
        yield label, summarise(results, results[0].test, False, metric)


def _titled(results: "Sequence[Result]") -> str:
    seeds = len({one.seed for one in results})
    return f"{results[0].test}, {seeds} seed{'s' if seeds > 1 else ''}"
