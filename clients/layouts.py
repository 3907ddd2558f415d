"""The option that says how a data set tree is read: a published layout, or a reader of the user's own."""

from typing import Annotated

import typer

from training.datasets.tree import Layout
from training.import_path import is_import_path


def layout_name(name: str) -> str:
    """The name of a layout as typed.

    Raises:
        typer.BadParameter: It is neither a layout nor an import path.
    """
    if name not in list(Layout) and not is_import_path(name):
        raise typer.BadParameter(
            f"expected {', '.join(Layout)}, or module:function for a reader of your own; got {name!r}"
        )
    return name


TreeLayout = Annotated[
    str,
    typer.Option(
        parser=layout_name,
        metavar="NAME",
        help=f"How the tree is read: {', '.join(Layout)}, or module:function for a reader of your own.",
    ),
]
