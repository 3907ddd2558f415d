"""Crops that wait for the server, on the disk: they outlast outages, restarts and SIGKILL."""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from peca_client.models import ImageUpload
from peca_client.watch.crops import Crop
from peca_client.watch.errors import WatchError
from peca_client.watch.notes import FileNote

FILE = "spool.sqlite3"
_TABLES = """
CREATE TABLE IF NOT EXISTS crops (
    seq INTEGER PRIMARY KEY, image_id TEXT NOT NULL UNIQUE, camera_id TEXT NOT NULL, track_id TEXT NOT NULL,
    captured_at TEXT NOT NULL, modality TEXT NOT NULL, refused TEXT, data BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, changed_ns INTEGER NOT NULL, sample TEXT NOT NULL,
    start TEXT, frame INTEGER NOT NULL, whole INTEGER NOT NULL
) WITHOUT ROWID;
DROP TABLE IF EXISTS done;
"""


class Spool:
    """A folder with one SQLite file; safe from several threads, refused to a second process.

    Args:
        folder: Made where it is missing.
        most_bytes: Crops are taken until they hold so much.

    Raises:
        WatchError: The folder cannot be written, or another agent uses it.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder = folder
        self._most_bytes = most_bytes
        self._lock = threading.RLock()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._base = sqlite3.connect(folder / FILE, timeout=0.5, check_same_thread=False)
            # Exclusive: a second agent would send the same crops, and mix two cameras' marks.
            self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.executescript("BEGIN IMMEDIATE;" + _TABLES + "COMMIT;")
        except (OSError, sqlite3.Error) as error:
            raise WatchError(f"the spool {folder} cannot be used: {_why(error)}") from error
        self._bytes = int(
            self._base.execute("SELECT coalesce(sum(length(data)), 0) FROM crops").fetchone()[0]
        )

    @property
    def full(self) -> bool:
        """The bound is reached: nothing is taken until something was sent."""
        with self._lock:
            return self._bytes >= self._most_bytes

    def add(self, crops: Sequence[Crop], notes: Iterable[FileNote] = ()) -> int:
        """Keep crops, and note files as done so far, in one step that survives a power cut.

        Returns:
            How many crops were new here.
        """
        with self._step():
            added = 0
            for crop in crops:
                cursor = self._base.execute(
                    "INSERT OR IGNORE INTO crops "
                    "(image_id, camera_id, track_id, captured_at, modality, data) VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        crop.image_id,
                        crop.camera_id,
                        crop.track_id,
                        crop.captured_at.isoformat(),
                        crop.modality.value,
                        crop.data,
                    ),
                )
                added += cursor.rowcount
                self._bytes += cursor.rowcount * len(crop.data)
            self._base.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", map(_row, notes)
            )
        return added

    def keep(self, note: FileNote) -> None:
        """See ``Notes``."""
        self.add((), [note])

    def note(self, path: Path) -> FileNote | None:
        """See ``Notes``."""
        with self._step():
            row = self._base.execute("SELECT * FROM files WHERE path = ?", (os.fsencode(path),)).fetchone()
        if row is None:
            return None
        _, size, changed_ns, sample, start, frame, whole = row
        began = datetime.fromisoformat(start) if start else None
        return FileNote(path, size, changed_ns, sample, began, frame, bool(whole))

    def noted(self, folder: Path) -> list[Path]:
        """See ``Notes``."""
        begin = os.fsencode(folder) + os.fsencode(os.sep)
        with self._step():
            rows = self._base.execute(
                "SELECT path FROM files WHERE substr(path, 1, ?) = ?", (len(begin), begin)
            ).fetchall()
        return [Path(os.fsdecode(path)) for (path,) in rows]

    def forget(self, paths: Iterable[Path]) -> None:
        """See ``Notes``."""
        with self._step():
            self._base.executemany(
                "DELETE FROM files WHERE path = ?", ((os.fsencode(path),) for path in paths)
            )

    def oldest(self, limit: int) -> list[ImageUpload]:
        """The crops that wait longest, as they are sent."""
        with self._step():
            rows = self._base.execute(
                "SELECT image_id, camera_id, track_id, captured_at, modality, data FROM crops "
                "WHERE refused IS NULL ORDER BY seq LIMIT ?",
                (limit,),
            ).fetchall()
        return [
            ImageUpload(
                data,
                camera_id,
                modality,
                datetime.fromisoformat(captured_at),
                image_id=image_id,
                track_id=track_id,
                source="peca-client watch",
                filename=f"{image_id}.jpg",
            )
            for image_id, camera_id, track_id, captured_at, modality, data in rows
        ]

    def remove(self, image_ids: Iterable[str]) -> None:
        """Let go of crops that the server holds."""
        with self._step():
            for image_id in image_ids:
                row = self._base.execute(
                    "DELETE FROM crops WHERE image_id = ? RETURNING length(data)", (image_id,)
                ).fetchone()
                self._bytes -= row[0] if row else 0

    def refuse(self, image_id: str, reason: str) -> None:
        """Keep a crop that the server does not take, with the reason; it is not sent again by itself."""
        with self._step():
            self._base.execute("UPDATE crops SET refused = ? WHERE image_id = ?", (reason, image_id))

    def retry_refused(self) -> int:
        """Send refused crops again, as after a change of the key's cameras; returns how many."""
        with self._step():
            return self._base.execute("UPDATE crops SET refused = NULL WHERE refused IS NOT NULL").rowcount

    def waiting(self) -> int:
        """Crops that are still to be sent."""
        return self._count("refused IS NULL")

    def refused(self) -> int:
        """Crops that the server did not take."""
        return self._count("refused IS NOT NULL")

    def _count(self, condition: str) -> int:
        with self._step():
            # The condition is one of the two above.
            return int(self._base.execute(f"SELECT count(*) FROM crops WHERE {condition}").fetchone()[0])  # noqa: S608

    @contextmanager
    def _step(self) -> Iterator[None]:
        """One step of the file: wholly done, or not at all.

        Raises:
            WatchError: The disk is full, or fails.
        """
        try:
            with self._lock, self._base:
                yield
        except sqlite3.Error as error:
            raise WatchError(f"the spool {self.folder} cannot be used: {_why(error)}") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _row(note: FileNote) -> tuple[object, ...]:
    start = note.start.isoformat() if note.start else None
    path = os.fsencode(note.path)
    return path, note.size, note.changed_ns, note.sample, start, note.frame, note.whole


def _why(error: OSError | sqlite3.Error) -> str:
    if "locked" in str(error):
        return "another agent uses it; give each agent a --spool of its own"
    if "full" in str(error) or "I/O" in str(error):
        return f"{error}; make room on its disk, and run the same command again"
    return f"{error}; name by --spool a folder that this user may write to"
