"""A data set reader of one's own, named by its import path."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path

from index.errors import InvalidInput
from index.space import Modality
from training.datasets.tree import DatasetInvalid, TreeImage
from training.import_path import imported

Parts = tuple[list[TreeImage], list[TreeImage]]
"""The training and the test images of a tree."""
Reader = Callable[[Path, int], Parts]
"""Reads a tree by its top folder and the number of a split."""

_TYPES = {"path": Path, "source": str, "person_id": str, "camera_id": str, "modality": Modality}


def own_reader(path: str) -> Reader:
    """The function that an import path names, made to check what it gives.

    Raises:
        InvalidInput: ``path`` cannot be imported, or names nothing that takes a folder and a split.
    """
    read = imported(path)
    try:
        inspect.signature(read).bind(Path(), 1)
        fault = "it is a class" if isinstance(read, type) else None
    except TypeError as error:
        fault = str(error)
    if fault is not None:
        raise InvalidInput(
            f"{path!r} must name a function that takes the tree's top folder and the split: {fault}"
        )

    @wraps(read)
    def checked(root: Path, split: int) -> Parts:
        return _checked(path, read(root, split))

    return checked


def _checked(path: str, given: object) -> Parts:
    pair = given if isinstance(given, (tuple, list)) else ()
    if len(pair) != 2 or not all(isinstance(part, (tuple, list)) for part in pair):
        got = " and ".join(map(_kind, pair)) if len(pair) == 2 else _kind(given)
        raise DatasetInvalid(f"{path!r} must give two lists of TreeImage, training and test; it gave {got}")
    train, test = (list(part) for part in pair)
    sources: set[str] = set()
    for image in [*train, *test]:
        if not isinstance(image, TreeImage):
            raise DatasetInvalid(f"{path!r} must give lists of TreeImage, one holds {_kind(image)}")
        for name, type_ in _TYPES.items():
            if not isinstance(getattr(image, name), type_):
                raise DatasetInvalid(
                    f"{path!r}: {name} of {image.source!r} must be a {type_.__name__}, "
                    f"it is {getattr(image, name)!r}"
                )
        if image.source in sources:
            raise DatasetInvalid(f"{path!r} gives two images the source {image.source!r}")
        sources.add(image.source)
    return train, test


def _kind(given: object) -> str:
    length = f" of length {len(given)}" if isinstance(given, (tuple, list)) else ""
    return f"{type(given).__name__}{length}"
