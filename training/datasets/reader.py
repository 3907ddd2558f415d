"""Reading the published data sets' trees from disk, each check with its own message."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath

from index.errors import InvalidInput
from index.space import Modality
from training.datasets.own import Parts, Reader, own_reader
from training.datasets.tree import (
    IMAGE_SUFFIXES,
    LLCM_CAMERAS,
    SYSU_CAMERAS,
    Dataset,
    DatasetInvalid,
    Layout,
    TreeImage,
)
from training.import_path import is_import_path

_REGDB_CAMERAS = {"visible": Modality.VISIBLE, "thermal": Modality.INFRARED}
_REGDB_SPLITS = range(1, 11)
_LLCM_FOLDERS = {"vis": Modality.VISIBLE, "nir": Modality.INFRARED}
_LLCM_MAY_LACK = ("nir", 3)
_CAMERA_FOLDER = re.compile(r"cam0*(\d+)")
_CAMERA_IN_NAME = re.compile(r"(?:_c|cam)0*(\d+)")
_LEFT_BY_SYSTEMS = frozenset({"thumbs.db", "desktop.ini"})


def read_dataset(layout: str, root: Path, *, split: int = 1) -> Dataset:
    """Read which images a data set on disk has, and check that the tree is whole.

    Files are listed, not opened. Hidden files, ``Thumbs.db`` and ``desktop.ini`` are passed over;
    any other file in an identity's folder that is not an image is refused, as are folders there.
    Folders of identities that no list names are not looked at (SYSU-MM01 has such).

    Args:
        layout: The tree's layout, or the import path of a function of one's own that takes ``root`` and
            ``split`` and gives the training and the test images, two lists of ``TreeImage``.
        root: Its top folder.
        split: RegDB's split, 1 to 10, or what a function of one's own makes of it; the others have only 1.

    Raises:
        InvalidInput: There is no such layout or split, or the function cannot be imported or called so.
        DatasetInvalid: The tree is not what the layout says; the message names the path.
    """
    read = own_reader(layout) if is_import_path(layout) else _READERS[_known(layout, split)]
    if not root.is_dir():
        raise DatasetInvalid(f"expected the top folder of a {layout} tree, there is no folder {root}")
    train, test = read(root, split)
    _refuse_one_sided(layout, train)
    _refuse_shared_identities(layout, train, test)
    return Dataset(layout, root, tuple(train), tuple(test))


def _known(layout: str, split: int) -> Layout:
    if layout not in list(Layout):
        raise InvalidInput(
            f"no layout {layout!r}; there are {', '.join(Layout)}, or module:function for a reader of yours"
        )
    splits = _REGDB_SPLITS if layout == Layout.REGDB else range(1, 2)
    if split not in splits:
        raise InvalidInput(f"split of {layout} must be from {splits[0]} to {splits[-1]}, got {split}")
    return Layout(layout)


_Camera = tuple[str, str, Modality]
"""A camera's folder inside the tree, its camera_id and its modality."""


def _read_sysu(root: Path, _split: int) -> Parts:
    people = {part: _ids(root / "exp" / f"{part}_id.txt") for part in ("train", "val", "test")}
    cameras = [(f"cam{number}", f"cam{number}", modality) for number, modality in SYSU_CAMERAS.items()]
    train = _walk(root, cameras, sorted({*people["train"], *people["val"]}))
    test = _walk(root, cameras, people["test"])
    _refuse_empty_cameras(root, cameras, [*train, *test])
    return train, test


def _read_regdb(root: Path, split: int) -> Parts:
    return _regdb_part(root, "train", split), _regdb_part(root, "test", split)


def _regdb_part(root: Path, part: str, split: int) -> list[TreeImage]:
    images: list[TreeImage] = []
    for name, modality in _REGDB_CAMERAS.items():
        path = root / "idx" / f"{part}_{name}_{split}.txt"
        images += _listed(root, path, modality, partial(_regdb_camera, name))
    return images


def _regdb_camera(name: str, source: str) -> str:
    """RegDB's one camera of a modality, once ``source`` is known to lie in that modality's folder."""
    folder = name.capitalize()
    if not source.startswith(f"{folder}/"):
        raise DatasetInvalid(f"expected a list of {name} images with paths in {folder}/, got {source!r}")
    return name


def _read_llcm(root: Path, _split: int) -> Parts:
    train = [
        image
        for folder, modality in _LLCM_FOLDERS.items()
        for image in _listed(root, root / "idx" / f"train_{folder}.txt", modality, _llcm_camera)
    ]
    cameras = [
        (f"test_{folder}/cam{number}", f"cam{number}", modality)
        for folder, modality in _LLCM_FOLDERS.items()
        for number in LLCM_CAMERAS
        if (folder, number) != _LLCM_MAY_LACK or (root / f"test_{folder}/cam{number}").is_dir()
    ]
    test = _walk(root, cameras, _ids(root / "idx" / "test_id.txt"))
    _refuse_empty_cameras(root, cameras, test)
    return train, test


