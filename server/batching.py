"""One encoder, many requests: what waits while it works is encoded together as soon as it is free.

Two batches are in the encoder at once, so that none of its processors stands still while one is gathered,
given back, or waits for its slowest part. A search that finds room goes there in its own thread: to hand
it to another and back would take longer than to gather a batch could save.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Condition, Thread

import numpy as np
from numpy.typing import NDArray

from exporter.runtime import Encoder
from index.errors import PecaError
from index.space import Modality
from server.errors import EncoderBusy, ServerStopping
from server.metrics import BATCH_IMAGES, ENCODER_ERRORS, Stage, observe
from server.patience import Patience, patience
from server.processors import step_back

MAX_BATCH = 8
WORKERS = 2
SEARCHED_LATELY_S = 2.0
INGEST_SLICE_S = 0.004
INGEST_TURN_S = 0.025
_STEPS_BACK = 5
"""Behind what brings images and takes vectors away, and before the decoding of ingest."""


class Lane(StrEnum):
    """Why an image waits, most urgent first: a person waits for a search."""

    SEARCH = "search"
    INGEST = "ingest"


@dataclass(eq=False, slots=True)
class _Job:
    images: NDArray[np.uint8]
    modality: Sequence[Modality]
    embeddings: NDArray[np.float32]
    left: int
    patience: Patience
    submitted: float = field(default_factory=time.perf_counter)
    done: Future[NDArray[np.float32]] = field(default_factory=Future)


_Waiting = tuple[_Job, int]


class EncodingQueue:
    """Encodes images for many threads with a few of its own; no timer, so a lone request never waits.

    A batch is of one lane, at most ``MAX_BATCH`` images. While people search, one worker at most is at
    ingest, in batches no larger than the encoder does in about ``INGEST_SLICE_S``. However many search,
    every ``INGEST_TURN_S`` half a batch of ingest has its turn, so that no camera waits for ever.

    Args:
        encoder: Safe to call from several threads; not closed here.
        max_waiting: Most images that are admitted to one lane at a time; a request that finds its lane
            empty always fits.
        workers: Most batches in the encoder at once.
    """

    def __init__(self, encoder: Encoder, max_waiting: int, workers: int = WORKERS) -> None:
        self._encoder = encoder
        self._max_waiting = max_waiting
        self._lanes: dict[Lane, deque[_Waiting]] = {lane: deque() for lane in Lane}
        self._admitted = Counter[Lane]()
        self._changed = Condition()
        self._closed = False
        self._searched_at = -math.inf
        self._passed_over_at = math.inf
        self._image_s = 0.0
        self._ingesting = 0
        self._room = workers
        self._workers = [Thread(target=self._work, name="peca-encoder", daemon=True) for _ in range(workers)]
        for worker in self._workers:
            worker.start()

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width in pixels of the images to hand in."""
        return self._encoder.image_hw

    @property
    def alive(self) -> bool:
        """Whether it takes work."""
        return all(worker.is_alive() for worker in self._workers) and not self._closed

    def waiting(self) -> dict[Lane, int]:
        """How many images are admitted to each lane and not yet encoded."""
        with self._changed:
            return {lane: self._admitted[lane] for lane in Lane}

    @contextmanager
    def admitted(self, count: int, lane: Lane) -> Iterator[None]:
        """Keep room for ``count`` images of one request, before any work is done for them.

        Raises:
            EncoderBusy: The lane is full.
            ServerStopping: The queue is closed.
        """
        with self._changed:
            self._check_open()
            held = self._admitted[lane]
            if held and held + count > self._max_waiting:
                raise EncoderBusy(
                    f"images of {lane} that wait for the encoder already: {held}; try again soon"
                )
            self._admitted[lane] += count
        try:
            yield
        finally:
            with self._changed:
                self._admitted[lane] -= count

    def submit(
        self, images: NDArray[np.uint8], modality: Sequence[Modality], lane: Lane
    ) -> Future[NDArray[np.float32]]:
        """Hand in admitted images; see ``encode`` for the arguments, and for what the future gives.

        Raises:
            ServerStopping: The queue is closed.
        """
        embeddings = np.empty((len(images), self._encoder.spec.dim), np.float32)
        job = _Job(images, modality, embeddings, len(images), patience())
        with self._changed:
            self._check_open()
            self._lanes[lane].extend((job, position) for position in range(len(images)))
            self._changed.notify(-(-len(images) // MAX_BATCH))
        return job.done

    def encode(
        self, images: NDArray[np.uint8], modality: Sequence[Modality], lane: Lane
    ) -> NDArray[np.float32]:
        """Embed images; returns when theirs are done.

        Args:
            images: (N, H, W, 3) uint8, of ``image_hw``; N at least 1.
            modality: N modalities.
            lane: Why.

        Returns:
            (N, D) float32 unit rows.

        Raises:
            EncoderBusy: The lane is full.
            DeadlinePassed: The request's time is over.
            ClientLeft: Nobody waits for the answer any more.
            ServerStopping: The queue is closed.
        """
        its = patience()
        its.check()
        with self.admitted(len(images), lane):
            if lane is Lane.INGEST or not self._enter(len(images)):
                return result_of(self.submit(images, modality, lane))
            try:
                observe(Stage.WAIT, 0)
                embeddings = self._timed(images, modality)
            finally:
                self._leave(lane)
            its.check()
            return embeddings

    def close(self) -> None:
        """Finish what waits, take no more, and end the workers."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _check_open(self) -> None:
        if self._closed:
            raise ServerStopping("the server is stopping; ask again when it is back")

    def _work(self) -> None:
        step_back(_STEPS_BACK)
        while (taken := self._next_batch()) is not None:
            lane, batch = taken
            try:
                if wanted := [waiting for waiting in batch if _is_wanted(waiting[0])]:
                    self._encode(wanted)
            finally:
                self._leave(lane)

    def _enter(self, count: int) -> bool:
        """Take a place in the encoder for one search, where one is free and no search was there before."""
        with self._changed:
            self._check_open()
            if not self._room or self._lanes[Lane.SEARCH] or self._is_overdue() or count > MAX_BATCH:
                return False
            self._room -= 1
            self._note_search()
            return True

    def _leave(self, lane: Lane) -> None:
        """Give back the place of a batch."""
        with self._changed:
            self._room += 1
            self._ingesting -= lane is Lane.INGEST
            if any(self._lanes.values()) or self._closed:
                self._changed.notify()

    def _next_batch(self) -> tuple[Lane, list[_Waiting]] | None:
        """The next images of the most urgent lane; ``None`` once the queue is closed and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._open_lane() or self._finished())
            lane = self._open_lane()
            if lane is None:
                self._changed.notify_all()
                return None
            waiting, most = self._lanes[lane], self._most(lane)
            self._room -= 1
            self._ingesting += lane is Lane.INGEST
            return lane, [waiting.popleft() for _ in range(min(most, len(waiting)))]

    def _open_lane(self) -> Lane | None:
        """The most urgent lane in which images wait that a further worker may take."""
        if not self._room:
            return None
        if self._lanes[Lane.SEARCH] and not self._is_overdue():
            return Lane.SEARCH
        if self._lanes[Lane.INGEST] and not (self._ingesting and self._is_searched()):
            return Lane.INGEST
        return None

    def _is_overdue(self) -> bool:
        """Whether images of ingest were passed over for so long that it is their turn."""
        return time.monotonic() - self._passed_over_at > INGEST_TURN_S and not self._ingesting

    def _note_search(self) -> None:
        """A search goes to the encoder, ahead of the images of ingest that wait."""
        self._searched_at = time.monotonic()
        if self._lanes[Lane.INGEST]:
            self._passed_over_at = min(self._passed_over_at, self._searched_at)

    def _finished(self) -> bool:
        """Whether no work is left, nor comes."""
        return self._closed and not any(self._lanes.values())

    def _is_searched(self) -> bool:
        """Whether people searched just now, so that ingest has to leave them room."""
        return time.monotonic() - self._searched_at < SEARCHED_LATELY_S

    def _most(self, lane: Lane) -> int:
        """How many images the next batch of ``lane`` may have."""
        if lane is Lane.SEARCH:
            self._note_search()
            return MAX_BATCH
        overdue, self._passed_over_at = self._is_overdue(), math.inf
        if overdue:
            return MAX_BATCH // 2
        if self._image_s and self._is_searched():
            return max(1, min(MAX_BATCH, int(INGEST_SLICE_S / self._image_s)))
        return MAX_BATCH

    def _encode(self, batch: list[_Waiting]) -> None:
        try:
            images = np.stack([job.images[position] for job, position in batch])
            began = time.perf_counter()
            rows = self._timed(images, [job.modality[position] for job, position in batch])
        except Exception as error:  # it belongs to the requests that wait, not to this thread
            for job in {job for job, _ in batch}:
                _fail(job, error)
            return
        for (job, position), row in zip(batch, rows, strict=True):
            job.embeddings[position] = row
        with self._changed:  # another worker may have the other images of a job
            for job, _ in batch:
                job.left -= 1
            finished = {job for job, _ in batch if job.left == 0}
        for job in finished:
            observe(Stage.WAIT, began - job.submitted)
            with suppress(InvalidStateError):
                job.done.set_result(job.embeddings)

    def _timed(self, images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
        """Embed one batch, and note what it took."""
        began = time.perf_counter()
        try:
            rows = self._encoder.encode(images, modality)
        except Exception:
            ENCODER_ERRORS.inc()
            raise
        took = time.perf_counter() - began
        self._image_s = took / len(images)
        BATCH_IMAGES.observe(len(images))
        observe(Stage.ENCODE, took)
        return rows


def result_of(done: Future[NDArray[np.float32]]) -> NDArray[np.float32]:
    """What a future of ``EncodingQueue.submit`` gives, within the patience of the request.

    Raises:
        DeadlinePassed: The request's time is over.
        ClientLeft: Nobody waits for the answer any more.
    """
    its = patience()
    try:
        return done.result(its.remaining_s())
    except TimeoutError:
        its.check()
        raise


def _is_wanted(job: _Job) -> bool:
    """Whether somebody waits for it; where nobody does, its request is told."""
    if job.done.done():
        return False
    try:
        job.patience.check()
    except PecaError as error:
        _fail(job, error)
        return False
    return True


def _fail(job: _Job, error: Exception) -> None:
    with suppress(InvalidStateError):  # it was told of another error before
        job.done.set_exception(error)
