"""How far the agent is in each file, so that no frame is looked at twice."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol, Self

_SAMPLE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class FileNote:
    """What is known of one file.

    Attributes:
        path: Where it is, absolute.
        size: Its bytes, when it was opened.
        changed_ns: Its time of change then.
        sample: Names the bytes in its middle then: where they are the same and there are more now, it grew.
        start: When its first frame was captured, said once: a file's time moves when it grows.
        frame: The last frame that need not be looked at again; -1 for none.
        whole: It was read to its end.
    """

    path: Path
    size: int
    changed_ns: int
    sample: str
    start: datetime | None = None
    frame: int = -1
    whole: bool = False

    @classmethod
    def of(cls, path: Path, about: os.stat_result) -> Self:
        """A note of a file that is new.

        Raises:
            OSError: It cannot be read.
        """
        return cls(path, about.st_size, about.st_mtime_ns, _sample(path, about.st_size))

    def is_of(self, about: os.stat_result) -> bool:
        """Nothing changed since."""
        return (self.size, self.changed_ns) == (about.st_size, about.st_mtime_ns)

    def now(self, about: os.stat_result) -> Self:
        """The note to go on with: that of this file where it is the same or grew, else of another one.

        Raises:
            OSError: It cannot be read.
        """
        if self.is_of(about):
            return self
        fresh = type(self).of(self.path, about)
        if about.st_size < self.size or _sample(self.path, self.size) != self.sample:
            return fresh
        only_touched = self.whole and about.st_size == self.size
        return replace(fresh, start=self.start, frame=self.frame, whole=only_touched)


class Notes(Protocol):
    """Keeps a note of each file, for longer than the process."""

    def note(self, path: Path) -> FileNote | None:
        """Of a file, where there is one."""
        ...

    def noted(self, folder: Path) -> list[Path]:
        """Paths of all files in a folder, and in the folders in it, of which there is a note."""
        ...

    def keep(self, note: FileNote) -> None:
        """In place of the file's former one."""
        ...

    def forget(self, paths: Iterable[Path]) -> None:
        """Files that are gone."""
        ...


def _sample(path: Path, size: int) -> str:
    """Of the bytes in the middle of the first ``size``: recorders mend a file's head when they close it."""
    with path.open("rb") as file:
        file.seek(size // 2)
        return hashlib.sha256(file.read(min(_SAMPLE_BYTES, size - size // 2))).hexdigest()[:32]
