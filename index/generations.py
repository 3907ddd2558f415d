"""Generations of an embedded gallery: one folder an encoder, and a file that names the one in use.

A gallery that was never embedded anew lies in its own folder. ``reindex`` makes the next generation in
``generations/NAME`` beneath it; the file ``generation``, replaced by a rename, says which is in use. All
that opens the gallery by its address finds that one, and image files stay where they are.
"""

import hashlib
from pathlib import Path

from index.errors import GalleryUnavailable
from index.files import make_folder, sync_folder, write_file
from index.space import EmbeddingSpec

POINTER_NAME = "generation"
FOLDER_NAME = "generations"


def current_folder(folder: Path) -> Path:
    """The folder of the generation in use.

    Args:
        folder: That the gallery's address names.

    Raises:
        GalleryUnavailable: The file that names it cannot be read, or names none.
    """
    try:
        name = (folder / POINTER_NAME).read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return folder
    except (OSError, UnicodeDecodeError) as error:
        raise GalleryUnavailable(f"{folder / POINTER_NAME} cannot be read: {error}") from error
    chosen = folder / FOLDER_NAME / name
    if not name or chosen.parent != folder / FOLDER_NAME or not chosen.is_dir():
        raise GalleryUnavailable(
            f"{folder / POINTER_NAME} must name a folder of {folder / FOLDER_NAME}, got {name!r}; put "
            "that folder back from a copy, or, to restore a snapshot here, move the file away too"
        )
    return chosen


def generation_folder(folder: Path, spec: EmbeddingSpec) -> Path:
    """Where the generation of one encoder is made."""
    digest = hashlib.sha256(f"{spec.dim} {spec.encoder}".encode()).hexdigest()
    return folder / FOLDER_NAME / digest[:16]


def other_generations(folder: Path) -> list[Path]:
    """The folders of the generations that are not in use, the first one's own among them."""
    from index.embedded.store import FILE_NAME

    used = current_folder(folder)
    made = [other for other in sorted((folder / FOLDER_NAME).glob("*")) if other.is_dir()]
    # What a removal that was broken off left counts too: the write-ahead file holds records and vectors.
    first = [folder] if any(folder.glob(f"{FILE_NAME}*")) or any(folder.glob("index.*")) else []
    return [other for other in first + made if other != used]


def switch(folder: Path, generation: Path) -> None:
    """Let the gallery be ``generation`` from now on, at once and durably.

    Raises:
        GalleryUnavailable: The disk refuses; the generation in use stays as it was.
    """
    try:
        make_folder(folder / FOLDER_NAME)
        write_file(folder / POINTER_NAME, f"{generation.name}\n".encode(), folder / FOLDER_NAME)
        sync_folder(folder)
    except OSError as error:
        raise GalleryUnavailable(f"the generation in use cannot be changed in {folder}: {error}") from error
