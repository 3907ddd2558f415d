"""`peca explain`: what an encoder looks at, and how far apart it keeps people (the paper's Figs. 7 and 8)."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clients.extras import need, need_plots
from clients.layouts import TreeLayout
from clients.plots import PlotFormat
from clients.progress import progress_bar
from index.space import Modality
from index.wording import counted
from training.datasets.tree import Layout, TreeImage

if TYPE_CHECKING:
    from index.distances import Distances
    from training.explain.cam import ExplainedPerson, Explanation
    from training.explain.trained import TrainedEncoder

explain_app = typer.Typer(
    help="Show what an encoder looks at, and how far apart it keeps people.", no_args_is_help=True
)


class TreePart(StrEnum):
    """Which people of a data set tree are shown."""

    TRAIN = "train"
    TEST = "test"


Split = Annotated[int, typer.Option(min=1, max=10, help="RegDB's split, 1 to 10.")]
PartOption = Annotated[TreePart, typer.Option("--part", help="Which people of the tree.")]
Device = Annotated[str, typer.Option(help="A torch device: cpu, cuda, cuda:1.")]
PlotFormatOption = Annotated[PlotFormat, typer.Option("--plot-format", help="What the figure is saved as.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@explain_app.command()
def cam(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", exists=True, file_okay=False, help="The folder of `peca train`.")
    ],
    root: Annotated[Path, typer.Option(exists=True, file_okay=False, help="The data set tree.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of the sheet and its JSON.")],
    dataset: TreeLayout = Layout.SYSU,
    split: Split = 1,
    part: PartOption = TreePart.TEST,
    people: Annotated[int, typer.Option(min=1, max=40, help="How many people to draw.")] = 6,
    against: Annotated[
        Modality | None,
        typer.Option(show_default="the other one of each", help="The light of the images matched with."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same people.")] = 0,
    device: Device = "cpu",
    plot_format: PlotFormatOption = PlotFormat.PNG,
) -> None:
    """Draw Grad-CAM beside images of both modalities: where the best checkpoint of a run sees the match.

    What is explained is the cosine similarity of an image with the same person's images in the other
    modality. Needs the extra [train]. OUT gets cam.png and cam.json.

    Example: peca explain cam runs/m1 --dataset sysu --root SYSU-MM01 --out figures
    """
    need("torch", "train")
    need("matplotlib", "train")
    from clients.evaluation import write_json
    from clients.figures import draw_cam
    from training.explain.cam import explain_people
    from training.explain.trained import load_trained

    trained = load_trained(run, device)
    samples = _samples(dataset, root, split, part)
    explained = explain_people(trained, samples, people=people, seed=seed, against=against)
    path = out / f"cam.{plot_format}"
    draw_cam(explained, path, _caption(trained, against, part))
    write_json(_cam_json(trained, explained, seed), out / "cam.json")
    print(f"{path} shows {counted(len(explained), 'person', 'people')}; cam.json beside it names the images")


@explain_app.command()
def distances(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", exists=True, file_okay=False, help="The folder of `peca train`."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="The data set tree; with RUN.")
    ] = None,
    dataset: TreeLayout = Layout.SYSU,
    split: Split = 1,
    part: PartOption = TreePart.TEST,
    gallery: Annotated[
        str | None,
        typer.Option(help="In place of RUN: a gallery whose images have person labels, embedded:FOLDER."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for the plot and the JSON.")
    ] = None,
    device: Device = "cpu",
    plot_format: PlotFormatOption = PlotFormat.PNG,
    as_json: AsJson = False,
) -> None:
    """Measure the distances of images of one person and of two, within and across modalities.

    Takes the best checkpoint of a run and a tree (needs the extra [train]), or what a gallery holds.
    Prints means, separation and modality gap; OUT gets distances.png and distances.json.

    Example: peca explain distances runs/m1 --dataset sysu --root SYSU-MM01 --out figures
    """
    if out is not None:
        need_plots()
    from clients.tables import print_distances, print_json

    if run is not None and root is not None and gallery is None:
        measured = _run_distances(run, _samples(dataset, root, split, part), device)
    elif gallery is not None and run is None and root is None:
        measured = _gallery_distances(gallery)
    else:
        raise typer.BadParameter("give RUN and --root, or --gallery alone")
    if out is not None:
        from clients.evaluation import write_json
        from clients.figures import draw_distances

        draw_distances(measured, out / f"distances.{plot_format}")
        write_json(measured.to_dict(), out / "distances.json")
    if as_json:
        print_json(measured.to_dict())
    else:
        print_distances(measured)


def _samples(dataset: str, root: Path, split: int, part: TreePart) -> Sequence[TreeImage]:
    from training.datasets.reader import read_dataset

    tree = read_dataset(dataset, root, split=split)
    return tree.train if part is TreePart.TRAIN else tree.test


def _run_distances(run: Path, samples: Sequence[TreeImage], device: str) -> "Distances":
    need("torch", "train")
    from training.explain.distances import sample_distances
    from training.explain.trained import load_trained

    trained = load_trained(run, device)
    with progress_bar() as progress:
        task = progress.add_task("embed", total=len(samples))
        return sample_distances(trained, samples, lambda done, _: progress.update(task, completed=done))


def _gallery_distances(url: str) -> "Distances":
    from clients.evaluation import stored_gallery
    from index.distances import gallery_distances

    with stored_gallery(url) as opened:
        return gallery_distances(opened)


def _caption(trained: "TrainedEncoder", against: Modality | None, part: TreePart) -> str:
    others = "the other modality" if against is None else f"{against} light"
    return (
        f"Grad-CAM on the last feature maps (layer 4) of the cosine similarity between an image and the mean "
        f"of the same person's images in {others}; the brighter a place, the more it adds to the match. "
        f"Each map is scaled to its own highest value. "
        f"Recipe {trained.recipe}, {counted(trained.epochs, 'epoch')}; {part} identities."
    )


def _cam_json(trained: "TrainedEncoder", people: "Sequence[ExplainedPerson]", seed: int) -> dict[str, Any]:
    return {
        "recipe": trained.recipe,
        "epochs": trained.epochs,
        "seed": seed,
        "people": [
            {
                "person_id": person.person_id,
                "visible": _explanation_json(person.visible),
                "infrared": _explanation_json(person.infrared),
            }
            for person in people
        ],
    }


def _explanation_json(explanation: "Explanation") -> dict[str, Any]:
    return {
        "source": explanation.sample.source,
        "against": str(explanation.against),
        "cosine": explanation.cosine,
    }
