"""Connections that read one SQLite file from several threads at once."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import LifoQueue
from threading import Lock


class Readers:
    """A few connections, opened as they are needed, each lent to one thread at a time.

    Args:
        connect: Opens one, free of a thread.
        most: How many, at most.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], most: int) -> None:
        self._connect = connect
        self._closed = False
        self._most = most
        self._closing = Lock()
        self._slots: LifoQueue[sqlite3.Connection | None] = LifoQueue()
        for _ in range(most):
            self._slots.put(None)

    @contextmanager
    def lent(self) -> Iterator[sqlite3.Connection]:
        """A connection for the block, once there is one.

        Raises:
            sqlite3.Error: It cannot be opened, or all are closed.
        """
        slot = self._slots.get()
        try:
            if self._closed:
                raise sqlite3.ProgrammingError("it was closed")
            slot = slot or self._connect()
            yield slot
        finally:
            self._slots.put(slot)

    def close(self) -> None:
        """Close all, each when its thread is done; calling it again does nothing."""
        with self._closing:
            self._closed = True
            for slot in [self._slots.get() for _ in range(self._most)]:
                if slot is not None:
                    slot.close()
            for _ in range(self._most):
                self._slots.put(None)
