"""`peca blend`: an encoder between a run and what the run started from."""

from pathlib import Path
from typing import Annotated

import typer

from clients.extras import need
from clients.layouts import TreeLayout
from clients.progress import progress_bar
from index.errors import InvalidInput
from training.datasets.tree import Layout

blend_app = typer.Typer()


@blend_app.command()
def blend(
    run: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The folder of `peca train`.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of the new run; must be empty or new.")],
    weights: Annotated[
        Path,
        typer.Option(dir_okay=False, metavar="FILE|imagenet", help="What the run started from."),
    ],
    root: Annotated[Path, typer.Option(exists=True, file_okay=False, help="The tree that it learnt from.")],
    dataset: TreeLayout = Layout.SYSU,
    split: Annotated[int, typer.Option(min=1, max=10, help="RegDB's split, 1 to 10.")] = 1,
    share: Annotated[float, typer.Option(min=0, max=1, help="Of the run in the mixture.")] = 0.5,
    image_hw: Annotated[
        str | None,
        typer.Option(metavar="HxW", show_default="the run's", help="Image size from now on, e.g. 288x144."),
    ] = None,
) -> None:
    """Mix a run's weights with those that it started from; needs the extra [train].

    What a network knew of photographs before it was trained on few or drawn people serves on cameras that
    it has not seen. The statistics of its batch norms are taken anew, which also fits it to another image
    size. The new run can be exported and scored; try several shares.

    Example: peca blend runs/peca --weights resnet50.pth --root tree --share 0.5 --out runs/blend
    """
    need("torch", "train")
    from training.blend import blend_run
    from training.datasets.reader import read_dataset

    with progress_bar() as progress:
        task = progress.add_task("decode")
        found = blend_run(
            run,
            weights,
            out,
            read_dataset(dataset, root, split=split),
            share=share,
            image_hw=_size(image_hw),
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    print(f"held-out identities: R1 {found.rank1:.1%}, mAP {found.mean_ap:.1%}; the run is {out}")


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise InvalidInput(f"--image-hw must be height x width in pixels, such as 288x144, got {text!r}")
    return int(height), int(width)
