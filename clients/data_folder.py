"""The data folder of a server, for the commands that work on it."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        file_okay=False,
        show_default="PECA_DATA_DIR, else the folder of PECA_GALLERY, else peca-data",
        help="The server's data folder.",
    ),
]


def data_folder(data_dir: Path | None) -> Path:
    """The folder that was named, else the one that a server with this environment would use."""
    from server.settings import Settings

    return Settings().data_folder if data_dir is None else data_dir
