"""Who did what, and what was shown: a chain of records, one a line, on disk before the answer leaves."""

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import Any

from index.files import PRIVATE, make_folder, sync_folder
from server.access import Caller
from server.chain import Link, Record, RecordBroken, read_record, sealed
from server.errors import StorageUnavailable
from server.metrics import Stage, timed

FILE_NAME = "audit.jsonl"
HEAD_NAME = "audit.head"
_BLOCK = 64 * 1024
_LOGGER = logging.getLogger(__name__)


class Action(StrEnum):
    """What a record tells of."""

    START = "start"
    SEARCH = "search"
    VERDICT = "verdict"
    INGEST = "ingest"
    DELETE = "delete"
    RELOAD = "reload"
    READ = "read"
    KEYS = "keys"
    SESSION = "session"
    WATCHLIST = "watchlist"
    HIT = "hit"
    RECOVERY = "recovery"


class AuditLog:
    """The append-only log of a data folder; safe to call from several threads and processes.

    Records of several threads are written one after another and forced to the disk together: who comes
    while the disk works waits for its next turn, which takes all that was written by then.

    ``audit.head`` holds the link of the last record, so that a log that lost its end is noticed. It is
    written once the record is on the disk and not flushed by itself: after a power cut it may name an
    earlier record, never one that the log has not.

    Raises:
        StorageUnavailable: The files cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._lock = Lock()
        self._disk = Lock()
        self._end = self._durable = -1
        self._turn = _Turn()
        self._link = Link(0, "")
        self._refused: OSError | None = None
        try:
            make_folder(folder)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, PRIVATE)
            self._head = os.open(folder / HEAD_NAME, os.O_RDWR | os.O_CREAT, PRIVATE)
            sync_folder(folder)
        except OSError as error:
            raise StorageUnavailable(f"the audit log {self.path} cannot be opened: {error}") from error

    def append(self, action: Action, caller: Caller | None = None, **facts: Any) -> Link:
        """Write what was done; on disk when this returns.

        Args:
            action: What.
            caller: Who asked, and when that began; ``None`` for what the engine does of itself or by its
                command line.
            **facts: What else the record holds; JSON values.

        Returns:
            Where the chain stands now.

        Raises:
            StorageUnavailable: It could not be written, so what it tells of must not be shown.
        """
        ended_at = datetime.now(UTC)
        told = {"action": action, "ended_at": ended_at.isoformat(), **_who(caller, ended_at), **facts}
        try:
            with timed(Stage.AUDIT):
                with self._alone():
                    self._resume()
                    self._write(told)
                    link, turn = self._link, self._turn
                self._force(turn)
        except OSError as error:
            self._refused = error
            raise StorageUnavailable(f"the audit log {self.path} cannot be written: {error}") from error
        self._refused = None
        return link

    def check(self) -> None:
        """Pass where the last record was written; where it was not, try again with one that says so.

        Raises:
            StorageUnavailable: The log cannot be written, or its file is not the one that was opened.
        """
        if (refused := self._refused) is not None:
            self.append(Action.RECOVERY, refused=str(refused))
        try:
            if os.path.samestat(self.path.stat(), os.fstat(self._file)):
                return
            reason = "another file took its place; start the server again"
        except OSError as error:
            reason = str(error)
        raise StorageUnavailable(f"the audit log {self.path} cannot be written: {reason}")

    def head(self) -> Link:
        """Where the chain stands.

        Raises:
            StorageUnavailable: The files cannot be read.
        """
        try:
            with self._alone():
                self._resume()
                link, turn = self._link, self._turn
            self._force(turn)
            return link
        except OSError as error:
            raise StorageUnavailable(f"the audit log {self.path} cannot be read: {error}") from error

    def durable_end(self) -> int:
        """How many bytes of the file are on the disk; what stands behind them may yet be taken off.

        Raises:
            OSError: The files cannot be read.
        """
        with self._alone():
            self._resume()
            return self._durable

    def close(self) -> None:
        """Release the files."""
        os.fsync(self._head)
        os.close(self._head)
        os.close(self._file)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep out other threads, and other processes that append, such as the command line's."""
        with self._lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _resume(self) -> None:
        """Find where the chain stands, where the file is not as this log left it."""
        if os.fstat(self._file).st_size == self._end:
            return
        torn = self._cut_torn_line()
        self._link = self._standing()
        self._end = self._durable = os.fstat(self._file).st_size
        if torn:
            now = datetime.now(UTC).isoformat()
            self._write({"action": Action.RECOVERY, "began_at": now, "ended_at": now, "torn": torn})

    def _standing(self) -> Link:
        """The link to follow: of the last line, or of the head where that is further on.

        A chain that goes on from the head, past records that are gone or changed, shows the gap for good.
        """
        head = read_head(self.path.parent / HEAD_NAME)
        last = self._last_link()
        if last is not None and (head is None or last.sequence > head.sequence or last == head):
            return last
        if head is None:
            return Link(0, self._digest())
        _LOGGER.warning("the audit log %s does not end where it should; run: peca audit verify", self.path)
        return head

    def _write(self, facts: Record) -> None:
        """Put a record at the end; it is in the file, and not yet on the disk."""
        line, link = sealed(facts, self._link)
        start, self._end = os.fstat(self._file).st_size, -1
        try:
            if os.write(self._file, line + b"\n") != len(line) + 1:
                raise OSError("the disk took only a part of the line")
        except OSError:
            os.ftruncate(self._file, start)
            raise
        self._end, self._link = start + len(line) + 1, link

    def _force(self, turn: "_Turn") -> None:
        """Wait until the records of ``turn`` are on the disk; the first who comes takes all of them there."""
        with self._disk:
            if not turn.over:
                with self._lock:
                    self._turn, end, link = _Turn(), self._end, self._link
                try:
                    os.fdatasync(self._file)  # with the file's new size, without its time
                except OSError as error:
                    turn.failure = error
                turn.over = True
                with self._alone():
                    self._give_up(turn.failure) if turn.failure else self._confirm(end, link)
        if turn.failure is not None:
            raise turn.failure

    def _confirm(self, end: int, link: Link) -> None:
        """Note that the file up to ``end`` is on the disk; another process that wrote since did so too."""
        self._durable = max(self._durable, end)
        if os.fstat(self._file).st_size == self._end:
            os.pwrite(self._head, head_bytes(link), 0)

    def _give_up(self, failure: OSError) -> None:
        """Take off what the disk refused, with what was written since: a later try may not bring it there."""
        if os.fstat(self._file).st_size == self._end:
            os.ftruncate(self._file, self._durable)
        self._turn.failure, self._turn.over = failure, True
        self._turn, self._end = _Turn(), -1

    def _cut_torn_line(self) -> str:
        """Take off what a power cut left of a line: it was never acknowledged, and is kept in a record."""
        size = os.fstat(self._file).st_size
        start = self._line_start(size)
        if start == size:
            return ""
        torn = os.pread(self._file, size - start, start)
        os.ftruncate(self._file, start)
        return torn.decode(errors="backslashreplace")

    def _last_link(self) -> Link | None:
        """The link of the last line; ``None`` where it is not a sound record, or there is none."""
        end = os.fstat(self._file).st_size
        if not end:
            return None
        start = self._line_start(end - 1)
        try:
            return read_record(os.pread(self._file, end - 1 - start, start))[1]
        except RecordBroken:
            return None

    def _line_start(self, end: int) -> int:
        """Where the line begins that holds the byte before ``end``, or ``end`` after a line feed."""
        while end > 0:
            start = max(0, end - _BLOCK)
            at = os.pread(self._file, end - start, start).rfind(b"\n")
            if at >= 0:
                return start + at + 1
            end = start
        return 0

    def _digest(self) -> str:
        """The SHA-256 of the whole file: it seals what was written before there was a chain."""
        digest, size = hashlib.sha256(), os.fstat(self._file).st_size
        for start in range(0, size, _BLOCK):
            digest.update(os.pread(self._file, min(_BLOCK, size - start), start))
        return digest.hexdigest()


class _Turn:
    """Records that go to the disk together."""

    over = False
    failure: OSError | None = None


def read_head(path: Path) -> Link | None:
    """The link that a head file names; ``None`` where it is missing, empty or damaged."""
    try:
        stored = path.read_bytes()
        sequence, _, digest = stored.decode("ascii").strip().partition(":")
        link = Link(int(sequence), digest)
        return link if stored == head_bytes(link) else None
    except (FileNotFoundError, ValueError):
        return None


def head_bytes(link: Link) -> bytes:
    """A head file; of one length, so that it can be written in place.

    Raises:
        ValueError: The digest is not one.
    """
    if len(bytes.fromhex(link.sha256)) != hashlib.sha256().digest_size:
        raise ValueError(f"expected a SHA-256, got {link.sha256!r}")
    return f"{link.sequence:020d}:{link.sha256}\n".encode()


def _who(caller: Caller | None, now: datetime) -> Record:
    if caller is None:
        return {"began_at": now.isoformat(), "key": None, "key_id": None, "role": None}
    holder = caller.holder
    began_at = caller.began_at.isoformat()
    return {"began_at": began_at, "key": holder.name, "key_id": holder.key_id, "role": holder.role}
