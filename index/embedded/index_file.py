"""The index file: what FAISS holds of a gallery, on the disk, so that a start is quick.

SQLite holds the truth; this is a copy that is checked before it is used, and that may be missing. It
carries a token that SQLite holds as well, from the moment at which the two held the same images. What was
added since then has higher positions, and what was removed since then is missing in SQLite, so that the two
can be brought together again; a file with another token is of another gallery, or of another state.

A file is a line that names the format, a line of JSON, the positions, FAISS's own bytes, and the SHA-256
of all these.
"""

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any, BinaryIO

from index.embedded.vectors import VectorIndex
from index.errors import GalleryUnavailable, IndexFileUnusable
from index.files import PRIVATE, sync_folder
from index.space import EmbeddingSpec

FILE_NAME = "index.faiss"
_DRAFT_NAME = "index.faiss.draft"
_FORMAT = b"PECA index file 1\n"
_DIGEST_BYTES = hashlib.sha256().digest_size
_CHUNK_BYTES = 1 << 20
_LONGEST_HEADER_BYTES = 4096


def write_index_file(folder: Path, spec: EmbeddingSpec, index: VectorIndex) -> str:
    """Write the index file of a gallery, whole or not at all; on the disk when this returns.

    Args:
        folder: Of the gallery, which nobody else writes.
        spec: Of the encoder.
        index: Holds what SQLite holds.

    Returns:
        The file's token, for SQLite to hold.

    Raises:
        GalleryUnavailable: The disk refuses; the file that was there is as it was.
    """
    token = secrets.token_hex(16)
    header = {"token": token, "dim": spec.dim, "encoder": spec.encoder, "count": len(index.positions)}
    draft = folder / _DRAFT_NAME
    try:
        drop_draft(folder)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as file:
            _write(file, header, index)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / FILE_NAME)
        sync_folder(folder)
    except (OSError, RuntimeError) as error:
        drop_draft(folder)
        raise GalleryUnavailable(f"the index file {folder / FILE_NAME} cannot be written: {error}") from error
    return token


def read_index_file(folder: Path, spec: EmbeddingSpec, token: str | None) -> VectorIndex | None:
    """The index that the file holds, ``None`` where there is no file.

    Args:
        folder: Of the gallery.
        spec: Of the encoder.
        token: What SQLite holds.

    Raises:
        IndexFileUnusable: The file is damaged, or of another gallery or another state of this one.
    """
    path = folder / FILE_NAME
    try:
        with path.open("rb") as file:
            header = _checked_header(file, path, spec, token)
            return VectorIndex.read(spec.dim, header["count"], file.read)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RuntimeError) as error:
        raise _damaged(path, str(error)) from error


def check_index_file(folder: Path, spec: EmbeddingSpec, token: str | None) -> bool:
    """Check the file without taking it into memory; returns whether there is one.

    Raises:
        IndexFileUnusable: As ``read_index_file`` says.
    """
    path = folder / FILE_NAME
    try:
        with path.open("rb") as file:
            _checked_header(file, path, spec, token)
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    return True


def drop_index_file(folder: Path) -> None:
    """Remove the index file and what a power cut left of one, durably; does nothing where there is none.

    Raises:
        GalleryUnavailable: The disk refuses.
    """
    path = folder / FILE_NAME
    try:
        drop_draft(folder)
        if path.exists():
            path.unlink()
            sync_folder(folder)
    except OSError as error:
        raise GalleryUnavailable(f"the index file {path} cannot be removed: {error}") from error


def drop_draft(folder: Path) -> None:
    """Remove what a power cut left of an index file that was being written."""
    (folder / _DRAFT_NAME).unlink(missing_ok=True)


def _write(file: BinaryIO, header: dict[str, Any], index: VectorIndex) -> None:
    digest = hashlib.sha256()

    def write(piece: bytes) -> int:
        digest.update(piece)
        return file.write(piece)

    write(_FORMAT)
    write(json.dumps(header).encode() + b"\n")
    index.write(write)
    file.write(digest.digest())


def _checked_header(file: BinaryIO, path: Path, spec: EmbeddingSpec, token: str | None) -> dict[str, Any]:
    """The header of a file whose every byte is as it was written; leaves ``file`` behind the header."""
    if file.readline(len(_FORMAT)) != _FORMAT:
        raise _damaged(path, "it does not begin as an index file of format 1")
    _check_digest(file, path)
    file.seek(len(_FORMAT))
    header: dict[str, Any] = json.loads(file.readline(_LONGEST_HEADER_BYTES))
    if (header["token"], header["dim"], header["encoder"]) != (token, spec.dim, spec.encoder):
        raise IndexFileUnusable(
            f"the index file {path} is of another gallery, or of another state of this one"
        )
    return header


def _check_digest(file: BinaryIO, path: Path) -> None:
    """Check that the file ends with the SHA-256 of what stands before it."""
    left = file.seek(0, os.SEEK_END) - _DIGEST_BYTES
    file.seek(0)
    digest = hashlib.sha256()
    while left > 0 and (piece := file.read(min(left, _CHUNK_BYTES))):
        digest.update(piece)
        left -= len(piece)
    if file.read(_DIGEST_BYTES) != digest.digest():
        raise _damaged(path, "its content is not what its checksum says")


def _damaged(path: Path, found: str) -> IndexFileUnusable:
    return IndexFileUnusable(f"the index file {path} is damaged: {found}")
