"""The SQLite file of an embedded gallery: records, vectors and the encoder they came from."""

# ruff: noqa: S608 - every value is bound; only column names and the fixed tests of _condition are put in

import json
import math
import sqlite3
import time
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from index.embedded.columns import Described
from index.embedded.locks import ProcessLock
from index.embedded.readers import Readers
from index.embedded.still import connect_still, is_still
from index.errors import GalleryUnavailable, InvalidInput
from index.files import PRIVATE, make_folder, read_ahead, size_of, sync_folder
from index.gallery import check_spec
from index.records import ANY, CameraSummary, ImageRecord, Where
from index.space import EmbeddingSpec, Modality

FILE_NAME = "gallery.sqlite3"
LOCK_NAME = "gallery.lock"
RESTORED_NAME = f"{FILE_NAME}.draft"
"""What ``snapshot`` restores, until all of it is there; no gallery is begun beside it."""
SCHEMA_VERSION = 2

# Vectors stand apart so that a filter reads no page of them; AUTOINCREMENT never gives a position twice.
_SCHEMA = (
    "CREATE TABLE gallery (dim INTEGER NOT NULL, encoder TEXT NOT NULL, index_token TEXT) STRICT",
    """CREATE TABLE images (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        image_id TEXT NOT NULL UNIQUE,
        modality TEXT NOT NULL,
        camera_id TEXT NOT NULL,
        captured_at INTEGER NOT NULL,
        person_id TEXT,
        track_id TEXT,
        source TEXT
    ) STRICT""",
    """CREATE TABLE vectors (
        position INTEGER PRIMARY KEY REFERENCES images,
        vector BLOB NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT""",
    "CREATE TABLE retention (camera_id TEXT PRIMARY KEY, days INTEGER) STRICT",
    "CREATE INDEX images_by_camera ON images (camera_id, modality, captured_at)",
    "CREATE INDEX images_by_modality ON images (modality, captured_at)",
    "CREATE INDEX images_by_time ON images (captured_at)",
    "CREATE INDEX images_by_person ON images (person_id)",
)
# Made where it is missing, so that a gallery of an earlier program gets it too; any program reads beside it.
_TRACK_INDEX = "CREATE INDEX IF NOT EXISTS images_by_track ON images (track_id) WHERE track_id IS NOT NULL"
# What makes a gallery of version 1 one of version 2.
_UPGRADE = (
    "ALTER TABLE gallery ADD COLUMN index_token TEXT",
    "ALTER TABLE vectors ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0",
    "UPDATE vectors SET checksum = crc32(vector)",
    "CREATE TABLE retention (camera_id TEXT PRIMARY KEY, days INTEGER) STRICT",
)
_ALL_CAMERAS = ""
_COLUMNS = "image_id, modality, camera_id, captured_at, person_id, track_id, source"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BATCH = 1024
_READERS = 8
_PLACES = 1024
_LEAST_SHARE = 4
_CACHED_ROW_S = 1e-4
_CACHED_CALL_S = 2e-3
_WAITS = 16
_DISK = ThreadPoolExecutor(_READERS, "peca-disk")
_BUSY_S = 5.0
_WAL_LIMIT_BYTES = 64 << 20
_CACHE_SHARE = 512
_LEAST_CACHE_KB, _MOST_CACHE_KB = 2 << 10, 16 << 10
_VECTOR_TYPE = np.dtype("<f4")

Stored = tuple[ImageRecord, NDArray[np.float32]]


