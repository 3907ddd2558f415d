"""What ``peca ingest`` sends: images of a folder, a CSV manifest or a data set tree, with their records."""

import csv
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from index.errors import InvalidInput
from index.space import Modality
from peca_client import ImageUpload, IngestItem, IngestStatus, captured_at
from server.schemas import ImageMetadata, validation_errors
from training.datasets.tree import IMAGE_SUFFIXES, TreeImage

MANIFEST_COLUMNS = ("camera_id", "modality", "captured_at")
OPTIONAL_COLUMNS = ("image_id", "person_id", "track_id", "source")
FILE_COLUMNS = ("filename", "path")


@dataclass(frozen=True, slots=True)
class Uploads:
    """What was found to send, and what cannot be sent, each with its reason."""

    ready: tuple[ImageUpload, ...]
    refused: tuple[IngestItem, ...]


def folder_uploads(folder: Path, camera_id: str, modality: Modality) -> Uploads:
    """Every image file under ``folder``, of one camera.

    ``captured_at`` is EXIF's DateTimeOriginal (local time of this machine where EXIF states no
    offset), else the file's modification time; ``source`` is the path inside ``folder``.

    Raises:
        InvalidInput: ``folder`` holds no file with the suffix of an image.
    """
    paths = sorted(path for path in folder.rglob("*") if _is_image_name(path) and path.is_file())
    if not paths:
        raise InvalidInput(
            f"no image under {folder}; expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return _collected(
        (
            path.relative_to(folder).as_posix(),
            path,
            {
                "camera_id": camera_id,
                "modality": modality,
                "captured_at": _captured_at(path),
                "source": path.relative_to(folder).as_posix(),
            },
        )
        for path in paths
    )


def manifest_uploads(manifest: Path) -> Uploads:
    """The images that a CSV file lists; a bad row is refused by its number, the heading being row 1.

    Columns: ``filename`` (or ``path``; relative to the manifest's folder), ``camera_id``,
    ``modality``, ``captured_at`` (ISO 8601 with a time zone), and if wanted ``image_id``,
    ``person_id``, ``track_id``, ``source`` (the file as listed where not given).

    Raises:
        InvalidInput: The file is not UTF-8 CSV, its heading lacks a column or has an unknown one,
            or there is no row below it.
    """
    try:
        # utf-8-sig, since spreadsheets put a byte order mark before the heading.
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            file_column = _checked_heading(manifest, list(rows.fieldnames or ()))
            found = _collected(_row(rows.line_num, row, file_column, manifest.parent) for row in rows)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidInput(f"{manifest} must be a CSV file in UTF-8: {error}") from error
    if not found.ready and not found.refused:
        raise InvalidInput(f"{manifest} lists no image; expected a row an image below the heading")
    return found


def tree_uploads(images: Iterable[TreeImage]) -> Uploads:
    """Images of a data set tree, labelled with their identities.

    ``image_id`` is the path inside the tree without suffix, ``/`` written ``-``; ``captured_at`` is
    the file's modification time, since the data sets carry no other.
    """
    return _collected(map(_tree_entry, images))


_Entry = tuple[str, Path, Mapping[str, object]]


def _collected(entries: Iterable[_Entry]) -> Uploads:
    """Sort entries of (name, file, what is said of it) into uploads and refusals, by the server's rules."""
    ready, refused = [], []
    for name, path, said in entries:
        try:
            ready.append(_upload(name, path, said))
        except InvalidInput as error:
            refused.append(IngestItem(name, IngestStatus.REFUSED, problem={"detail": str(error)}))
    return Uploads(tuple(ready), tuple(refused))


def _upload(name: str, path: Path, said: Mapping[str, object]) -> ImageUpload:
    try:
        metadata = ImageMetadata.model_validate({"filename": name, **said})
    except ValidationError as error:
        told = validation_errors(list(error.errors()))
        raise InvalidInput("; ".join(f"{one['at']}: {one['message']}" for one in told)) from None
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}")
    if not os.access(path, os.R_OK):
        raise InvalidInput(f"{path} may not be read")
    return ImageUpload(path, **dict(metadata))


def _checked_heading(manifest: Path, heading: list[str]) -> str:
    """The column that names the files, once the heading is known to be complete."""
    file_columns = [column for column in FILE_COLUMNS if column in heading]
    missing = [column for column in MANIFEST_COLUMNS if column not in heading]
    if len(file_columns) != 1 or missing:
        raise InvalidInput(
            f"{manifest} must begin with a heading of {' or '.join(FILE_COLUMNS)} (one of them), "
            f"{', '.join(MANIFEST_COLUMNS)}, and if wanted {', '.join(OPTIONAL_COLUMNS)}; "
            f"got {', '.join(heading)!r}"
        )
    unknown = set(heading) - {*FILE_COLUMNS, *MANIFEST_COLUMNS, *OPTIONAL_COLUMNS}
    if unknown or len(set(heading)) != len(heading):
        raise InvalidInput(
            f"{manifest} has a column that is unknown or stands twice: "
            f"{', '.join(sorted(unknown) or heading)}"
        )
    return file_columns[0]


def _row(number: int, row: Mapping[str | None, str | None], file_column: str, folder: Path) -> _Entry:
    # DictReader puts surplus cells under None, and None into cells that are missing.
    said: dict[str, object] = {
        column or "surplus cells": value for column, value in row.items() if value and column != file_column
    }
    listed = row[file_column] or ""
    return f"row {number} ({listed})", folder / listed, {"source": listed or None, **said}


def _tree_entry(image: TreeImage) -> _Entry:
    stem = PurePosixPath(image.source).with_suffix("").as_posix()
    said = {
        "image_id": stem.replace("/", "-"),
        "camera_id": image.camera_id,
        "modality": image.modality,
        "captured_at": _modified_at(image.path),
        "person_id": image.person_id,
        "source": image.source,
    }
    return image.source, image.path, said


def _is_image_name(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _captured_at(path: Path) -> datetime:
    # What may not be read is refused by itself, further on.
    return captured_at(path) if os.access(path, os.R_OK) else _modified_at(path)


def _modified_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
