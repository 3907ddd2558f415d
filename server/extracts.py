"""Extracts of an audit log for people: the lines as they stand, or a table."""

import csv
import json
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TextIO

from index.errors import InvalidInput
from server.audit import FILE_NAME
from server.chain import Record
from server.trail import AuditFilter, LogLine, ended, log_lines

COLUMNS = (
    "sequence",
    "action",
    "began_at",
    "ended_at",
    "key",
    "key_id",
    "role",
    "case",
    "reason",
    "search_id",
    "image_id",
    "verdict",
    "note",
    "query_sha256",
    "query_modality",
    "filters",
    "limit",
    "score_threshold",
    "gallery",
    "gallery_name",
    "encoder",
    "results",
)
_CHAIN = ("previous_sha256", "sha256")
# A spreadsheet would run a cell that begins so as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class ExtractFormat(StrEnum):
    """How an extract is written."""

    JSONL = "jsonl"
    CSV = "csv"


def write_extract(folder: Path, wanted: AuditFilter, form: ExtractFormat, out: TextIO) -> tuple[int, int]:
    """Write the records of a data folder that fit, oldest first.

    Of a record that was changed after it was written only that is told, and the text of its line.

    Args:
        folder: The data folder.
        wanted: Which records.
        form: ``jsonl`` gives each line as it stands, of a broken one ``broken`` and ``line``; ``csv`` a
            table, with what has no column of its own as JSON in ``other``, and an apostrophe before text
            that a spreadsheet would run.
        out: Where; a CSV file must be opened with ``newline=""``.

    Returns:
        How many records were written, and how many of them are broken.

    Raises:
        InvalidInput: The folder holds no audit log.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise InvalidInput(f"there is no audit log {path}; name the server's data folder")
    fitting = (line for line in log_lines(path) if wanted.matches(line.claims))
    written = _write_lines(fitting, out) if form is ExtractFormat.JSONL else _write_table(fitting, out)
    broken = [line.broken is not None for line in written]
    return len(broken), sum(broken)


def _write_lines(lines: Iterator[LogLine], out: TextIO) -> Iterator[LogLine]:
    for line in lines:
        told = line.line.decode(errors="backslashreplace") if line.broken is None else _nested(line.told)
        out.write(told + "\n")
        yield line


def _write_table(lines: Iterator[LogLine], out: TextIO) -> Iterator[LogLine]:
    table = csv.writer(out)
    table.writerow([*COLUMNS, "other", *_CHAIN])
    for line in lines:
        table.writerow(map(_cell, _cells(line.told)))
        yield line


def _cells(record: Record) -> list[object]:
    named = {*COLUMNS, *_CHAIN, "at"}
    other = {name: value for name, value in record.items() if name not in named}
    told = {**record, "ended_at": ended(record)}
    return [told.get(name) for name in COLUMNS] + [other or None] + [record.get(name) for name in _CHAIN]


def _cell(value: object) -> object:
    if isinstance(value, dict | list):
        return _nested(value)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _nested(value: object) -> str:
    """A nested value in one cell."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
