"""Files that survive a power cut, readable by their owner only."""

import ctypes
import hashlib
import os
import platform
import re
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import BinaryIO

PRIVATE = 0o600
_CHUNK_BYTES = 1 << 20
_AHEAD_BYTES = 1 << 17
_MANY = 8
_LIBC = ctypes.CDLL(None, use_errno=True)


def _syncs_all() -> bool:
    """Whether this system can force a whole file system to the disk, and tells where that failed."""
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    since = release and (int(release[1]), int(release[2])) >= (5, 8)
    return platform.system() == "Linux" and bool(since) and hasattr(_LIBC, "syncfs")


_SYNCS_ALL = _syncs_all()


def make_folder(folder: Path) -> None:
    """Create ``folder`` and its parents, durably; does nothing where it is."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def write_file(path: Path, data: bytes, drafts: Path) -> None:
    """Put ``data`` at ``path`` whole or not at all; durable once ``sync_folder`` ran on its folder.

    Args:
        path: Where; replaced if it is there.
        data: What.
        drafts: Folder on the same file system, where a power cut may leave a part of ``data``.
    """
    draft = _draft_of(path, drafts)
    try:
        _write(draft, data, force=True)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def write_files(files: Mapping[Path, bytes], drafts: Path) -> None:
    """Put each of ``files`` at its path whole or not at all; all are durable when this returns.

    Many go to the disk at once, with whatever else waits for that disk: it takes a fraction of the time of
    one after the other.

    Args:
        files: By their paths, which are replaced if they are there; their folders are made.
        drafts: See ``write_file``.
    """
    at_once = _SYNCS_ALL and len(files) >= _MANY
    waiting = {path: _draft_of(path, drafts) for path in files}
    try:
        for path, draft in waiting.items():
            make_folder(path.parent)
            _write(draft, files[path], force=not at_once)
        if at_once:
            sync_file_system(drafts)
        for path, draft in waiting.items():
            draft.replace(path)
        if at_once:
            sync_file_system(drafts)
        else:
            sync_folders(path.parent for path in files)
    except OSError:
        for draft in waiting.values():
            draft.unlink(missing_ok=True)
        raise


def read_ahead(file: BinaryIO, ending: Event) -> None:
    """Have the system read a file into its cache, where that is at most half of the machine's memory.

    Who reads the file meanwhile waits for a few small pieces at most, not for all of it. It returns once the
    last piece is being read, or ``ending`` is set, and does nothing where the system takes no such hint.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    with suppress(OSError):
        size = os.fstat(file.fileno()).st_size
        if 2 * size > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
            return
        for start in range(0, size, _AHEAD_BYTES):
            if ending.is_set():
                return
            os.posix_fadvise(file.fileno(), start, _AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
            # Two pieces are on their way once the end of the one before them is there.
            os.pread(file.fileno(), 1, max(start - _AHEAD_BYTES - 1, 0))


def _draft_of(path: Path, drafts: Path) -> Path:
    return drafts / f"{path.name}.{secrets.token_hex(8)}.draft"


def _write(draft: Path, data: bytes, *, force: bool) -> None:
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        if force:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_file(source: Path, target: Path) -> str:
    """Copy a file; durable once ``sync_folder`` ran on the folder of the copy.

    Args:
        source: What to copy.
        target: Where; must not be there.

    Returns:
        The SHA-256 of what was copied, in hexadecimal digits.
    """
    digest = hashlib.sha256()
    with (
        source.open("rb") as read,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as written,
    ):
        while chunk := read.read(_CHUNK_BYTES):
            digest.update(chunk)
            written.write(chunk)
        written.flush()
        os.fsync(written.fileno())
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(path: Path) -> int:
    """The bytes of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Make all that was written to the file system of ``folder`` durable; only where ``_SYNCS_ALL``."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if _LIBC.syncfs(descriptor):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(folder))
    finally:
        os.close(descriptor)


def sync_folders(folders: Iterable[Path]) -> None:
    """``sync_folder`` once for each of ``folders``."""
    for folder in set(folders):
        sync_folder(folder)
