"""Two locks: among the threads of one process, and among the processes of one machine."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition

from index.errors import GalleryUnavailable


class SharedLock:
    """Many threads share it or one has it alone; one that waits to be alone goes before new sharers."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._sharers = 0
        self._claimed = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock together with others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._claimed)
            self._sharers += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharers -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._claimed)
            self._claimed = True
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._sharers == 0)
            yield
        finally:
            with self._changed:
                self._claimed = False
                self._changed.notify_all()


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
