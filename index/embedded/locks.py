"""A lock among the processes of one machine: one writes a gallery."""

import fcntl
import os
from pathlib import Path

from index.errors import GalleryUnavailable


class ProcessLock:
    """A lock file with its holder's process id; the kernel frees it however the process ends.

    Raises:
        GalleryUnavailable: Another holder has it, in this process or another; the message names it.
    """

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._file = path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with self._file:
                self._file.seek(0)
                holder = self._file.read() or "unknown"
            raise GalleryUnavailable(
                f"the gallery {path.parent} is open for writing by process {holder}; stop that process "
                "(a server, for example), or open the gallery read-only, as peca gallery stats, verify and "
                "snapshot do"
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Let the next holder in."""
        self._file.close()


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock file at ``path``; leaves it as it is."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
