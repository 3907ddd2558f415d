"""A lock among the processes of one machine: one writes a gallery, or several hold it still."""

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
            if not is_held(path):
                raise GalleryUnavailable(
                    f"the gallery {path.parent} is read by a program that sees it on a disk that takes no "
                    "write, where SQLite needs it unchanged; end that program, then try again"
                ) from None
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


class SharedLock:
    """A lock file that any number hold to read what nobody may write meanwhile; needs no right to write it.

    A gallery without a lock file was never written where it lies: it is a copy, and is read as it is.

    Raises:
        GalleryUnavailable: A process writes the gallery.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open() if path.exists() else None
        if self._file is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise GalleryUnavailable(
                f"the gallery {path.parent} is being opened for writing; try again"
            ) from None

    def release(self) -> None:
        """Let writers in."""
        if self._file is not None:
            self._file.close()


def is_held(path: Path) -> bool:
    """Whether a process writes the gallery of this lock file."""
    try:
        SharedLock(path).release()
    except GalleryUnavailable:
        return True
    return False
