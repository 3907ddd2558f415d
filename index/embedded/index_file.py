"""The index file: what a search needs of a gallery, on the disk, so that a start is quick.

SQLite holds the truth; this is a copy that is checked before it is used, and that may be missing. It
carries a token that SQLite holds as well, from the moment at which the two held the same images. What was
added since then has higher positions, and what was removed since then is missing in SQLite, so that the two
can be brought together again; a file with another token is of another gallery, or of another state.

A file is a line that names the format, a line of JSON, arrays, and the SHA-256 of all these. An image that
was removed is in none of them.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from index.embedded.ann import View
from index.embedded.codec import Codec
from index.embedded.columns import COLUMNS, Columns, Vocabulary
from index.embedded.segments import Coded, Flat, scalar_codes, scalar_index
from index.errors import GalleryUnavailable, IndexFileUnusable
from index.files import PRIVATE, sync_folder
from index.space import EmbeddingSpec

FILE_NAME = "index.faiss"
_DRAFT_NAME = "index.faiss.draft"
_FORMAT_LINE = b"PECA index file "
_FORMAT = b"PECA index file 4\n"
_DIGEST_BYTES = hashlib.sha256().digest_size
_CHUNK_BYTES = 1 << 20


def write_index_file(
    folder: Path,
    spec: EmbeddingSpec,
    view: View,
    vocabulary: Vocabulary,
    outdated: Callable[[], bool] = lambda: False,
) -> str | None:
    """Write the index file of a gallery, whole or not at all; on the disk when this returns.

    Args:
        folder: Of the gallery, which nobody else writes.
        spec: Of the encoder.
        view: What SQLite holds.
        vocabulary: The names in it.
        outdated: Asked again and again; once it says so, the writing is given up.

    Returns:
        The file's token, for SQLite to hold; ``None`` where it was given up.

    Raises:
        GalleryUnavailable: The disk refuses; the file that was there is as it was.
    """
    token = secrets.token_hex(16)
    draft = folder / _DRAFT_NAME
    try:
        drop_draft(folder)
        _check_space(folder, view)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as file:
            _Writer(file, outdated).write_all(
                {"token": token, "dim": spec.dim, "encoder": spec.encoder}, view, vocabulary
            )
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / FILE_NAME)
        sync_folder(folder)
    except _Outdated:
        drop_draft(folder)
        return None
    except OSError as error:
        with suppress(OSError):  # a disk that takes nothing gives nothing back either
            drop_draft(folder)
        raise GalleryUnavailable(f"the index file {folder / FILE_NAME} cannot be written: {error}") from error
    return token


def read_index_file(folder: Path, spec: EmbeddingSpec, token: str | None) -> tuple[View, Vocabulary] | None:
    """What the file holds, ``None`` where there is no file.

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
            return _Reader(file, _checked_header(file, path, spec, token)).read_all()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
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
    except (OSError, ValueError, KeyError, TypeError) as error:
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


class _Outdated(Exception):
    """The file would hold what is no longer so."""


def _check_space(folder: Path, view: View) -> None:
    """A file that does not fit would take the last room from the images that come."""
    needed = sum(len(part.columns) * COLUMNS.itemsize for part in view.segments) + view.flat.rows.nbytes
    for part in view.coded:
        needed += len(part.columns) * (part.codec.dim + sum(tier.code_bytes for tier in part.codec.tiers))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"it needs {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free")


