"""Who searched for whom, and what was shown: one JSON object a line, on disk before the answer leaves."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from server.errors import StorageUnavailable
from server.files import PRIVATE, make_folder, sync_folder

FILE_NAME = "audit.jsonl"


class AuditLog:
    """The append-only log of a data folder; safe to call from several threads.

    Raises:
        StorageUnavailable: The file cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._lock = Lock()
        try:
            make_folder(folder)
            self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, PRIVATE)
            sync_folder(folder)
            self._end_torn_line()
        except OSError as error:
            raise StorageUnavailable(f"the audit log {self._path} cannot be opened: {error}") from error

    def append(self, action: str, key_name: str, **facts: Any) -> None:
        """Write what was done; on disk when this returns.

        Args:
            action: ``search`` or ``delete``.
            key_name: The holder of the key that asked.
            **facts: What else the line holds; JSON values.

        Raises:
            StorageUnavailable: It could not be written, so what it tells of must not be shown.
        """
        event = {"at": datetime.now(UTC).isoformat(), "action": action, "key": key_name, **facts}
        line = json.dumps(event).encode() + b"\n"
        try:
            with self._lock:
                self._write(line)
                os.fsync(self._file)
        except OSError as error:
            raise StorageUnavailable(f"the audit log {self._path} cannot be written: {error}") from error

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)

    def _write(self, line: bytes) -> None:
        start = os.fstat(self._file).st_size
        if os.write(self._file, line) != len(line):
            os.ftruncate(self._file, start)
            raise OSError("the disk took only a part of the line")

    def _end_torn_line(self) -> None:
        """A line that a power cut tore keeps its bytes and gets its end, so that the next stands alone."""
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")