_READERS: dict[Layout, Reader] = {
    Layout.SYSU: _read_sysu,
    Layout.REGDB: _read_regdb,
    Layout.LLCM: _read_llcm,
}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DatasetInvalid(f"the tree needs the list {path}, which is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetInvalid(f"the list {path} cannot be read: {error}") from error


def _ids(path: Path) -> list[str]:
    """The identities of a list such as ``6,10,17``, as their folders are named, in order."""
    text = _text(path).strip()
    numbers = [part.strip() for part in text.split(",")]
    wrong = next((part for part in numbers if not (part.isascii() and part.isdecimal())), None)
    if wrong is not None:
        raise DatasetInvalid(
            f"{path} must be one line of numbers with commas between, got {wrong[:40]!r} in it"
        )
    ids = sorted(f"{int(number):04d}" for number in numbers)
    twice = next((one for one, other in pairwise(ids) if one == other), None)
    if twice is not None:
        raise DatasetInvalid(f"{path} names identity {twice} twice")
    return ids


def _walk(root: Path, cameras: Sequence[_Camera], people: Iterable[str]) -> list[TreeImage]:
    """The images of ``people`` in the cameras' folders, by identity, camera and name."""
    for folder, _, _ in cameras:
        if not (root / folder).is_dir():
            raise DatasetInvalid(f"the tree needs the camera folder {root / folder}, which is missing")
    images: list[TreeImage] = []
    for person in people:
        before = len(images)
        for folder, camera_id, modality in cameras:
            place = f"{folder}/{person}"
            images += [
                TreeImage(root / place / name, f"{place}/{name}", person, camera_id, modality)
                for name in _image_names(root / place)
            ]
        if len(images) == before:
            raise DatasetInvalid(
                f"identity {person} is listed, but no camera folder of {root} has an image of it"
            )
    return images


def _refuse_empty_cameras(root: Path, cameras: Iterable[_Camera], images: Iterable[TreeImage]) -> None:
    used = {(image.camera_id, image.modality) for image in images}
    for folder, camera_id, modality in cameras:
        if (camera_id, modality) not in used:
            raise DatasetInvalid(f"camera folder {root / folder} has no image of any listed identity")


def _image_names(folder: Path) -> list[str]:
    """The names of the images in an identity's folder, sorted; empty where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_file()) for entry in entries if not _passed_over(entry.name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DatasetInvalid(f"{folder} cannot be listed as a folder of images: {error}") from error
    for name, is_file in found:
        if not is_file or os.path.splitext(name)[1].lower() not in IMAGE_SUFFIXES:  # noqa: PTH122
            raise DatasetInvalid(f"expected only images in {folder}, found {name!r}; move it away")
    return sorted(name for name, _ in found)


def _passed_over(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LEFT_BY_SYSTEMS


def _listed(root: Path, path: Path, modality: Modality, camera_of: Callable[[str], str]) -> list[TreeImage]:
    """The images of a list of ``path label`` lines; the identity is the folder that holds the image."""
    images: dict[str, TreeImage] = {}
    label_of: dict[str, str] = {}
    person_of: dict[str, str] = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        source, label = _entry(line, where)
        person = PurePosixPath(source).parent.name
        if source in images:
            raise DatasetInvalid(f"{where} names {source} a second time")
        if person_of.setdefault(label, person) != person or label_of.setdefault(person, label) != label:
            raise DatasetInvalid(
                f"{where}: one label is one folder, but label {label} or folder {person} has two"
            )
        if not (root / source).is_file():
            raise DatasetInvalid(f"{where} names {root / source}, which is missing")
        images[source] = TreeImage(root / source, source, person, camera_of(source), modality)
    if not images:
        raise DatasetInvalid(f"{path} lists no image")
    return list(images.values())


def _entry(line: str, where: str) -> tuple[str, str]:
    """The path inside the tree and the label of one line."""
    source, _, label = line.strip().rpartition(" ")
    source = source.strip()
    path = PurePosixPath(source)
    if not source or not label.isdecimal():
        raise DatasetInvalid(f"{where} must be a path, a space and a label number, got {line[:80]!r}")
    if path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
        raise DatasetInvalid(
            f"{where} must name a file inside an identity's folder of the tree, got {source!r}"
        )
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise DatasetInvalid(
            f"{where} must name an image ({', '.join(sorted(IMAGE_SUFFIXES))}), got {source!r}"
        )
    return source, label


def _llcm_camera(source: str) -> str:
    """The camera of an LLCM image, by a folder ``cam3`` or by ``_c03_`` or ``cam3`` in its name."""
    path = PurePosixPath(source)
    folders = filter(None, map(_CAMERA_FOLDER.fullmatch, path.parts[:-1]))
    found = next(folders, None) or _CAMERA_IN_NAME.search(path.name)
    if found is None or int(found.group(1)) not in LLCM_CAMERAS:
        raise DatasetInvalid(
            f"expected a camera from 1 to 9 in {source!r}, as a folder cam3 or as _c3_ in its name"
        )
    return f"cam{int(found.group(1))}"


def _refuse_one_sided(layout: str, train: Iterable[TreeImage]) -> None:
    """Every training identity needs images of both modalities, or there is no pair to learn from."""
    people = {
        modality: {image.person_id for image in train if image.modality is modality} for modality in Modality
    }
    for modality in Modality:
        alone = sorted(people[modality] - people[modality.other])
        if alone:
            raise DatasetInvalid(
                f"training identity {alone[0]} of the {layout} tree has {modality} images "
                f"and no {modality.other} one"
            )


def _refuse_shared_identities(layout: str, train: Iterable[TreeImage], test: Iterable[TreeImage]) -> None:
    shared = sorted({image.person_id for image in train} & {image.person_id for image in test})
    if shared:
        raise DatasetInvalid(
            f"identity {shared[0]} of the {layout} tree is in both the training and the test part "
            f"({len(shared)} such); a test on it would measure memory"
        )
