"""Reading the audit log: searches by id, pages by time, key, case and action.

The log is the truth. An SQLite file beside it says where each record begins; it is caught up when
something is read, up to what is on the disk, and forgets what no longer stands in the log. Each record
is held against its own SHA-256 when it is read; ``server.verification`` looks at the chain as a whole.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from index.files import PRIVATE
from index.records import as_utc
from server.audit import FILE_NAME, Action
from server.chain import Record, RecordBroken, is_chained, parsed, read_record
from server.errors import SearchUnknown, StorageUnavailable

INDEX_NAME = "audit.index.sqlite3"
_FORM = 3
"""Of the index: one of another form, which an earlier version may have made wrongly, is made anew."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    start INTEGER PRIMARY KEY, size INTEGER NOT NULL, sha256 TEXT NOT NULL,
    action TEXT, key TEXT, case_name TEXT, search_id TEXT, ended_at TEXT
);
CREATE INDEX IF NOT EXISTS by_search ON records (search_id, action);
CREATE INDEX IF NOT EXISTS by_time ON records (ended_at);
"""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which records are read; every condition given must hold.

    Attributes:
        after: Ended at this instant or later.
        before: Ended before this instant.
        key: Of the holder of this name.
        case: Of this case.
        action: Of this action.

    Raises:
        InvalidInput: An instant without a time zone.
    """

    after: datetime | None = None
    before: datetime | None = None
    key: str | None = None
    case: str | None = None
    action: Action | None = None

    def __post_init__(self) -> None:
        for name in ("after", "before"):
            if (moment := getattr(self, name)) is not None:
                object.__setattr__(self, name, as_utc(moment, name))

    def matches(self, record: Record) -> bool:
        """Whether a record passes every condition."""
        ended_at = ended(record)
        return (
            (self.after is None or (ended_at is not None and ended_at >= _text(self.after)))
            and (self.before is None or (ended_at is not None and ended_at < _text(self.before)))
            and (self.key is None or record.get("key") == self.key)
            and (self.case is None or record.get("case") == self.case)
            and (self.action is None or record.get("action") == self.action)
        )

    def as_json(self) -> Record:
        """The conditions given, as JSON values."""
        told = {
            "after": self.after and self.after.isoformat(),
            "before": self.before and self.before.isoformat(),
            "key": self.key,
            "case": self.case,
            "action": self.action,
        }
        return {name: value for name, value in told.items() if value is not None}

    def sql(self) -> tuple[str, list[str]]:
        """The conditions for the index, and their values."""
        told = {
            "ended_at >= ?": self.after and _text(self.after),
            "ended_at < ?": self.before and _text(self.before),
            "key = ?": self.key,
            "case_name = ?": self.case,
            "action = ?": self.action,
        }
        given = {condition: str(value) for condition, value in told.items() if value is not None}
        return " AND ".join(["1", *given]), list(given.values())


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log, and whether it can be believed.

    Attributes:
        start: The byte of the log where it begins.
        line: As it stands, without its line feed.
        claims: The record that it claims to be; empty where it claims none.
        broken: Why it is not a record as it was written; ``None`` where it is.
    """

    start: int
    line: bytes
    claims: Record
    broken: str | None

    @property
    def told(self) -> Record:
        """The record; of a broken one why it is (``broken``) and the text of its line (``line``), no more."""
        if self.broken is None:
            return self.claims
        return {"broken": self.broken, "line": self.line.decode(errors="backslashreplace")}

    def record(self) -> Record:
        """The record as it was written.

        Raises:
            RecordBroken: It is not that.
        """
        if self.broken is not None:
            raise RecordBroken(f"{self.where()}; run: peca audit verify")
        return self.claims

    def where(self) -> str:
        """Where a broken line stands, and why it is broken."""
        return f"the record at byte {self.start} of {FILE_NAME}: {self.broken}"


class AuditTrail:
    """The records of a data folder's audit log; safe to call from several threads.

    Args:
        folder: The data folder.
        durable_end: Where the part of the log ends that is on the disk, of whoever writes it; the end of
            the file where not given.

    Raises:
        StorageUnavailable: The index cannot be made.
    """

    def __init__(self, folder: Path, durable_end: Callable[[], int] | None = None) -> None:
        self._log = folder / FILE_NAME
        self._index = folder / INDEX_NAME
        self._durable_end = durable_end or self._file_end
        self._lock = Lock()
        try:
            self._database = self._opened()
        except (OSError, sqlite3.Error) as error:
            raise StorageUnavailable(f"the index of the audit log cannot be made: {error}") from error

    def search(self, search_id: str) -> Record:
        """The record of a search.

        Raises:
            SearchUnknown: There is none.
            RecordBroken: It was changed after it was written.
            StorageUnavailable: The log cannot be read.
        """
        found = self._select("search_id = ? AND action = ?", [search_id, Action.SEARCH], "start", 1)
        if not found:
            raise SearchUnknown(f"the audit log holds no search {search_id!r}")
        return found[0].record()

    def verdicts(self, search_id: str) -> list[Record]:
        """The verdicts on the results of a search, oldest first.

        Raises:
            RecordBroken: One of them was changed after it was written.
            StorageUnavailable: The log cannot be read.
        """
        found = self._select("search_id = ? AND action = ?", [search_id, Action.VERDICT], "start", -1)
        return [line.record() for line in found]

    def page(self, wanted: AuditFilter, cursor: int | None, limit: int) -> tuple[list[LogLine], int | None]:
        """The newest records that fit, newest first, and the cursor of the next page; broken ones among them.

        Args:
            wanted: Which.
            cursor: As the page before gave it; ``None`` for the newest.
            limit: Most records, at least 1.
        """
        conditions, values = wanted.sql()
        below = [] if cursor is None else [f"start < {cursor:d}"]
        found = self._select(" AND ".join([conditions, *below]), values, "start DESC", limit + 1)
        page = found[:limit]
        return page, page[-1].start if len(found) > limit else None

    def close(self) -> None:
        """Release the index."""
        self._database.close()

    def _select(self, where: str, values: list[str], order: str, limit: int) -> list[LogLine]:
        try:
            with self._lock:
                self._catch_up()
                rows = self._database.execute(
                    f"SELECT start, size FROM records WHERE {where} ORDER BY {order} LIMIT ?",  # noqa: S608
                    [*values, limit],
                ).fetchall()
            earlier_end = _earlier_end(self._log)
            with self._log.open("rb") as log:
                return [
                    _judged(start, os.pread(log.fileno(), size, start), earlier_end) for start, size in rows
                ]
        except (OSError, sqlite3.Error) as error:
            raise StorageUnavailable(f"the audit log {self._log} cannot be read: {error}") from error

    def _opened(self) -> sqlite3.Connection:
        """The index as it stands, or an empty one where it is damaged or not of this log."""
        try:
            database = self._connected()
            if database.execute("PRAGMA user_version").fetchone() == (_FORM,):
                return database
            database.close()
        except sqlite3.DatabaseError:
            pass  # what a crash left of an index is worth nothing; the log has it all
        self._index.unlink(missing_ok=True)
        database = self._connected()
        database.execute(f"PRAGMA user_version = {_FORM}")
        return database

    def _connected(self) -> sqlite3.Connection:
        os.close(os.open(self._index, os.O_RDWR | os.O_CREAT, PRIVATE))
        database = sqlite3.connect(self._index, check_same_thread=False, isolation_level=None)
        # Durability is the log's; an index that a power cut damaged is made anew.
        database.execute("PRAGMA synchronous = OFF")
        database.executescript(_SCHEMA)
        return database

    def _catch_up(self) -> None:
        end = self._durable_end()
        with self._log.open("rb") as log, self._database:
            self._database.execute("BEGIN")
            begin = self._standing(log.fileno())
            self._database.executemany(
                "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._rows(begin, end)
            )

    def _standing(self, log: int) -> int:
        """Forget the last rows whose lines no longer stand where they were; where those that do end.

        Each line seals those before it, so all before a line that stands do so too.
        """
        while (
            last := self._database.execute(
                "SELECT start, size, sha256 FROM records ORDER BY start DESC LIMIT 1"
            ).fetchone()
        ) is not None:
            start, size, digest = last
            if hashlib.sha256(os.pread(log, size, start)).hexdigest() == digest:
                return int(start + size + 1)
            self._database.execute("DELETE FROM records WHERE start = ?", [start])
        return 0

    def _file_end(self) -> int:
        return self._log.stat().st_size

    def _rows(self, begin: int, end: int) -> Iterator[tuple[object, ...]]:
        for start, line in _lines(self._log, begin):
            if start >= end:
                return
            claims = _claims(line)
            if claims is None and start < _earlier_end(self._log):
                continue
            record = claims or {}
            told = (record.get(name) for name in ("action", "key", "case", "search_id"))
            texts = [value if isinstance(value, str) else None for value in told]
            yield (start, len(line), hashlib.sha256(line).hexdigest(), *texts, ended(record))


def log_lines(path: Path) -> Iterator[LogLine]:
    """The records of a log, oldest first, broken ones among them. A line without its end is left."""
    earlier_end = _earlier_end(path)
    for start, line in _lines(path):
        if start >= earlier_end or _claims(line) is not None:
            yield _judged(start, line, earlier_end)


def _lines(path: Path, begin: int = 0) -> Iterator[tuple[int, bytes]]:
    """The lines from the byte ``begin`` on, without their line feeds, each with where it begins."""
    with path.open("rb") as file:
        file.seek(begin)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield begin, line[:-1]
            begin += len(line)


def _earlier_end(path: Path) -> int:
    """Where the lines of versions without a chain end; 0 where the first record does not seal them."""
    before = hashlib.sha256()
    for start, line in _lines(path):
        claims = _claims(line)
        if claims is not None and is_chained(claims):
            return start if claims.get("previous_sha256") == before.hexdigest() else 0
        before.update(line + b"\n")
    return path.stat().st_size


def _judged(start: int, line: bytes, earlier_end: int) -> LogLine:
    try:
        record = parsed(line) if start < earlier_end else read_record(line)[0]
    except RecordBroken as error:
        return LogLine(start, line, _claims(line) or {}, str(error))
    return LogLine(start, line, record, None)


def _claims(line: bytes) -> Record | None:
    try:
        return parsed(line)
    except RecordBroken:
        return None


def ended(record: Record) -> str | None:
    """When a record was written, as text that sorts by time; earlier versions called it ``at``."""
    try:
        return _text(datetime.fromisoformat(record.get("ended_at") or record["at"]))
    except (KeyError, TypeError, ValueError):
        return None


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
