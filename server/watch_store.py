"""Watchlists and their hits in one SQLite file of the data folder; a hit is stored before it is told of."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.files import make_folder, sync_folder, write_file
from server.errors import HitUnknown, StorageUnavailable, WatchlistUnknown
from server.watchlists import Delivery, HitVerdict, Match, WatchHit, Watchlist

FILE_NAME = "watchlists.sqlite3"
MOST_VERDICTS = 50
"""Of a hit, that are told with it; the audit log has all."""
_VECTOR_TYPE = np.dtype("<f4")
_LIVES = "json_extract(facts, '$.ended_at') IS NULL"
_MAKER = "json_extract(facts, '$.made_by')"
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS watchlists (
    position INTEGER PRIMARY KEY AUTOINCREMENT, watchlist_id TEXT NOT NULL UNIQUE,
    facts TEXT NOT NULL, secret TEXT, vector BLOB
) STRICT;
CREATE INDEX IF NOT EXISTS watchlists_that_live ON watchlists (position) WHERE {_LIVES};
CREATE INDEX IF NOT EXISTS watchlists_by_maker ON watchlists ({_MAKER}, position);
CREATE TABLE IF NOT EXISTS query_images (
    watchlist_id TEXT NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (watchlist_id, number)
) STRICT;
CREATE TABLE IF NOT EXISTS expected (
    batch TEXT NOT NULL, watchlist_id TEXT NOT NULL, image_id TEXT NOT NULL,
    camera_id TEXT NOT NULL, captured_at TEXT NOT NULL, modality TEXT NOT NULL, score REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS hits (
    event_id INTEGER PRIMARY KEY AUTOINCREMENT, watchlist_id TEXT NOT NULL, image_id TEXT NOT NULL,
    camera_id TEXT NOT NULL, captured_at TEXT NOT NULL, modality TEXT NOT NULL, score REAL NOT NULL,
    delivery TEXT, attempts INTEGER NOT NULL DEFAULT 0, next_at REAL NOT NULL DEFAULT 0, error TEXT
) STRICT;
DROP INDEX IF EXISTS hits_by_watchlist;
CREATE INDEX IF NOT EXISTS hits_with_state ON hits (watchlist_id, event_id, delivery);
CREATE INDEX IF NOT EXISTS hits_to_deliver ON hits (next_at) WHERE delivery = 'pending';
CREATE TABLE IF NOT EXISTS verdicts (
    position INTEGER PRIMARY KEY AUTOINCREMENT, watchlist_id TEXT NOT NULL, event_id INTEGER NOT NULL,
    verdict TEXT NOT NULL, note TEXT, key TEXT NOT NULL, at TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS verdicts_by_hit ON verdicts (event_id, position);
"""
_SEEN = "watchlist_id, image_id, camera_id, captured_at, modality, score"


