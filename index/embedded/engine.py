"""The embedded gallery: FAISS in memory over what SQLite holds on the disk."""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from threading import Event, Lock, RLock, Thread
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from index.embedded.ann import ImageGone, Limits, one_thread, search
from index.embedded.codec import Codec
from index.embedded.columns import RowFilter
from index.embedded.device import Accelerator
from index.embedded.growing import GrowingIndex
from index.embedded.index_file import drop_index_file, read_index_file, write_index_file
from index.embedded.store import Store, microseconds
from index.errors import GalleryUnavailable, IndexFileUnusable
from index.gallery import AddReport, check_batch, check_page, check_search
from index.records import ANY, CameraSummary, Hit, ImageRecord, Where
from index.scoring import SAME_VECTOR, cosine
from index.space import EmbeddingSpec

log = logging.getLogger(__name__)

_WORTH_SAVING = 10_000
"""From so many changed vectors on, an index file saves a start more time than it costs an end."""

_WORTH_PAUSING = 1 << 17
"""From so many changed vectors on, and half of all, the index file is written while the gallery serves."""

_REST = 20
"""An index file is written again after so many times as long as the last took: each removal spoils it."""

_AGAIN_S = 60.0
"""What failed beside the searches is tried again after so long."""

_PURGE_S = 2.0
"""After the first of some removals SQLite's write-ahead file is emptied, once for all of them."""

_PURGE_WAIT_S = 0.05
"""So long writes wait for readers then; one that stays open is waited for at the next try."""

_TIDY_S = 60.0
"""Small segments are joined at most so often, since what is joined with them is moved each time."""

_PAGES = 16
"""So many pages of SQLite's are taken in before they are coded together."""


