"""Whether an audit log is as it was written.

Each record is held against itself and the record before it, and the last against the head.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from index.errors import InvalidInput
from index.wording import counted
from server.audit import FILE_NAME, HEAD_NAME, read_head
from server.chain import Link, RecordBroken, is_chained, parsed, read_record


@dataclass(slots=True)
class Verification:
    """What was found in an audit log.

    Attributes:
        records: How many records of the chain are sound, from the first on.
        earlier_lines: How many lines of versions without a chain stand before the first record.
        link: Where the sound part of the chain ends.
        first_at: When the first record was written; ``None`` without records.
        last_at: When the last sound record was written.
        broken: What is wrong with the first thing that is; ``None`` where all is sound.
        notes: What is sound and yet should be known.
    """

    records: int = 0
    earlier_lines: int = 0
    link: Link | None = None
    first_at: str | None = None
    last_at: str | None = None
    broken: str | None = None
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "sound": self.broken is None,
            "broken": self.broken,
            "records": self.records,
            "earlier_lines": self.earlier_lines,
            "head": None if self.link is None else str(self.link),
            "first_at": self.first_at,
            "last_at": self.last_at,
            "notes": self.notes,
        }


def verify_log(folder: Path, expected: Link | None = None) -> Verification:
    """Read the audit log of a data folder from its first line to its last; a running server may go on.

    Args:
        folder: The data folder.
        expected: A link noted earlier, elsewhere: the log must still hold that record as it was.

    Returns:
        What was found, up to the first thing that is broken.

    Raises:
        InvalidInput: The folder holds no audit log.
    """
    path = folder / FILE_NAME
    # Read before the log, since the head of a log that goes on may only be behind.
    head_path = folder / HEAD_NAME
    head, has_head = read_head(head_path), head_path.is_file() and head_path.stat().st_size > 0
    if not path.is_file():
        if head is None:
            raise InvalidInput(f"there is no audit log {path}; name the server's data folder")
        return Verification(broken=f"the log is gone; its head names record {head.sequence}")
    walk = _Walk(head, expected)
    walk.over(path)
    found = walk.found
    if found.broken is None:
        walk.check_end()
    if found.broken is None and head is None:
        found.notes.append(
            f"the head file {HEAD_NAME} is {'damaged' if has_head else 'missing'}: records that were cut off "
            "the end cannot be noticed"
        )
    return found


class _Walk:
    """One pass over a log."""

    def __init__(self, head: Link | None, expected: Link | None) -> None:
        self.found = Verification()
        self._head = head
        self._expected = expected
        self._before = hashlib.sha256()
        self._torn = 0

    def over(self, path: Path) -> None:
        """Take the lines one by one, up to the first that is broken."""
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    self._torn = len(line)
                    return
                try:
                    self._take(line)
                except RecordBroken as error:
                    self.found.broken = (
                        f"record {self.found.records + 1} (line {number} of {FILE_NAME}): {error}"
                    )
                    return

    def check_end(self) -> None:
        """Hold the end of the chain against the head, and against what was noted elsewhere."""
        found, head = self.found, self._head
        last = found.link.sequence if found.link else 0
        if head is not None and head.sequence > last:
            found.broken = (
                f"records {last + 1} to {head.sequence} are missing at the end: the head names them"
            )
        elif self._expected is not None and self._expected.sequence > last:
            found.broken = (
                f"record {self._expected.sequence}, noted elsewhere, is missing: the log ends at {last}"
            )
        elif self._torn:
            found.notes.append(
                f"an unfinished line of {counted(self._torn, 'byte')} at the end: a power cut or a running "
                "server; it was never acknowledged, and the server's next record says what it held"
            )
        if found.broken is None and head is not None and head.sequence < last:
            found.notes.append(
                f"the head names record {head.sequence}, and the log goes on to {last}: the machine lost "
                "power, or the server wrote meanwhile"
            )

    def _take(self, line: bytes) -> None:
        found = self.found
        if found.link is None and not _claims_place(line):
            found.earlier_lines += 1
            self._before.update(line)
            return
        record, link = read_record(line[:-1])
        before = found.link or Link(0, self._before.hexdigest())
        _check_place(record["previous_sha256"], link, before, found.earlier_lines)
        self._check_noted(link)
        found.records, found.link, found.last_at = found.records + 1, link, record.get("ended_at")
        found.first_at = found.first_at or found.last_at

    def _check_noted(self, link: Link) -> None:
        for noted, where in ((self._head, f"in {HEAD_NAME}"), (self._expected, "elsewhere")):
            if noted is not None and noted.sequence == link.sequence and noted != link:
                raise RecordBroken(f"it was written anew: another SHA-256 of it is noted {where}")


def _claims_place(line: bytes) -> bool:
    try:
        return is_chained(parsed(line))
    except RecordBroken:
        return False


def _check_place(previous: object, link: Link, before: Link, earlier_lines: int) -> None:
    if link.sequence != before.sequence + 1:
        raise RecordBroken(
            f"expected number {before.sequence + 1}, found {link.sequence}: records were removed, "
            "inserted or moved"
        )
    if previous != before.sha256:
        what = (
            "the record before"
            if before.sequence
            else f"what stands before the chain, {counted(earlier_lines, 'line')}"
        )
        raise RecordBroken(f"it does not follow {what}: what it followed was changed or replaced")