class Store:
    """One gallery's SQLite file, in WAL mode with ``synchronous=FULL`` and ``secure_delete=ON``.

    A position is a row's place in the order of adding: it grows, and none is given twice. A writing
    store reads what was last committed; a read-only store reads one snapshot, as it was at opening, and
    while it is open the writer's WAL file can only grow. A vector stands as float32 with its CRC-32. A
    file of schema version 1 is brought to this version when a writing store opens it.

    Args:
        folder: Where the file is, or shall be.
        spec: Of the encoder in use.
        read_only: Refuse to begin a gallery, and take no write.
        live: Read what was last committed, though ``read_only``.

    Raises:
        EncoderMismatch: The file holds vectors of another encoder.
        GalleryUnavailable: The file cannot be read, or is not a gallery of this version, or
            ``read_only`` was asked where no gallery is.
    """

    def __init__(self, folder: Path, spec: EmbeddingSpec, *, read_only: bool, live: bool = False) -> None:
        self.spec = spec
        self._path = folder / FILE_NAME
        self._writer: sqlite3.Connection | None = None
        self._waits_until = -math.inf
        with ExitStack() as held, _explained(self._path):
            if not read_only:
                make_folder(folder)
                held.callback(ProcessLock(folder / LOCK_NAME).release)
                if (folder / RESTORED_NAME).exists() and not self._path.exists():
                    raise _no_gallery(folder)
                check_nothing_left(folder)
                _begin(self._path, spec)
            stored = read_spec(folder)
            if stored is None:
                raise _no_gallery(folder)
            check_spec(stored, spec)
            if not read_only:
                # Closed after all connections: to close a file frees the locks of a whole process on it,
                # SQLite's too, and the next program to close the gallery would take the WAL file away.
                self._file = held.enter_context(self._path.open("rb"))
                self._writer = held.enter_context(closing(_connect(self._path, "rw")))
            _settle_version(self._path, self._writer)
            if self._writer is not None:
                self._writer.execute(_TRACK_INDEX)
            self._readers = self._open_readers(live or not read_only)
            held.callback(self._readers.close)
            self._held = held.pop_all()

    def _open_readers(self, live: bool) -> Readers:
        """Connections that see what was last committed; or one that sees what is committed now, for ever."""
        if live:
            return Readers(lambda: _connect(self._path, "ro"), _READERS)
        readers = Readers(lambda: _connect(self._path, "ro"), 1)
        with readers.lent() as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT encoder FROM gallery").fetchall()  # the moment is that of the first read
        return readers

    def read_ahead(self, ending: Event) -> None:
        """Have the system read the file into its cache, if it has the room; of a writing store.

        Args:
            ending: Set to end that early.
        """
        read_ahead(self._file, ending)

    def warm(self) -> None:
        """Have a reader hold the upper levels of the tables, which each search goes through."""
        ((last,),) = self._read("SELECT max(position) FROM images")
        places = json.dumps(np.linspace(1, last or 1, _PLACES).astype(int).tolist())
        for table in ("images", "vectors"):
            self._read(
                f"SELECT count(*) FROM {table} WHERE position IN (SELECT value FROM json_each(?))", [places]
            )

    def load(self, after: int = 0) -> Iterator[tuple[list[Described], NDArray[np.float32]]]:
        """What a search needs of each image, in the order of adding, in batches of n images and (n, D) rows.

        Args:
            after: Only what was added after the image at this position.

        Raises:
            GalleryUnavailable: An image lacks its vector, or a vector is not of D numbers and unit length
                or is not what its checksum says.
        """
        loaded, last = 0, after
        statement = (
            "SELECT position, modality, camera_id, captured_at, person_id, vector, checksum"
            " FROM images JOIN vectors USING (position) WHERE position > ? ORDER BY position LIMIT ?"
        )
        while found := self._read(statement, [last, _BATCH]):
            rows = self._rows([columns[-2:] for columns in found])
            loaded, last = loaded + len(found), found[-1][0]
            yield [columns[:-2] for columns in found], rows
        vectors, images = (
            self._read(f"SELECT count(*) FROM {table} WHERE position > ?", [after])[0][0]
            for table in ("vectors", "images")
        )
        if not loaded == vectors == images:
            raise _damaged(self._path, "images without vectors, or vectors without images")

    def pages(self, where: Where) -> Iterator[tuple[list[ImageRecord], NDArray[np.float32]]]:
        """The images that pass ``where`` in the order of adding, in batches of records and (n, D) unit rows.

        No transaction stays open between two batches; an image removed meanwhile is left out.
        """
        positions = np.sort(self.positions(where))
        statement = (
            f"SELECT vector, checksum, {_COLUMNS} FROM images JOIN vectors USING (position)"
            " WHERE position IN (SELECT value FROM json_each(?)) ORDER BY position"
        )
        for start in range(0, len(positions), _BATCH):
            listed = json.dumps(positions[start : start + _BATCH].tolist())
            if found := self._read(statement, [listed]):
                records = [self._record(columns) for _, _, *columns in found]
                yield records, self._rows([row[:2] for row in found])

    def record_pages(self, where: Where) -> Iterator[list[ImageRecord]]:
        """The records that ``pages`` gives, without their vectors."""
        positions = np.sort(self.positions(where))
        for start in range(0, len(positions), _BATCH):
            if found := self.records(positions[start : start + _BATCH].tolist()):
                yield [found[position] for position in sorted(found)]

    def newest(self, where: Where, limit: int, before: tuple[datetime, str] | None) -> list[ImageRecord]:
        """See ``Gallery.page``; ``before`` is in UTC."""
        condition, values = _condition(where)
        if before is not None:
            condition += " AND (captured_at, image_id) < (?, ?)"
            values += [microseconds(before[0]), before[1]]
        found = self._read(
            f"SELECT {_COLUMNS} FROM images WHERE {condition}"
            " ORDER BY captured_at DESC, image_id DESC LIMIT ?",
            [*values, limit],
        )
        return [self._record(columns) for columns in found]

    def positions(self, where: Where) -> NDArray[np.int64]:
        """The positions of the images that pass ``where``, in no order."""
        condition, values = _condition(where)
        # One text for all is four times faster than a Python row for each.
        ((listed,),) = self._read(f"SELECT group_concat(position) FROM images WHERE {condition}", values)
        return np.fromstring(listed or "", np.int64, sep=",")

    def rows(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Those of these positions that are stored, ascending, and their (n, D) unit rows."""
        found = self._read_at("SELECT position, vector, checksum FROM vectors", positions.tolist())
        return np.array([row[0] for row in found], np.int64), self._rows([row[1:] for row in found])

    def records(self, positions: Collection[int]) -> dict[int, ImageRecord]:
        """The records at these positions."""
        # As one row: with each that it gives, SQLite hands Python to another thread, and waits for it again.
        asked = f"SELECT json_group_array(json_array(position, {_COLUMNS})) FROM images"
        found = [row for (rows,) in self._read_at(asked, sorted(positions)) for row in json.loads(rows)]
        return {position: self._record(columns) for position, *columns in found}

    def find(self, image_ids: Collection[str]) -> dict[str, Stored]:
        """What is stored under these ids: record and (D,) unit vector."""
        condition, values = _condition(Where(image_ids=image_ids))
        found = self._read(
            f"SELECT vector, checksum, {_COLUMNS} FROM images JOIN vectors USING (position)"
            f" WHERE {condition}",
            values,
        )
        return {row[2]: (self._record(row[2:]), self._rows([row[:2]])[0]) for row in found}

    def count(self, where: Where) -> int:
        """How many images pass ``where``."""
        condition, values = _condition(where)
        return int(self._read(f"SELECT count(*) FROM images WHERE {condition}", values)[0][0])

    def cameras(self, where: Where = ANY) -> list[CameraSummary]:
        """See ``Gallery.cameras``; of the images that pass ``where``."""
        condition, values = _condition(where)
        found = self._read(
            "SELECT camera_id, modality, count(*), min(captured_at), max(captured_at) FROM images"
            f" WHERE {condition} GROUP BY camera_id, modality ORDER BY camera_id, modality",
            values,
        )
        try:
            return [
                CameraSummary(camera_id, Modality(modality), count, _moment(first), _moment(last))
                for camera_id, modality, count, first, last in found
            ]
        except (ValueError, OverflowError) as error:
            raise _damaged(self._path, f"an image record that is not valid ({error})") from error

    def people(self) -> int:
        """How many identities label images."""
        return int(self._read("SELECT count(DISTINCT person_id) FROM images")[0][0])

    def image_ids(self, where: Where = ANY) -> dict[int, str]:
        """By position, the id of every image that passes ``where``."""
        condition, values = _condition(where)
        return dict(self._read(f"SELECT position, image_id FROM images WHERE {condition}", values))

    def index_token(self) -> str | None:
        """What the index file of this state of the gallery carries; ``None`` before the first."""
        ((token,),) = self._read("SELECT index_token FROM gallery")
        return None if token is None else str(token)

    def retention(self) -> dict[str | None, int | None]:
        """Days to keep images by camera, ``None`` for ever; the camera ``None`` stands for all others."""
        found = self._read("SELECT camera_id, days FROM retention ORDER BY camera_id")
        return {None if camera_id == _ALL_CAMERAS else camera_id: days for camera_id, days in found}

    def insert(self, records: Sequence[ImageRecord], rows: NDArray[np.float32]) -> list[Described]:
        """Store images, all or none; when this returns they are on the disk.

        Args:
            records: N records of ids that are not stored.
            rows: (N, D) unit rows.

        Returns:
            What a search needs of each, by ascending position.

        Raises:
            GalleryUnavailable: The disk or the file refused; nothing was stored.
        """
        with self._transaction() as connection:
            ((last,),) = connection.execute(
                "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'images'"
            )
            positions = np.arange(last + 1, last + 1 + len(records), dtype=np.int64)
            connection.executemany(
                f"INSERT INTO images (position, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (place, *_columns(record))
                    for place, record in zip(positions.tolist(), records, strict=True)
                ],
            )
            blobs = [row.tobytes() for row in rows.astype(_VECTOR_TYPE)]
            connection.executemany(
                "INSERT INTO vectors VALUES (?, ?, ?)",
                zip(positions.tolist(), blobs, map(zlib.crc32, blobs), strict=True),
            )
        return [
            (
                place,
                str(record.modality),
                record.camera_id,
                microseconds(record.captured_at),
                record.person_id,
            )
            for place, record in zip(positions.tolist(), records, strict=True)
        ]

    def delete(self, positions: NDArray[np.int64]) -> None:
        """Remove the images at these positions, all or none, durably.

        Raises:
            GalleryUnavailable: The disk or the file refused; nothing was removed.
        """
        listed = [json.dumps(positions.tolist())]
        with self._transaction() as connection:
            for table in ("vectors", "images"):
                connection.execute(
                    f"DELETE FROM {table} WHERE position IN (SELECT value FROM json_each(?))", listed
                )

    def set_index_token(self, token: str) -> None:
        """Say which index file holds this state of the gallery, durably."""
        with self._transaction() as connection:
            connection.execute("UPDATE gallery SET index_token = ?", [token])

    def purge(self, wait_s: float = _BUSY_S) -> bool:
        """Empty the write-ahead file, which may still hold what was removed.

        Args:
            wait_s: For readers to end what they read.

        Returns:
            Whether it is empty; a reader that stays open keeps it from being emptied.
        """
        self._alone(f"PRAGMA busy_timeout = {int(1000 * wait_s)}")
        try:
            ((busy, _, _),) = self._alone("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._alone(f"PRAGMA busy_timeout = {int(1000 * _BUSY_S)}")
        return not busy

    def vacuum(self) -> None:
        """Write the file anew, without the space of what was removed.

        Raises:
            GalleryUnavailable: The disk refused, as where it lacks room for a second copy; the file is as
                it was.
        """
        self._alone("VACUUM")

    def _alone(self, statement: str) -> list[tuple[Any, ...]]:
        """Run what takes no part in a transaction, on the writing connection."""
        with _explained(self._path):
            return self._writing().execute(statement).fetchall()

    def faults(self) -> Iterator[str]:
        """What is wrong in the file, a sentence each: pages, records, vectors, and their pairing."""
        for (told,) in self._read("PRAGMA integrity_check"):
            yield from (f"{self._path.name}: {line}" for line in told.splitlines() if line != "ok")
        for (image_id,) in self._read(
            "SELECT image_id FROM images WHERE position NOT IN (SELECT position FROM vectors)"
        ):
            yield f"image {image_id!r} has no vector"
        for (position,) in self._read(
            "SELECT position FROM vectors WHERE position NOT IN (SELECT position FROM images)"
        ):
            yield f"the vector at position {position} belongs to no image"
        yield from self._row_faults()

    def _row_faults(self) -> Iterator[str]:
        last = 0
        statement = (
            f"SELECT position, vector, checksum, {_COLUMNS} FROM images JOIN vectors USING (position)"
            " WHERE position > ? ORDER BY position LIMIT ?"
        )
        while found := self._read(statement, [last, _BATCH]):
            last = found[-1][0]
            for _, vector, checksum, *columns in found:
                fault = _vector_fault(vector, checksum, self.spec.dim)
                if not fault and not _of_unit_length(np.frombuffer(vector, _VECTOR_TYPE)):
                    fault = "is not of unit length"
                if fault:
                    yield f"image {columns[0]!r} has a vector that {fault}"
                try:
                    _record(columns)
                except (InvalidInput, OverflowError) as error:
                    yield f"image {columns[0]!r} has a record that is not valid: {error}"

    def close(self) -> None:
        """Close the file and let the next writer in; calling it again does nothing."""
        with _explained(self._path):
            self._held.close()

    def _record(self, columns: Sequence[Any]) -> ImageRecord:
        """The record that a row of ``_COLUMNS`` holds."""
        try:
            return _record(columns)
        except (InvalidInput, OverflowError) as error:
            raise _damaged(self._path, f"an image record that is not valid ({error})") from error

    def _rows(self, stored: Sequence[Sequence[Any]]) -> NDArray[np.float32]:
        """The (n, D) unit rows that pairs of vector and checksum hold."""
        for vector, checksum in stored:
            if fault := _vector_fault(vector, checksum, self.spec.dim):
                raise _damaged(self._path, f"a vector that {fault}")
        flat = np.frombuffer(bytearray().join(vector for vector, _ in stored), _VECTOR_TYPE)
        flat = flat.astype(np.float32, copy=False)
        rows = flat.reshape(len(stored), self.spec.dim)
        if not _of_unit_length(rows).all():
            raise _damaged(self._path, "a vector that is not of unit length")
        return rows

    def _read(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with _explained(self._path), self._readers.lent() as reader:
            return reader.execute(statement, values).fetchall()

    def _read_at(self, selection: str, positions: Sequence[int]) -> list[tuple[Any, ...]]:
        """What is selected of these ascending positions.

        One reader is twice as quick as several on pages that the system holds. Where it had to wait for the
        disk, several ask at once for a while, since they wait together: the longer it waited, the longer.
        """
        asked = f"{selection} WHERE position IN (SELECT value FROM json_each(?)) ORDER BY position"
        began = time.monotonic()
        if began > self._waits_until:
            alone = self._read(asked, [json.dumps(positions)])
            ended = time.monotonic()
            if ended - began > _CACHED_CALL_S + _CACHED_ROW_S * len(positions):
                self._waits_until = ended + _WAITS * (ended - began)
            return alone
        share = max(_LEAST_SHARE, -(-len(positions) // _READERS))
        shares = [json.dumps(positions[i : i + share]) for i in range(0, len(positions), share)]
        found = _DISK.map(lambda share: self._read(asked, [share]), shares)
        return [row for rows in found for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction on the writing connection; the caller lets one thread in at a time."""
        writer = self._writing()
        with _explained(self._path), _committed(writer):
            yield writer

    def _writing(self) -> sqlite3.Connection:
        if self._writer is None:
            raise GalleryUnavailable(
                f"the gallery {self._path.parent} was opened read-only and takes no write"
            )
        return self._writer


def open_stored(folder: Path, *, read_only: bool) -> Store:
    """Open the gallery in ``folder`` with the encoder that it was begun with.

    Raises:
        GalleryUnavailable: There is none, it cannot be read or written, or another process writes it.
    """
    spec = read_spec(folder)
    if spec is None:
        raise _no_gallery(folder)
    return Store(folder, spec, read_only=read_only)


def check_nothing_left(folder: Path) -> None:
    """Refuse to begin a gallery beside the write-ahead file of one that was moved away without it.

    SQLite would remove it, or put what it holds into the file that comes beside it.

    Raises:
        GalleryUnavailable: There is such a file.
    """
    left = folder / f"{FILE_NAME}-wal"
    if not (folder / FILE_NAME).exists() and size_of(left):
        raise GalleryUnavailable(
            f"{left} holds changes of a gallery whose {FILE_NAME} is not here any more; move it to where "
            "that file is, or remove it if they are not wanted"
        )


def write_rules(folder: Path, rules: Mapping[str | None, int | None]) -> None:
    """Put rules, as ``Store.retention`` gives them, in the place of those that are there, durably.

    Another process may write the gallery meanwhile: it reads the rules where it needs them, and SQLite lets
    one of the two wait.

    Raises:
        GalleryUnavailable: There is no gallery, or it cannot be written.
    """
    open_stored(folder, read_only=True).close()  # says what hinders
    rows = [(_ALL_CAMERAS if camera_id is None else camera_id, days) for camera_id, days in rules.items()]
    path = folder / FILE_NAME
    with _explained(path), closing(_connect(path, "rw")) as connection, _committed(connection):
        connection.execute("DELETE FROM retention")
        connection.executemany("INSERT INTO retention VALUES (?, ?)", rows)


def copy_database(folder: Path, target: Path) -> None:
    """Copy the SQLite file of a gallery as it is at this moment, while another process may write it.

    Raises:
        GalleryUnavailable: It cannot be read, or the copy cannot be written.
    """
    path = folder / FILE_NAME
    with _explained(path), closing(_connect(path, "ro")) as source:
        try:
            target.touch(mode=PRIVATE)
            with closing(_connect(target, "rw")) as copy:
                source.backup(copy)
        except (sqlite3.Error, OSError) as error:
            raise GalleryUnavailable(
                f"the gallery file {path} cannot be copied to {target}: {error}; check the free space "
                "there, and both disks"
            ) from error


def read_spec(folder: Path) -> EmbeddingSpec | None:
    """The spec of the gallery in ``folder``, ``None`` where none has been begun.

    Raises:
        GalleryUnavailable: There is a file, but it cannot be read or is not a gallery of this version.
    """
    path = folder / FILE_NAME
    with _explained(path):
        if not path.exists():
            return None
        with closing(_connect(path, "ro")) as connection:
            if _is_blank(connection):
                return None
            ((version,),) = connection.execute("PRAGMA user_version")
            if not 1 <= version <= SCHEMA_VERSION:
                raise GalleryUnavailable(
                    f"{path} must be a gallery of schema version 1 to {SCHEMA_VERSION}, got {version} "
                    "(0: not a gallery at all); open it with the version of this program that wrote it"
                )
            specs = connection.execute("SELECT dim, encoder FROM gallery").fetchall()
    if len(specs) != 1:
        raise _damaged(path, f"{len(specs)} encoders in place of one")
    return EmbeddingSpec(*specs[0])


def is_begun(folder: Path) -> bool:
    """Whether there is a gallery, and not what a kill left of one that was being begun or removed.

    Where that cannot be told there is one, and opening it says why it cannot be read.
    """
    try:
        return read_spec(folder) is not None
    except GalleryUnavailable:
        return True


def remove_files(folder: Path) -> None:
    """Remove SQLite's files and the index file of a gallery, durably; the caller holds its lock.

    Raises:
        OSError: The disk refuses.
    """
    # First, since what a kill leaves must not be a database without its write-ahead file.
    (folder / FILE_NAME).unlink(missing_ok=True)
    sync_folder(folder)
    for path in [*folder.glob(f"{FILE_NAME}*"), *folder.glob("index.*")]:
        path.unlink()
    sync_folder(folder)


def _begin(path: Path, spec: EmbeddingSpec) -> None:
    """Write the schema and the encoder, in one transaction, where no gallery has been begun."""
    # SQLite gives its other files the mode of this one.
    path.touch(mode=PRIVATE)
    with closing(_connect(path, "rw")) as connection:
        if not _is_blank(connection):
            return
        connection.execute(
            "PRAGMA page_size = 8192"
        )  # of SQLite's sizes it wastes least on 2 and 8 kB vectors
        connection.execute("PRAGMA journal_mode = WAL")
        with _committed(connection):
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT INTO gallery (dim, encoder) VALUES (?, ?)", (spec.dim, spec.encoder))
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _is_blank(connection: sqlite3.Connection) -> bool:
    """Whether nothing was ever committed, as after an end of power while a gallery was being begun."""
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema")
    return bool(tables == 0)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """Connect without implicit transactions; ``mode`` is SQLite's: ``ro`` or ``rw``."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    options: dict[str, Any] = {"uri": True, "isolation_level": None, "check_same_thread": False}
    if mode == "ro" and is_still(path):
        connection: sqlite3.Connection = connect_still(uri, path.with_name(LOCK_NAME), **options)
    else:
        connection = sqlite3.connect(uri, timeout=_BUSY_S, **options)
    with ExitStack() as undo:
        undo.callback(connection.close)
        connection.execute("PRAGMA synchronous = FULL")
        # What is removed is written over with zeros, since it is a person's.
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA cache_size = -{_cache_kb(size_of(path))}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        undo.pop_all()
    return connection


def _cache_kb(file_bytes: int) -> int:
    """What a connection holds of a file: the upper levels of the tables fit, and are read once."""
    return min(max(file_bytes // _CACHE_SHARE >> 10, _LEAST_CACHE_KB), _MOST_CACHE_KB)


def _settle_version(path: Path, writer: sqlite3.Connection | None) -> None:
    """Bring a gallery of version 1 to this version, or say to a reader that it has yet to be."""
    with closing(_connect(path, "ro")) as reader:
        ((version,),) = reader.execute("PRAGMA user_version")
    if version == SCHEMA_VERSION:
        return
    if writer is None:
        raise GalleryUnavailable(
            f"{path} is of schema version {version} and must be brought to version {SCHEMA_VERSION} before "
            "it is read: start the server on it, or run peca gallery compact"
        )
    writer.create_function("crc32", 1, zlib.crc32, deterministic=True)
    with _committed(writer):
        for statement in _UPGRADE:
            writer.execute(statement)
        writer.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


@contextmanager
def _committed(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the body writes, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say which gallery it was that SQLite or the system could not read or write."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise GalleryUnavailable(
            f"the gallery file {path} cannot be used: {error}; check the disk, its free space and the file's "
            "permissions, or restore the gallery from a copy"
        ) from error


def _vector_fault(vector: bytes, checksum: int, dim: int) -> str | None:
    """What is wrong with a stored vector, length aside."""
    if len(vector) != dim * _VECTOR_TYPE.itemsize:
        return f"is not of {dim} numbers"
    return None if zlib.crc32(vector) == checksum else "is not what its checksum says"


def _of_unit_length(rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of (n, D) rows are, (n,)."""
    return cast(NDArray[np.bool_], np.abs(np.vecdot(rows, rows) - 1) < 2e-3)  # of the lengths' squares


def _no_gallery(folder: Path) -> GalleryUnavailable:
    if (folder / RESTORED_NAME).exists():
        return GalleryUnavailable(
            f"a restore to {folder} was broken off: run the same peca gallery restore again, or remove "
            f"{folder / RESTORED_NAME} to begin with an empty gallery"
        )
    return GalleryUnavailable(f"there is no gallery at {folder}; ingest images into it first")


def _damaged(path: Path, found: str) -> GalleryUnavailable:
    return GalleryUnavailable(f"the gallery file {path} is damaged: it holds {found}; restore it from a copy")


def _condition(where: Where) -> tuple[str, list[object]]:
    """``where`` as an SQL condition and its values; a list travels as one JSON value, however long it is."""
    tests: list[tuple[str, object]] = [
        ("modality = ?", where.modality and str(where.modality)),
        ("captured_at >= ?", where.after and microseconds(where.after)),
        ("captured_at < ?", where.before and microseconds(where.before)),
        ("camera_id IN (SELECT value FROM json_each(?))", _listed(where.camera_ids)),
        ("camera_id NOT IN (SELECT value FROM json_each(?))", _listed(where.exclude_camera_ids)),
        ("person_id IN (SELECT value FROM json_each(?))", _listed(where.person_ids)),
        ("track_id IN (SELECT value FROM json_each(?))", _listed(where.track_ids)),
        ("image_id IN (SELECT value FROM json_each(?))", _listed(where.image_ids)),
    ]
    asked = [(test, value) for test, value in tests if value is not None]
    return " AND ".join(["TRUE", *(test for test, _ in asked)]), [value for _, value in asked]


def _record(columns: Sequence[Any]) -> ImageRecord:
    """What ``_columns`` wrote."""
    image_id, modality, camera_id, captured_at, person_id, track_id, source = columns
    return ImageRecord(image_id, modality, camera_id, _moment(captured_at), person_id, track_id, source)


def _listed(names: Collection[str] | None) -> str | None:
    return None if names is None else json.dumps(list(names))


def _columns(record: ImageRecord) -> tuple[object, ...]:
    """What ``_COLUMNS`` of ``record`` hold."""
    return (
        record.image_id,
        record.modality.value,
        record.camera_id,
        microseconds(record.captured_at),
        record.person_id,
        record.track_id,
        record.source,
    )


def microseconds(moment: datetime) -> int:
    """Since 1970 in UTC, exact."""
    return (moment - _EPOCH) // _MICROSECOND


def _moment(microseconds: int) -> datetime:
    return _EPOCH + microseconds * _MICROSECOND
