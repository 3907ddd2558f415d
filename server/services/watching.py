"""Each new image against each live watchlist, between encoding and acknowledgement."""

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Condition

import numpy as np
from numpy.typing import NDArray

from index.gallery import AddReport, Gallery
from index.records import ImageRecord
from server.audit import Action, AuditLog
from server.events import Events
from server.watch_store import WatchStore
from server.watchlists import Ending, Match, Watchlist

Holders = Callable[[], AbstractSet[str]]
"""Gives the names that hold a key now; what a holder made ends with the last of its keys."""

_HITS_A_RECORD = 500
_CHANGES = {Ending.TIME: "expire", Ending.MAKER: "end", Ending.HITS: "full"}


@dataclass(frozen=True, eq=False, slots=True)
class _Live:
    """The W watchlists that images are compared with.

    Attributes:
        watchlists: W of them.
        vectors: (W, D) float32 unit rows.
        thresholds: (W,) float64 cosines.
    """

    watchlists: list[Watchlist]
    vectors: NDArray[np.float32]
    thresholds: NDArray[np.float64]

    def matches(
        self, records: Sequence[ImageRecord], rows: NDArray[np.float32], holders: Holders
    ) -> list[Match]:
        """The matches of N records with their (N, D) unit rows."""
        if not self.watchlists:
            return []
        now, makers, scores = datetime.now(UTC), holders(), rows @ self.vectors.T
        return [
            Match.of(self.watchlists[column], records[row], float(scores[row, column]))
            for row, column in np.argwhere(scores >= self.thresholds)
            if self.watchlists[column].made_by in makers
            and self.watchlists[column].watches(records[row], now)
        ]


class Watching:
    """Compares what is ingested; no hit is lost, and none is told of before it is stored.

    What will be a hit is noted on the disk before the image goes into the gallery, and becomes a hit
    before the image is acknowledged. A kill between the two leaves the note: the next start finds the
    image in the gallery and makes the hit, or does not find it and forgets the note; then the image was
    not acknowledged, and whoever sends it again has it compared again. Nothing is written for a batch
    that matches nothing.

    Args:
        store: Of the watchlists.
        gallery: Where images go.
        audit: Has every hit before it is stored.
        events: Told of hits.
        encoder: Fingerprint of the encoder in use; watchlists of another are compared with nothing.
        holders: Those of whom a watchlist may be.
        max_hits: A watchlist that found so many ends: its threshold tells nobody from anybody.
    """

    def __init__(
        self,
        store: WatchStore,
        gallery: Gallery,
        audit: AuditLog,
        events: Events,
        encoder: str,
        holders: Holders,
        max_hits: int,
    ) -> None:
        self._store = store
        self._gallery = gallery
        self._audit = audit
        self._events = events
        self._encoder = encoder
        self._holders = holders
        self._max_hits = max_hits
        self._found = Counter({one: sum(by.values()) for one, by in store.hit_counts().items()})
        self._under_way: set[str] = set()
        self._changed = Condition()
        self._live = _Live([], np.empty((0, 0), np.float32), np.empty(0))
        self.refresh()

    def add(
        self,
        records: Sequence[ImageRecord],
        vectors: NDArray[np.float32],
        add: Callable[[], AddReport],
    ) -> AddReport:
        """Compare a batch and put it into the gallery; when this returns its hits survive a power cut.

        Args:
            records: N records.
            vectors: (N, D) float32 unit rows.
            add: Puts them into the gallery.

        Raises:
            StorageUnavailable: Hits or the audit log cannot be written, or the keys not read. The images
                may be stored; their hits are stored as soon as that can be done.
        """
        with self._batch() as batch:
            matches = self._live.matches(records, vectors, self._holders)
            if not matches:
                return add()
            self._store.expect(batch, matches)
            report = add()
            added = set(report.added)
            self._settle(batch, [match for match in matches if match.image_id in added])
            return report

    def refresh(self) -> None:
        """Take the watchlists as they now stand; returns when no image is compared with earlier ones."""
        mine = [one for one in self._store.living() if one.encoder == self._encoder]
        found = [(one, self._store.vector(one.watchlist_id)) for one in mine]
        kept = [(one, vector) for one, vector in found if vector is not None]
        live = _Live(
            [one for one, _ in kept],
            np.array([vector for _, vector in kept], np.float32),
            np.array([one.threshold for one, _ in kept]),
        )
        with self._changed:
            self._live = live
            earlier = set(self._under_way)
            self._changed.wait_for(lambda: not earlier & self._under_way)

    def recover(self) -> None:
        """Settle what kills and failures left: a note whose image is in the gallery becomes a hit.

        Raises:
            PecaError: The store, the gallery or the audit log cannot be used now; the notes stay.
        """
        with self._changed:  # a batch whose notes are seen here is under way, or was left
            noted = self._store.expected()
            left = {batch: matches for batch, matches in noted.items() if batch not in self._under_way}
        for batch, matches in left.items():
            stored = [one for one in matches if one.is_of(self._gallery.get(one.image_id))]
            self._settle(batch, [one for one in stored if not self._store.has_hit(one)])

    def expire(self, now: datetime) -> None:
        """Erase the images and vectors of watchlists whose time is over; their hits stay.

        So too where the maker holds no key any more, since nobody answers for such a watchlist, and where
        there are too many hits to look at.

        Raises:
            StorageUnavailable: The store or the audit log cannot be written, or the keys not read.
        """
        live, makers = self._store.living(), self._holders()
        over = [(one, why) for one in live if (why := self._ending(one, now, makers)) is not None]
        for watchlist, why in over:
            self._audit.append(
                Action.WATCHLIST,
                change=_CHANGES[why],
                watchlist_id=watchlist.watchlist_id,
                case=watchlist.case,
                made_by=watchlist.made_by,
            )
            self._store.end(replace(watchlist, ended_at=now, ended_for=why))
        if over:
            self.refresh()

    def tend(self) -> None:
        """``expire``, and ``recover``, which needs the gallery."""
        self.expire(datetime.now(UTC))
        self.recover()

    def _ending(self, watchlist: Watchlist, now: datetime, makers: AbstractSet[str]) -> Ending | None:
        if watchlist.expires_at <= now:
            return Ending.TIME
        if watchlist.made_by not in makers:
            return Ending.MAKER
        return Ending.HITS if self._found[watchlist.watchlist_id] >= self._max_hits else None

    @contextmanager
    def _batch(self) -> Iterator[str]:
        batch = uuid.uuid4().hex
        with self._changed:
            self._under_way.add(batch)
        try:
            yield batch
        finally:
            with self._changed:
                self._under_way.discard(batch)
                self._changed.notify_all()

    def _settle(self, batch: str, matches: Sequence[Match]) -> None:
        for start in range(0, len(matches), _HITS_A_RECORD):
            self._audit.append(
                Action.HIT,
                hits=[
                    {
                        "watchlist_id": one.watchlist_id,
                        "image_id": one.image_id,
                        "camera_id": one.camera_id,
                        "score": one.score,
                    }
                    for one in matches[start : start + _HITS_A_RECORD]
                ],
            )
        self._store.settle(batch, matches)
        if matches:
            with self._changed:
                self._found.update(one.watchlist_id for one in matches)
            self._events.publish()