class EmbeddedGallery:
    """A ``Gallery`` of one machine: durable in SQLite, searched in memory, written by one process.

    Args:
        folder: Holds ``gallery.sqlite3`` and, once the gallery is large, ``index.faiss``; made where it
            is not.
        spec: Of the encoder in use.
        read_only: Open beside a running writer, and see the gallery as it was at that moment.
        limits: From which sizes on the vectors are held as codes, and searched as such.
        device: Searches the codes; ``None`` is the processor.

    Attributes:
        why_processor: Why the processor searches the codes, as it is told to people, where no device does.

    Raises:
        EncoderMismatch: The gallery holds vectors of another encoder.
        GalleryUnavailable: It cannot be read or written, another process writes it, or ``read_only``
            was asked where no gallery is.
    """

    def __init__(
        self,
        folder: Path,
        spec: EmbeddingSpec,
        *,
        read_only: bool = False,
        limits: Limits | None = None,
        device: Accelerator | None = None,
    ) -> None:
        self.spec = spec
        self.why_processor: str | None = None
        self._device = device
        self._folder = folder
        self._closed = False
        self._saving = Lock()
        self._save_from = 0.0
        self._removals = 0
        self._unsaved = 0
        self._purge_from = math.inf
        self._tidy_from = monotonic() + _TIDY_S
        self._writing = RLock()
        self._removing = Lock()
        self._work = Event()
        self._resting = read_only
        self._ending = Event()
        self._read_only = read_only
        self._store = Store(folder, spec, read_only=read_only)
        with self._closing_on_failure():
            self._index = GrowingIndex(spec.dim, self._store.rows, limits or Limits(), device)
            self._load()
        self._builder = Thread(target=self._build, name="peca-index", daemon=True)
        ahead = self._store.read_ahead  # the first searches need not wait for the disk
        self._ahead = Thread(target=ahead, args=(self._ending,), name="peca-read-ahead", daemon=True)
        if not read_only:
            self._work.set()
            self._builder.start()
            self._ahead.start()

    @property
    def device(self) -> str:
        """What searches the codes now, as it is told to people."""
        return "cpu" if self._device is None or self._device.failure else self._device.name

    @property
    def device_reason(self) -> str | None:
        """Why that is the processor; ``None`` where it is a device, or nobody asked."""
        return self.why_processor if self._device is None else self._device.failure

    @property
    def settled(self) -> bool:
        """Whether all that came is coded; to join small segments and to save the index may come later."""
        return not self._work.is_set() and self._resting

    def add(self, records: Sequence[ImageRecord], vectors: NDArray[np.float32]) -> AddReport:
        """See ``Gallery.add``."""
        rows = check_batch(records, vectors, self.spec)
        added, unchanged, conflicting = [], [], []
        with self._writing:
            self._check_open()
            stored = self._store.find([record.image_id for record in records])
            for i, record in enumerate(records):
                if record.image_id not in stored:
                    added.append(i)
                elif _same(stored[record.image_id], (record, rows[i])):
                    unchanged.append(i)
                else:
                    conflicting.append(i)
            images = self._store.insert([records[i] for i in added], rows[added])
            with self._closing_on_failure():
                self._index.append(images, rows[added])
            self._unsaved += len(added)
        self._work.set()
        ids = [[records[i].image_id for i in group] for group in (added, unchanged, conflicting)]
        return AddReport(*map(tuple, ids))

    def search(
        self, queries: NDArray[np.float32], k: int, where: Where = ANY, *, exact: bool = False
    ) -> list[list[Hit]]:
        """See ``Gallery.search``."""
        units = check_search(queries, k, self.spec)
        try:
            return self._search(units, k, where, exact)
        except ImageGone:
            with self._removing:  # nothing goes while this is held
                return self._search(units, k, where, exact)

    def _search(self, units: NDArray[np.float32], k: int, where: Where, exact: bool) -> list[list[Hit]]:
        self._check_open()
        found = search(
            self._index.view,
            units,
            k,
            self._row_filter(where),
            exact=exact,
            fetch=self._store.rows,
            limits=self._index.limits,
        )
        records = self._store.records({position for row in found for position, _ in row})
        try:
            return [[Hit(records[position], score) for position, score in row] for row in found]
        except KeyError:
            raise ImageGone from None

    def _row_filter(self, where: Where) -> RowFilter | None:
        if where == ANY:
            return None
        named = where.image_ids is not None or where.track_ids is not None
        return RowFilter(
            where,
            self._index.vocabulary,
            None if where.after is None else microseconds(where.after),
            None if where.before is None else microseconds(where.before),
            np.sort(self._store.positions(where)) if named else None,
        )

    def vectors(self, where: Where = ANY) -> Iterator[tuple[list[ImageRecord], NDArray[np.float32]]]:
        """See ``Gallery.vectors``."""
        self._check_open()
        for page in self._store.pages(where):
            yield page
            self._check_open()

    def records(self, where: Where = ANY) -> Iterator[list[ImageRecord]]:
        """See ``Gallery.records``."""
        self._check_open()
        for page in self._store.record_pages(where):
            yield page
            self._check_open()

    def page(self, where: Where, limit: int, before: tuple[datetime, str] | None = None) -> list[ImageRecord]:
        """See ``Gallery.page``."""
        last = check_page(limit, before)
        self._check_open()
        return self._store.newest(where, limit, last)

    def get(self, image_id: str) -> ImageRecord | None:
        """See ``Gallery.get``."""
        self._check_open()
        stored = self._store.find([image_id]).get(image_id)
        return None if stored is None else stored[0]

    def remove(self, where: Where) -> int:
        """See ``Gallery.remove``."""
        if not self.count(where):
            return 0
        self._removals += 1  # an index file that is being written is given up
        with self._saving, self._writing:
            self._check_open()
            positions = self._store.positions(where)
            if len(positions):
                # The file holds what is removed, which may stay in no file.
                self._drop_index_file()
                self._unsaved = self._index.view.count
            with self._removing:
                self._store.delete(positions)
                with self._closing_on_failure():
                    self._index.remove(positions)
            self._purge_from = min(self._purge_from, monotonic() + _PURGE_S)
        self._work.set()
        return len(positions)

    def count(self, where: Where = ANY) -> int:
        """See ``Gallery.count``."""
        self._check_open()
        return self._store.count(where)

    def cameras(self, where: Where = ANY) -> list[CameraSummary]:
        """See ``Gallery.cameras``."""
        self._check_open()
        return self._store.cameras(where)

    def close(self) -> None:
        """See ``Gallery.close``."""
        closed, self._closed = self._closed, True
        self._index.stopping = True
        self._ending.set()
        self._work.set()
        for thread in (self._builder, self._ahead):
            if thread.is_alive():
                thread.join()
        with self._saving, self._writing, self._removing:
            try:
                if not closed and not self._read_only and self._unsaved >= _WORTH_SAVING:
                    self._save()
            finally:
                self._store.close()

    def _load(self) -> None:
        """Take in what SQLite holds, and count how many images of it are not so in the index file."""
        try:
            saved = read_index_file(self._folder, self.spec, self._store.index_token())
        except IndexFileUnusable as error:
            log.warning("%s; the index is made anew from SQLite", error)
            self._drop_index_file()
            saved = None
        if saved is not None:
            self._index.take(*saved)
        held = self._index.view.positions
        left = np.setdiff1d(held, self._store.positions(ANY), assume_unique=True)
        if len(left):
            self._index.remove(left)
            self._drop_index_file()
        for number, (images, rows) in enumerate(self._store.load(after=int(held.max(initial=0)))):
            self._index.append(images, rows)
            if number % _PAGES == _PAGES - 1:
                self._code()
        self._code()
        self._unsaved = self._index.view.count - (0 if len(left) else len(held))
        while self._index.tidy():
            pass
        self._count_remade(self._index.codec, 0)

    def _code(self) -> None:
        """Code what was taken in; better codes are learnt later, beside the searches."""
        while self._index.take_in():
            pass

    def _build(self) -> None:
        """Code what comes, in a thread of its own, until the gallery is closed."""
        one_thread()
        with suppress(GalleryUnavailable):  # who reads it next is told
            self._store.warm()
        pause: float | None = None
        while not self._closed:
            self._work.wait(pause)
            self._resting = False
            self._work.clear()
            try:
                pauses = self._code_and_save(), self._purge(), self._tidy()
                pause = min((one for one in pauses if one is not None), default=None)
                self._resting = True
            except Exception:
                # Searches stay right meanwhile, and grow slower as the gallery grows.
                log.exception("the gallery %s cannot code its new vectors; it tries again", self._folder)
                self._ending.wait(_AGAIN_S)
                pause = 0.0

    def _code_and_save(self) -> float | None:
        """Do what there is to do; returns after how many seconds there is more, if nothing comes."""
        codec, remade = self._index.codec, self._index.remade
        try:
            while not self._closed and self._index.step():
                pass
        finally:
            self._count_remade(codec, remade)
        with self._saving:
            if self._closed or self._unsaved < max(_WORTH_PAUSING, self._index.view.count // 2):
                return None
            begun = monotonic()
            if begun >= self._save_from:
                saved = self._save()
                ended = monotonic()
                self._save_from = ended + (_REST * (ended - begun) if saved else _AGAIN_S)
            return max(self._save_from - begun, 0.0)

    def _purge(self) -> float | None:
        """Empty SQLite's write-ahead file where it may hold what was removed; returns when to come again."""
        with self._writing:
            if self._closed or self._purge_from == math.inf:
                return None
            if (early := self._purge_from - monotonic()) > 0:
                return early
            try:
                done = self._store.purge(_PURGE_WAIT_S)
            except GalleryUnavailable as error:
                log.warning("%s; what was removed may still stand in the write-ahead file", error)
                done = False
            self._purge_from = math.inf if done else monotonic() + _AGAIN_S
            return None if done else _AGAIN_S

    def _tidy(self) -> float | None:
        """Join small segments, once in a while; returns when to come again."""
        if self._closed or not self._index.untidy:
            return None
        began = monotonic()
        if (early := self._tidy_from - began) > 0:
            return early
        while not self._closed and self._index.tidy():
            pass
        ended = monotonic()
        self._tidy_from = ended + max(_TIDY_S, _REST * (ended - began))
        return None

    def _count_remade(self, codec: Codec | None, before: int) -> None:
        """Count as unsaved what was made anew since ``codec`` was the last and ``remade`` stood so."""
        with self._writing:
            count = self._index.view.count
            changed = self._index.remade - before if self._index.codec is codec else count
            self._unsaved = min(self._unsaved + changed, count)

    def _save(self) -> bool:
        """Write the index file; a gallery without one is as good, but starts more slowly."""
        with self._writing:
            view, changed, removals = self._index.view, self._unsaved, self._removals
        try:
            token = write_index_file(
                self._folder, self.spec, view, self._index.vocabulary, lambda: self._removals != removals
            )
            if token is None:
                return False
            with self._writing:
                self._store.set_index_token(token)
                self._unsaved -= changed
        except GalleryUnavailable as error:
            log.warning("%s; the next start reads every vector from SQLite", error)
            return False
        return True

    def _drop_index_file(self) -> None:
        if not self._read_only:
            drop_index_file(self._folder)

    @contextmanager
    def _closing_on_failure(self) -> Iterator[None]:
        """Close the gallery if the index could not follow the disk; opening it again rebuilds the index."""
        try:
            yield
        except BaseException:
            self._closed = True
            self._store.close()
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise GalleryUnavailable(f"the gallery {self._folder} is closed; open it again")


def _same(
    stored: tuple[ImageRecord, NDArray[np.float32]], offered: tuple[ImageRecord, NDArray[np.float32]]
) -> bool:
    return stored[0] == offered[0] and bool(cosine(offered[1], stored[1][np.newaxis])[0] >= SAME_VECTOR)
