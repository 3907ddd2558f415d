"""Files that survive a power cut, readable by their owner only."""

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

PRIVATE = 0o600
_CHUNK_BYTES = 1 << 20


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
    draft = drafts / f"{path.name}.{secrets.token_hex(8)}.draft"
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


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


def sync_folders(folders: Iterable[Path]) -> None:
    """``sync_folder`` once for each of ``folders``."""
    for folder in set(folders):
        sync_folder(folder)
