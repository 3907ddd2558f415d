"""A gallery read where nothing can be written: a disk mounted read-only, a folder of somebody else's.

Beside a file in WAL mode SQLite wants to write ``-shm``, and opens nothing where it can't. It reads such a
file as one that never changes if it is told so, which holds while no writer can begin.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

from index.embedded.locks import SharedLock
from index.errors import GalleryUnavailable
from index.files import size_of


class StillConnection(sqlite3.Connection):
    """Reads a file that cannot change: it keeps writers out until it is closed."""

    lock: SharedLock | None = None

    def close(self) -> None:
        """Close the file, and let writers in."""
        super().close()
        if self.lock is not None:
            self.lock.release()


def is_still(path: Path) -> bool:
    """Whether SQLite can't read the file at ``path`` but as one that never changes.

    Raises:
        GalleryUnavailable: Nor so: it holds changes that have yet to be put in.
    """
    folder = path.parent
    if not path.exists() or os.access(folder, os.W_OK) or path.with_name(f"{path.name}-shm").exists():
        return False
    changes = path.with_name(f"{path.name}-wal")
    if size_of(changes):
        raise GalleryUnavailable(
            f"{folder} takes no write, and {changes.name} in it holds changes that SQLite must put into "
            f"{path.name} before it is read: run peca gallery stats where the folder can be written, or on a "
            "copy of it"
        )
    return True


def connect_still(name: str, lock: Path, **options: Any) -> StillConnection:
    """Connect to a file that ``is_still``.

    Args:
        name: The file's URI, with a query.
        lock: The gallery's lock file.
        **options: Of ``sqlite3.connect``.

    Raises:
        GalleryUnavailable: A process writes the gallery.
    """
    held = SharedLock(lock)
    try:
        connection = sqlite3.connect(f"{name}&immutable=1", factory=StillConnection, **options)
    except BaseException:
        held.release()
        raise
    connection.lock = held
    return connection
