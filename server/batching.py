"""One encoder, many requests: what waits while it works is encoded together as soon as it is free."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Condition, Thread

import numpy as np
from numpy.typing import NDArray

from exporter.runtime import Encoder
from index.space import Modality
from server.errors import EncoderBusy, ServerStopping

MAX_BATCH = 16


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
    done: Future[NDArray[np.float32]] = field(default_factory=Future)


_Waiting = tuple[_Job, int]


class EncodingQueue:
    """Encodes images for many threads with one worker thread; no timer, so a lone request never waits.

    A batch is of one lane, at most ``MAX_BATCH`` images: a search waits at most for one batch of an ingest.

    Args:
        encoder: Not closed here.
        max_waiting: Most images that wait in one lane; a request that finds its lane empty always fits.
    """

    def __init__(self, encoder: Encoder, max_waiting: int) -> None:
        self._encoder = encoder
        self._max_waiting = max_waiting
        self._lanes: dict[Lane, deque[_Waiting]] = {lane: deque() for lane in Lane}
        self._changed = Condition()
        self._closed = False
        self._worker = Thread(target=self._work, name="peca-encoder", daemon=True)
        self._worker.start()

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width in pixels of the images to hand in."""
        return self._encoder.image_hw

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
            ServerStopping: The queue is closed.
        """
        job = _Job(images, modality, np.empty((len(images), self._encoder.spec.dim), np.float32), len(images))
        with self._changed:
            if self._closed:
                raise ServerStopping("the server is stopping; ask again when it is back")
            waiting = self._lanes[lane]
            if waiting and len(waiting) + len(images) > self._max_waiting:
                raise EncoderBusy(
                    f"{len(waiting)} images of {lane} already wait for the encoder; try again soon"
                )
            waiting.extend((job, position) for position in range(len(images)))
            self._changed.notify()
        return job.done.result()

    def close(self) -> None:
        """Finish what waits, take no more, and end the worker."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            self._encode(batch)

    def _next_batch(self) -> list[_Waiting]:
        """The next images of the most urgent lane; none once the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or any(self._lanes.values()))
            lane = next((lane for lane in self._lanes.values() if lane), deque())
            return [lane.popleft() for _ in range(min(MAX_BATCH, len(lane)))]

    def _encode(self, batch: list[_Waiting]) -> None:
        images = np.stack([job.images[position] for job, position in batch])
        try:
            rows = self._encoder.encode(images, [job.modality[position] for job, position in batch])
        except Exception as error:  # it belongs to the requests that wait, not to this thread
            for job in {job for job, _ in batch if not job.done.done()}:
                job.done.set_exception(error)
            return
        for (job, position), row in zip(batch, rows, strict=True):
            job.embeddings[position] = row
            job.left -= 1
            if job.left == 0 and not job.done.done():
                job.done.set_result(job.embeddings)