class WatchStore:
    """The file; safe to call from several threads. What is erased is overwritten.

    Raises:
        StorageUnavailable: It cannot be opened; every method too, where it cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._lock = Lock()
        with _explained(self._path):
            make_folder(folder)
            if not self._path.exists():
                write_file(self._path, b"", folder)
                sync_folder(folder)
            self._database = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
            self._database.executescript(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;" + _SCHEMA
            )

    def add(
        self, watchlist: Watchlist, vector: NDArray[np.float32], images: Sequence[bytes], secret: str | None
    ) -> None:
        """Store a watchlist with its (D,) vector, its query images and the secret of its webhook."""
        facts = json.dumps(watchlist.as_json())
        stored = (watchlist.watchlist_id, facts, secret, vector.astype(_VECTOR_TYPE).tobytes())
        rows = [(watchlist.watchlist_id, number, data) for number, data in enumerate(images)]
        with self._changing() as database:
            database.execute(
                "INSERT INTO watchlists (watchlist_id, facts, secret, vector) VALUES (?, ?, ?, ?)", stored
            )
            database.executemany("INSERT INTO query_images VALUES (?, ?, ?)", rows)

    def living(self) -> list[Watchlist]:
        """Every watchlist that has not ended, newest first; of those that have there may be any number."""
        rows = self._read(f"SELECT facts FROM watchlists WHERE {_LIVES} ORDER BY position DESC")  # noqa: S608
        return [Watchlist.from_json(json.loads(facts)) for (facts,) in rows]

    def ids_of(self, made_by: str) -> list[str]:
        """Of the watchlists of a holder."""
        rows = self._read(f"SELECT watchlist_id FROM watchlists WHERE {_MAKER} = ?", made_by)  # noqa: S608
        return [watchlist_id for (watchlist_id,) in rows]

    def page(self, made_by: str | None, below: int | None, limit: int) -> list[tuple[int, Watchlist]]:
        """Watchlists with their positions, newest first.

        Args:
            made_by: Only of this holder; ``None`` for everyone's.
            below: Only of a lower position.
            limit: Most of them.
        """
        conditions = {f"{_MAKER} = ?": made_by, "position < ?": below}
        given = {condition: value for condition, value in conditions.items() if value is not None}
        rows = self._read(
            f"SELECT position, facts FROM watchlists WHERE {' AND '.join(['1', *given])}"  # noqa: S608
            " ORDER BY position DESC LIMIT ?",
            *given.values(),
            limit,
        )
        return [(position, Watchlist.from_json(json.loads(facts))) for position, facts in rows]

    def get(self, watchlist_id: str) -> Watchlist:
        """One watchlist.

        Raises:
            WatchlistUnknown: There is none.
        """
        found = self._read("SELECT facts FROM watchlists WHERE watchlist_id = ?", watchlist_id)
        if not found:
            raise WatchlistUnknown(f"there is no watchlist {watchlist_id!r}")
        return Watchlist.from_json(json.loads(found[0][0]))

    def vector(self, watchlist_id: str) -> NDArray[np.float32] | None:
        """(D,) the unit vector of a watchlist; ``None`` where it has ended or there is none."""
        found = self._read("SELECT vector FROM watchlists WHERE watchlist_id = ?", watchlist_id)
        return np.frombuffer(found[0][0], _VECTOR_TYPE) if found and found[0][0] is not None else None

    def image(self, watchlist_id: str, number: int) -> bytes | None:
        """A query image's file, counted from 0, or ``None``."""
        found = self._read(
            "SELECT data FROM query_images WHERE watchlist_id = ? AND number = ?", watchlist_id, number
        )
        return found[0][0] if found else None

    def end(self, ended: Watchlist) -> None:
        """Erase vector and query images of a watchlist that ended; its facts and hits stay."""
        with self._changing(erasing=True) as database:
            database.execute(
                "UPDATE watchlists SET facts = ?, vector = NULL WHERE watchlist_id = ?",
                (json.dumps(ended.as_json()), ended.watchlist_id),
            )
            database.execute("DELETE FROM query_images WHERE watchlist_id = ?", (ended.watchlist_id,))

    def remove(self, watchlist_id: str) -> None:
        """Erase a watchlist with all that belongs to it."""
        with self._changing(erasing=True) as database:
            for table in ("watchlists", "query_images", "expected", "hits", "verdicts"):
                database.execute(f"DELETE FROM {table} WHERE watchlist_id = ?", (watchlist_id,))  # noqa: S608

    def expect(self, batch: str, matches: Sequence[Match]) -> None:
        """Note what will be hits once the images of a batch are in the gallery; on disk when this returns."""
        with self._changing() as database:
            rows = [(batch, *match.row()) for match in matches]
            database.executemany("INSERT INTO expected VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def settle(self, batch: str, matches: Sequence[Match]) -> None:
        """Make hits of these matches, and forget what was expected of their batch, in one step.

        Of a watchlist that was removed meanwhile nothing is stored.
        """
        with self._changing() as database:
            database.executemany(
                f"INSERT INTO hits ({_SEEN}, delivery) SELECT ?, ?, ?, ?, ?, ?,"  # noqa: S608
                " CASE WHEN json_extract(facts, '$.webhook_url') IS NULL THEN NULL ELSE 'pending' END"
                " FROM watchlists WHERE watchlist_id = ?",
                [(*match.row(), match.watchlist_id) for match in matches],
            )
            database.execute("DELETE FROM expected WHERE batch = ?", (batch,))

    def expected(self) -> dict[str, list[Match]]:
        """What was noted by ``expect`` and not settled, by batch."""
        found: dict[str, list[Match]] = {}
        for batch, *row in self._read(f"SELECT batch, {_SEEN} FROM expected ORDER BY rowid"):  # noqa: S608
            found.setdefault(batch, []).append(Match.read(row))
        return found

    def has_hit(self, match: Match) -> bool:
        """Whether this image is a hit of this watchlist already."""
        question = "SELECT 1 FROM hits WHERE watchlist_id = ? AND image_id = ? LIMIT 1"
        return bool(self._read(question, match.watchlist_id, match.image_id))

    def newest(self) -> int:
        """The highest number that a hit ever had; 0 before the first."""
        found = self._read("SELECT seq FROM sqlite_sequence WHERE name = 'hits'")
        return int(found[0][0]) if found else 0

    def hits_after(self, event_id: int, limit: int) -> list[WatchHit]:
        """Hits of all watchlists with a higher number, oldest first."""
        return self._hits("event_id > ? ORDER BY event_id LIMIT ?", event_id, limit)

    def hits_of(
        self,
        watchlist_ids: Sequence[str] | None,
        below: int | None,
        limit: int,
        delivery: Delivery | None = None,
    ) -> list[WatchHit]:
        """Hits of some watchlists with their verdicts, newest first.

        Args:
            watchlist_ids: Of which; ``None`` for all.
            below: Only hits of a lower event id.
            limit: Most hits.
            delivery: Only hits whose webhook is in this state.
        """
        conditions: dict[str, object] = {"event_id < ?": below, "delivery = ?": delivery}
        if watchlist_ids is not None and len(watchlist_ids) == 1:  # by its index, which is in order
            conditions["watchlist_id = ?"] = watchlist_ids[0]
        elif watchlist_ids is not None:
            conditions["watchlist_id IN (SELECT value FROM json_each(?))"] = json.dumps(watchlist_ids)
        given = {condition: value for condition, value in conditions.items() if value is not None}
        found = self._hits(
            f"{' AND '.join(['1', *given])} ORDER BY event_id DESC LIMIT ?", *given.values(), limit
        )
        verdicts = self._verdicts([hit.event_id for hit in found])
        return [replace(hit, verdicts=tuple(verdicts.get(hit.event_id, ()))) for hit in found]

    def hit(self, watchlist_id: str, event_id: int) -> WatchHit:
        """One hit of a watchlist with its verdicts.

        Raises:
            HitUnknown: There is none.
        """
        found = self.hits_of([watchlist_id], event_id + 1, 1)
        if not found or found[0].event_id != event_id:
            raise HitUnknown(f"watchlist {watchlist_id} has no hit {event_id}")
        return found[0]

    def judge(self, hit: WatchHit, given: HitVerdict) -> None:
        """Store a verdict on a hit beside those that there are; nothing where the hit was removed."""
        told = (given.verdict, given.note, given.key, given.at.isoformat())
        with self._changing() as database:
            database.execute(
                "INSERT INTO verdicts (watchlist_id, event_id, verdict, note, key, at)"
                " SELECT watchlist_id, event_id, ?, ?, ?, ? FROM hits WHERE event_id = ?",
                (*told, hit.event_id),
            )

    def hit_counts(self, watchlist_ids: Sequence[str] | None = None) -> dict[str, dict[str, int]]:
        """By watchlist, how many hits there are, by state of their webhook (``none`` without one).

        Args:
            watchlist_ids: Of which; ``None`` for all.
        """
        only = "" if watchlist_ids is None else "WHERE watchlist_id IN (SELECT value FROM json_each(?))"
        # In one pass over an index, by columns: to group by the state too would sort every hit.
        states = "".join(f", count(*) FILTER (WHERE delivery = '{state}')" for state in Delivery)
        rows = self._read(
            f"SELECT watchlist_id, count(*) - count(delivery){states} FROM hits {only} GROUP BY 1",  # noqa: S608
            *([] if watchlist_ids is None else [json.dumps(watchlist_ids)]),
        )
        return {
            watchlist_id: {
                state: count for state, count in zip(("none", *Delivery), counts, strict=True) if count
            }
            for watchlist_id, *counts in rows
        }

    def due(self, now: float, limit: int) -> list[tuple[WatchHit, str]]:
        """Hits whose webhook is to be called by ``now`` (epoch, s), oldest first, with the secret."""
        hits = self._hits(
            # By that index: the planner would go through all hits, which are in the order wanted.
            "event_id IN (SELECT event_id FROM hits INDEXED BY hits_to_deliver"
            " WHERE delivery = 'pending' AND next_at <= ?) ORDER BY event_id LIMIT ?",
            now,
            limit,
        )
        secrets = dict(self._read("SELECT watchlist_id, secret FROM watchlists WHERE secret IS NOT NULL"))
        return [(hit, secrets.get(hit.match.watchlist_id, "")) for hit in hits]

    def next_due(self) -> float | None:
        """When a webhook is to be called next (epoch, s); ``None`` where none is."""
        (found,) = self._read("SELECT min(next_at) FROM hits WHERE delivery = 'pending'")[0]
        return None if found is None else float(found)

    def record_delivery(
        self, event_id: int, state: Delivery, error: str | None, next_at: float, attempts: int = 1
    ) -> None:
        """Write down what became of a hit's webhook in so many attempts, and when the next is (epoch, s)."""
        with self._changing() as database:
            database.execute(
                "UPDATE hits SET delivery = ?, attempts = attempts + ?, error = ?, next_at = ?"
                " WHERE event_id = ?",
                (state, attempts, error, next_at, event_id),
            )

    def revive(self, watchlist_id: str, event_ids: Sequence[int] | None) -> int:
        """Have the webhooks of hits that were given up called again, with all attempts anew.

        Args:
            watchlist_id: Of the watchlist.
            event_ids: Only of these hits; ``None`` for all.

        Returns:
            How many there are.
        """
        only = "" if event_ids is None else " AND event_id IN (SELECT value FROM json_each(?))"
        with self._changing() as database:
            changed = database.execute(
                "UPDATE hits SET delivery = 'pending', attempts = 0, error = NULL, next_at = 0"  # noqa: S608
                f" WHERE watchlist_id = ? AND delivery = 'dead'{only}",
                (watchlist_id, *([] if event_ids is None else [json.dumps(event_ids)])),
            )
            return changed.rowcount

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._database.close()

    def _hits(self, condition: str, *values: object) -> list[WatchHit]:
        columns = ", ".join(f"hits.{name.strip()}" for name in _SEEN.split(","))
        rows = self._read(
            f"SELECT event_id, delivery, attempts, error, facts, {columns}"  # noqa: S608
            f" FROM hits JOIN watchlists USING (watchlist_id) WHERE {condition}",
            *values,
        )
        return [
            WatchHit(
                event_id,
                Match.read(seen),
                Watchlist.from_json(json.loads(facts)),
                None if delivery is None else Delivery(delivery),
                attempts,
                error,
            )
            for event_id, delivery, attempts, error, facts, *seen in rows
        ]

    def _verdicts(self, event_ids: Sequence[int]) -> dict[int, list[HitVerdict]]:
        """The newest verdicts on some hits, oldest first, by hit."""
        found: dict[int, list[HitVerdict]] = {}
        for event_id, verdict, note, key, at in self._read(
            "SELECT event_id, verdict, note, key, at FROM (SELECT *, row_number() OVER"
            " (PARTITION BY event_id ORDER BY position DESC) AS back FROM verdicts"
            " WHERE event_id IN (SELECT value FROM json_each(?))) WHERE back <= ? ORDER BY position",
            json.dumps(event_ids),
            MOST_VERDICTS,
        ):
            given = HitVerdict(verdict, note, key, datetime.fromisoformat(at))
            found.setdefault(event_id, []).append(given)
        return found

    def _read(self, statement: str, *values: object) -> list[Any]:
        with _explained(self._path), self._lock:
            return self._database.execute(statement, values).fetchall()

    @contextmanager
    def _changing(self, *, erasing: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction; on disk at its end, and after ``erasing`` nowhere else."""
        with _explained(self._path), self._lock:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
            if erasing:
                self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise StorageUnavailable(f"the watchlists in {path} cannot be read or written: {error}") from error
