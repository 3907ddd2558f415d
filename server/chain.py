"""A hash chain of records: each line carries its own SHA-256 and that of the record before.

A line is canonical JSON (members sorted, no blanks, ASCII), so that one record has one form. Its
``sha256`` is that of the line without that member.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from index.errors import PecaError

Record = dict[str, Any]


class RecordBroken(PecaError):
    """A line is not a record of a chain, or was changed after it was written."""


@dataclass(frozen=True, slots=True)
class Link:
    """Where a chain stands after a record.

    Attributes:
        sequence: The record's number, from 1; 0 before the first.
        sha256: Of the record; before the first, of the bytes that stood in the file before the chain.
    """

    sequence: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.sha256}"


def canonical(record: Mapping[str, Any]) -> bytes:
    """``record`` as canonical JSON."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def sealed(facts: Mapping[str, Any], before: Link) -> tuple[bytes, Link]:
    """The line of the record that follows ``before``, without its line feed, and its link."""
    record = {**facts, "sequence": before.sequence + 1, "previous_sha256": before.sha256}
    digest = hashlib.sha256(canonical(record)).hexdigest()
    return canonical({**record, "sha256": digest}), Link(before.sequence + 1, digest)


def read_record(line: bytes) -> tuple[Record, Link]:
    """The record of a line without its line feed, checked by itself, and its link.

    Raises:
        RecordBroken: It is not a record, or not as it was written.
    """
    record = parsed(line)
    if not is_chained(record):
        raise RecordBroken("the line is not a record of the chain")
    claimed = record.get("sha256")
    rest = {name: value for name, value in record.items() if name != "sha256"}
    if canonical(record) != line or hashlib.sha256(canonical(rest)).hexdigest() != claimed:
        raise RecordBroken("its content does not match its SHA-256: it was changed after it was written")
    return record, Link(record["sequence"], claimed)


def parsed(line: bytes) -> Record:
    """The JSON object of a line.

    Raises:
        RecordBroken: It is none.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise RecordBroken("the line is not JSON") from None
    if not isinstance(record, dict):
        raise RecordBroken("the line is not a JSON object")
    return record


def is_chained(record: Record) -> bool:
    """Whether a line's object claims a place in the chain; lines of versions without a chain do not."""
    sequence = record.get("sequence")
    return isinstance(sequence, int) and not isinstance(sequence, bool) and "sha256" in record
