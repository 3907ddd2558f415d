"""One encoder, many requests: what waits while it works is encoded together as soon as it is free."""

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
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

MAX_BATCH = 16
SEARCHED_LATELY_S = 2.0
INGEST_SLICE_S = 0.004


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
    """Encodes images for many threads with one worker thread; no timer, so a lone request never waits.

    A batch is of one lane, at most ``MAX_BATCH`` images. While people search, a batch of ingest is no
    larger than the encoder does in about ``INGEST_SLICE_S``, since a search waits for the one at work.

    Args:
        encoder: Not closed here.
        max_waiting: Most images that are admitted to one lane at a time; a request that finds its lane
            empty always fits.
    """

    def __init__(self, encoder: Encoder, max_waiting: int) -> None:
        self._encoder = encoder
        self._max_waiting = max_waiting
        self._lanes: dict[Lane, deque[_Waiting]] = {lane: deque() for lane in Lane}
        self._admitted = Counter[Lane]()
        self._changed = Condition()
        self._closed = False
        self._searched_at = -SEARCHED_LATELY_S
        self._image_s = 0.0
        self._worker = Thread(target=self._work, name="peca-encoder", daemon=True)
        self._worker.start()

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width in pixels of the images to hand in."""
        return self._encoder.image_hw

    @property
    def alive(self) -> bool:
        """Whether it takes work."""
        return self._worker.is_alive() and not self._closed

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
                raise EncoderBusy(f"{held} images of {lane} already wait for the encoder; try again soon")
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
            self._changed.notify()
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
        with self.admitted(len(images), lane):
            return result_of(self.submit(images, modality, lane))

    def close(self) -> None:
        """Finish what waits, take no more, and end the worker."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    def _check_open(self) -> None:
        if self._closed:
            raise ServerStopping("the server is stopping; ask again when it is back")

    def _work(self) -> None:
        while batch := self._next_batch():
            if wanted := [waiting for waiting in batch if _is_wanted(waiting[0])]:
                self._encode(wanted)

    def _next_batch(self) -> list[_Waiting]:
        """The next images of the most urgent lane; none once the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or any(self._lanes.values()))
            lane = next((lane for lane, waiting in self._lanes.items() if waiting), Lane.SEARCH)
            waiting, most = self._lanes[lane], self._most(lane)
            return [waiting.popleft() for _ in range(min(most, len(waiting)))]

    def _most(self, lane: Lane) -> int:
        """How many images the next batch of ``lane`` may have."""
        now = time.monotonic()
        if lane is Lane.SEARCH:
            self._searched_at = now
        elif self._image_s and now - self._searched_at < SEARCHED_LATELY_S:
            return max(1, min(MAX_BATCH, int(INGEST_SLICE_S / self._image_s)))
        return MAX_BATCH

    def _encode(self, batch: list[_Waiting]) -> None:
        images = np.stack([job.images[position] for job, position in batch])
        began = time.perf_counter()
        try:
            rows = self._encoder.encode(images, [job.modality[position] for job, position in batch])
        except Exception as error:  # it belongs to the requests that wait, not to this thread
            ENCODER_ERRORS.inc()
            for job in {job for job, _ in batch}:
                _fail(job, error)
            return
        took = time.perf_counter() - began
        self._image_s = took / len(batch)
        BATCH_IMAGES.observe(len(batch))
        observe(Stage.ENCODE, took)
        for (job, position), row in zip(batch, rows, strict=True):
            job.embeddings[position] = row
            job.left -= 1
            if job.left == 0 and not job.done.done():
                observe(Stage.WAIT, began - job.submitted)
                job.done.set_result(job.embeddings)


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
    if not job.done.done():
        job.done.set_exception(error)
