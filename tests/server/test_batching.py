"""One encoder for many requests."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.runtime import GreyPixelEncoder
from index.space import Modality
from server.batching import INGEST_TURN_S, MAX_BATCH, EncodingQueue, Lane
from server.errors import ClientLeft, EncoderBusy, ServerStopping
from server.patience import Patience


class HeldEncoder(GreyPixelEncoder):
    """Notes its batches; each waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.entered = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def encode(self, images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
        self.batches.append(int(images[0, 0, 0, 0]))
        self.batches.append(len(images))
        self.entered.release()
        assert self.go.acquire(timeout=10)
        return super().encode(images, modality)


def images(count: int, mark: int) -> NDArray[np.uint8]:
    made = np.random.default_rng(mark).integers(0, 255, (count, 32, 16, 3), dtype=np.uint8)
    made[:, 0, 0, 0] = mark
    return made


@pytest.fixture
def held() -> Iterator[tuple[HeldEncoder, EncodingQueue, ThreadPoolExecutor]]:
    encoder = HeldEncoder()
    queue = EncodingQueue(encoder, max_waiting=41, workers=1)
    with ThreadPoolExecutor(16) as callers:
        yield encoder, queue, callers
        encoder.go.release(100)
    queue.close()


def waiting(queue: EncodingQueue, lane: Lane, count: int) -> None:
    for _ in range(1000):
        if len(queue._lanes[lane]) == count:
            return
        threading.Event().wait(0.005)
    raise AssertionError(f"expected {count} images of {lane} to wait")


def test_searches_are_encoded_together_and_ahead_of_ingest(held) -> None:
    encoder, queue, callers = held
    first = callers.submit(queue.encode, images(1, 1), [Modality.VISIBLE], Lane.INGEST)
    assert encoder.entered.acquire(timeout=10)
    ingest = callers.submit(queue.encode, images(20, 2), [Modality.INFRARED] * 20, Lane.INGEST)
    waiting(queue, Lane.INGEST, 20)
    searches = [callers.submit(queue.encode, images(1, 3), [Modality.VISIBLE], Lane.SEARCH) for _ in range(5)]
    waiting(queue, Lane.SEARCH, 5)
    encoder.go.release(100)
    for future in (first, ingest, *searches):
        future.result(timeout=10)
    # Pairs of whose images, and how many.
    assert encoder.batches[:4] == [1, 1, 3, 5]
    # How far an ingest is cut while people search depends on how long the encoder took.
    assert set(encoder.batches[4::2]) == {2}
    assert sum(encoder.batches[5::2]) == 20
    assert max(encoder.batches[5::2]) <= MAX_BATCH


def test_an_ingest_has_its_turn_however_many_search(held) -> None:
    encoder, queue, callers = held
    first = callers.submit(queue.encode, images(1, 1), [Modality.VISIBLE], Lane.SEARCH)
    assert encoder.entered.acquire(timeout=10)
    ingest = callers.submit(queue.encode, images(6, 2), [Modality.VISIBLE] * 6, Lane.INGEST)
    waiting(queue, Lane.INGEST, 6)
    searches = [callers.submit(queue.encode, images(8, 3), [Modality.VISIBLE] * 8, Lane.SEARCH) for _ in "ab"]
    waiting(queue, Lane.SEARCH, 16)
    for left in (8, 8, 0, 0):
        encoder.go.release()
        assert encoder.entered.acquire(timeout=10)
        waiting(queue, Lane.SEARCH, left)
        time.sleep(INGEST_TURN_S * 1.2)
    encoder.go.release()
    for future in (first, ingest, *searches):
        future.result(timeout=10)
    # The first searches go ahead; then half a batch of ingest, though others wait.
    assert encoder.batches[:8] == [1, 1, 3, 8, 2, MAX_BATCH // 2, 3, 8]


def test_while_people_search_ingest_goes_in_slices_of_a_few_milliseconds() -> None:
    class Slow(GreyPixelEncoder):
        """Takes as long an image as the encoder that ships does on two processors."""

        batches: list[int]

        def encode(self, images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
            self.batches.append(len(images))
            time.sleep(0.003 * len(images))
            return super().encode(images, modality)

    encoder = Slow()
    encoder.batches = []
    queue = EncodingQueue(encoder, max_waiting=100, workers=1)
    queue.encode(images(20, 1), [Modality.VISIBLE] * 20, Lane.INGEST)
    assert encoder.batches == [MAX_BATCH, MAX_BATCH, 4]
    queue.encode(images(1, 2), [Modality.VISIBLE], Lane.SEARCH)
    queue.encode(images(20, 3), [Modality.VISIBLE] * 20, Lane.INGEST)
    queue.close()
    assert encoder.batches[4:] == [1] * 20


def test_two_batches_are_in_the_encoder_at_once_but_one_of_ingest_while_people_search() -> None:
    class Busy(GreyPixelEncoder):
        """Notes how many batches it has at once, at most."""

        def __init__(self) -> None:
            super().__init__()
            self.most, self.inside, self.counting = 0, 0, threading.Lock()

        def encode(self, images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
            with self.counting:
                self.inside += 1
                self.most = max(self.most, self.inside)
            time.sleep(0.02)
            with self.counting:
                self.inside -= 1
            return super().encode(images, modality)

    encoder = Busy()
    with closing(EncodingQueue(encoder, max_waiting=100)) as queue:
        queue.encode(images(40, 1), [Modality.VISIBLE] * 40, Lane.INGEST)
        assert encoder.most == 2
        queue.encode(images(1, 2), [Modality.VISIBLE], Lane.SEARCH)
        encoder.most = 0
        queue.encode(images(10, 3), [Modality.VISIBLE] * 10, Lane.INGEST)
        assert encoder.most == 1


def test_a_search_that_finds_room_is_encoded_in_its_own_thread(held) -> None:
    encoder, queue, _ = held
    threads: list[str] = []
    real = GreyPixelEncoder.encode

    def encode(images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
        threads.append(threading.current_thread().name)
        return real(encoder, images, modality)

    encoder.encode = encode
    mine = queue.encode(images(1, 1), [Modality.VISIBLE], Lane.SEARCH)
    np.testing.assert_array_equal(mine, real(encoder, images(1, 1), [Modality.VISIBLE]))
    queue.encode(images(1, 1), [Modality.VISIBLE], Lane.INGEST)
    assert threads == [threading.current_thread().name, "peca-encoder"]


def test_a_search_that_nobody_waits_for_is_not_encoded_though_the_encoder_is_free(held, monkeypatch) -> None:
    encoder, queue, _ = held
    its = Patience(None)
    its.left = True
    monkeypatch.setattr("server.batching.patience", lambda: its)
    with pytest.raises(ClientLeft):
        queue.encode(images(1, 1), [Modality.VISIBLE], Lane.SEARCH)
    assert encoder.batches == []


def test_what_waits_behind_a_search_in_its_own_thread_is_encoded_once_that_is_done(held) -> None:
    encoder, queue, callers = held
    first = callers.submit(queue.encode, images(1, 1), [Modality.VISIBLE], Lane.SEARCH)
    assert encoder.entered.acquire(timeout=10)
    later = [callers.submit(queue.encode, images(1, 2), [Modality.VISIBLE], Lane.SEARCH) for _ in range(3)]
    waiting(queue, Lane.SEARCH, 3)
    assert encoder.batches == [1, 1]
    encoder.go.release(2)
    for future in (first, *later):
        future.result(timeout=10)
    assert encoder.batches == [1, 1, 2, 3]


def test_a_queue_that_closes_finishes_what_waits_behind_a_search(held) -> None:
    encoder, queue, callers = held
    first = callers.submit(queue.encode, images(1, 1), [Modality.VISIBLE], Lane.SEARCH)
    assert encoder.entered.acquire(timeout=10)
    later = callers.submit(queue.encode, images(1, 2), [Modality.VISIBLE], Lane.SEARCH)
    waiting(queue, Lane.SEARCH, 1)
    closing_down = callers.submit(queue.close)
    encoder.go.release(2)
    for future in (first, later, closing_down):
        future.result(timeout=10)
    with pytest.raises(ServerStopping):
        queue.encode(images(1, 3), [Modality.VISIBLE], Lane.SEARCH)


def test_everyone_gets_their_own_rows() -> None:
    encoder = GreyPixelEncoder()
    queue = EncodingQueue(encoder, max_waiting=1000)
    batches = [images(1 + mark % 7, mark) for mark in range(60)]
    with ThreadPoolExecutor(12) as callers:
        rows = list(
            callers.map(
                lambda batch: queue.encode(batch, [Modality.VISIBLE] * len(batch), Lane.INGEST), batches
            )
        )
    queue.close()
    for batch, embedded in zip(batches, rows, strict=True):
        np.testing.assert_array_equal(embedded, encoder.encode(batch, [Modality.VISIBLE] * len(batch)))


def test_a_full_lane_refuses_and_the_other_does_not(held) -> None:
    encoder, queue, callers = held
    callers.submit(queue.encode, images(1, 1), [Modality.VISIBLE], Lane.INGEST)
    assert encoder.entered.acquire(timeout=10)
    callers.submit(queue.encode, images(40, 2), [Modality.VISIBLE] * 40, Lane.INGEST)
    waiting(queue, Lane.INGEST, 40)
    with pytest.raises(EncoderBusy, match="images of ingest that wait for the encoder already: 41;"):
        queue.encode(images(1, 3), [Modality.VISIBLE], Lane.INGEST)
    search = callers.submit(queue.encode, images(1, 4), [Modality.VISIBLE], Lane.SEARCH)
    encoder.go.release(100)
    assert search.result(timeout=10).shape == (1, encoder.spec.dim)


def test_an_empty_lane_takes_a_request_of_any_size() -> None:
    encoder = GreyPixelEncoder()
    queue = EncodingQueue(encoder, max_waiting=2)
    assert len(queue.encode(images(50, 1), [Modality.VISIBLE] * 50, Lane.INGEST)) == 50
    queue.close()


def test_an_error_reaches_its_request_and_the_worker_goes_on() -> None:
    queue = EncodingQueue(GreyPixelEncoder(), max_waiting=10)
    with pytest.raises(ValueError, match="uint8"):
        queue.encode(images(20, 1)[:, :5], [Modality.VISIBLE] * 20, Lane.INGEST)
    assert len(queue.encode(images(1, 1), [Modality.VISIBLE], Lane.INGEST)) == 1
    queue.close()


def test_memory_that_runs_out_as_a_batch_is_gathered_fails_its_requests_and_the_worker_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stack(_: object) -> None:
        raise MemoryError

    with closing(EncodingQueue(GreyPixelEncoder(), max_waiting=10, workers=1)) as queue:
        with monkeypatch.context() as patch:
            patch.setattr("server.batching.np.stack", stack)
            done = queue.submit(images(2, 1), [Modality.VISIBLE] * 2, Lane.INGEST)
            with pytest.raises(MemoryError):
                done.result(timeout=10)
        assert queue.alive
        assert len(queue.encode(images(1, 1), [Modality.VISIBLE], Lane.INGEST)) == 1


def test_closing_finishes_what_waits_and_takes_no_more(held) -> None:
    encoder, queue, callers = held
    first = callers.submit(queue.encode, images(1, 1), [Modality.VISIBLE], Lane.INGEST)
    assert encoder.entered.acquire(timeout=10)
    second = callers.submit(queue.encode, images(3, 2), [Modality.VISIBLE] * 3, Lane.INGEST)
    waiting(queue, Lane.INGEST, 3)
    closing = callers.submit(queue.close)
    encoder.go.release(100)
    assert len(first.result(timeout=10)) == 1
    assert len(second.result(timeout=10)) == 3
    closing.result(timeout=10)
    with pytest.raises(ServerStopping):
        queue.encode(images(1, 1), [Modality.VISIBLE], Lane.INGEST)