class _Writer:
    """Writes a file's content, and the SHA-256 of it last."""

    def __init__(self, file: BinaryIO, outdated: Callable[[], bool]) -> None:
        self._file = file
        self._outdated = outdated
        self._digest = hashlib.sha256()

    def write_all(self, told: dict[str, Any], view: View, vocabulary: Vocabulary) -> None:
        living = [part for part in view.coded if part.alive.any()]
        codecs = list(dict.fromkeys(part.codec for part in living))
        dumped = [codec.dump() for codec in codecs]
        header = {
            **told,
            "count": len(view.positions),
            "cameras": vocabulary.cameras.kept(view.numbers("camera")),
            "people": vocabulary.people.kept(view.numbers("person")),
            "codecs": [header for header, _ in dumped],
            "coded": [[codecs.index(p.codec), p.count, p.error] for p in living],
            "flat": len(view.flat.columns),
        }
        self._write(_FORMAT)
        self._write(json.dumps(header).encode() + b"\n")
        for _, arrays in dumped:
            for array in arrays:
                self._array(array)
        for part in living:
            self._array(part.columns[part.alive])
            self._codes(part)
            for tier in range(len(part.codec.tiers)):
                self._array(part.quick[tier].codes[part.alive])
        self._array(view.flat.columns)
        self._array(view.flat.rows)
        self._file.write(self._digest.digest())

    def _codes(self, part: Coded) -> None:
        """The scalar codes of what was not removed, without a second copy of all."""
        codes, rows = scalar_codes(part.fine), np.flatnonzero(part.alive)
        step = max(_CHUNK_BYTES // codes.shape[1], 1)
        for start in range(0, len(rows), step):
            self._array(codes[rows[start : start + step]])

    def _array(self, array: NDArray[Any]) -> None:
        if array.size:
            self._write(_bytes_of(np.ascontiguousarray(array)))

    def _write(self, piece: bytes | memoryview) -> None:
        if self._outdated():
            raise _Outdated
        self._digest.update(piece)
        self._file.write(piece)


class _Reader:
    """Reads what ``_Writer`` wrote, from behind the header of a file that was checked."""

    def __init__(self, file: BinaryIO, header: dict[str, Any]) -> None:
        self._file = file
        self._header = header

    def read_all(self) -> tuple[View, Vocabulary]:
        header = self._header
        codecs = [self._codec(told) for told in header["codecs"]]
        coded = [self._coded(codecs[number], count, error) for number, count, error in header["coded"]]
        flat = Flat(self._columns(header["flat"]), self._floats(header["flat"], header["dim"]))
        view = View(tuple(coded), flat)
        if len(view.positions) != header["count"]:
            raise ValueError(f"expected {header['count']} images, got {len(view.positions)}")
        return view, Vocabulary(header["cameras"], header["people"])

    def _codec(self, told: dict[str, Any]) -> Codec:
        return Codec.load(told, [self._floats(*Codec.shape(told["dim"])) for _ in told["tiers"]])

    def _coded(self, codec: Codec, count: int, error: float) -> Coded:
        columns = self._columns(count)
        fine = scalar_index(codec.dim, count)
        self._fill(scalar_codes(fine))
        coarse = [self._fill(np.empty((count, tier.code_bytes), np.uint8)) for tier in codec.tiers]
        return Coded.of(columns, codec, fine, error, coarse)

    def _columns(self, count: int) -> Columns:
        return self._fill(np.empty(count, COLUMNS))

    def _floats(self, *shape: int) -> NDArray[np.float32]:
        return self._fill(np.empty(shape, "<f4"))

    def _fill(self, array: NDArray[Any]) -> NDArray[Any]:
        if array.size:
            window = _bytes_of(array)
            if self._file.readinto(window) != len(window):  # type: ignore[attr-defined]
                raise ValueError("it ends too early")
        return array


def _bytes_of(array: NDArray[Any]) -> memoryview:
    """The memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8).data


def _checked_header(file: BinaryIO, path: Path, spec: EmbeddingSpec, token: str | None) -> dict[str, Any]:
    """The header of a file whose every byte is as it was written; leaves ``file`` behind the header."""
    first = file.readline(len(_FORMAT))
    if first != _FORMAT:
        raise _unusual(path, first)
    _check_digest(file, path)
    file.seek(len(_FORMAT))
    header: dict[str, Any] = json.loads(file.readline())
    if (header["token"], header["dim"], header["encoder"]) != (token, spec.dim, spec.encoder):
        raise IndexFileUnusable(
            f"the index file {path} is of another gallery, or of another state of this one"
        )
    return header


def _unusual(path: Path, first: bytes) -> IndexFileUnusable:
    if first.startswith(_FORMAT_LINE):
        return IndexFileUnusable(f"the index file {path} was written by another version of this program")
    return _damaged(path, "it does not begin as an index file")


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
