"""Bodies are waited for shortly; pictures take turns to be decoded, for no longer than somebody waits."""

import contextvars
import io
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx
import numpy as np
import pytest
from PIL import Image
from server_site import Process, Site, about, picture

from exporter.preprocess import open_image
from server import limits, patience
from server.errors import ClientLeft, DeadlinePassed
from server.images import thumbnail
from server.limits import SEARCHED, SHOWN, Turns

MEGABYTE = 1 << 20


@contextmanager
def all_taken(turns: Turns) -> Iterator[None]:
    """Every turn is taken by somebody else."""
    with ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            stack.enter_context(turns.turn())
        yield


def wait_for_a_turn(turns: Turns, its: patience.Patience) -> None:
    """Of a request of this patience."""

    def take() -> None:
        patience._CURRENT.set(its)
        with turns.turn():
            pass

    contextvars.copy_context().run(take)


def test_a_turn_is_not_waited_for_beyond_the_request() -> None:
    turns = Turns()
    wait_for_a_turn(turns, patience.Patience(5))
    with all_taken(turns), pytest.raises(DeadlinePassed):
        wait_for_a_turn(turns, patience.Patience(0.05))
    wait_for_a_turn(turns, patience.Patience(5))


def test_the_turn_of_a_client_that_left_is_given_back() -> None:
    turns, left = Turns(), patience.Patience(5)
    left.left = True
    for _ in range(2 * (os.cpu_count() or 1)):
        with pytest.raises(ClientLeft):
            wait_for_a_turn(turns, left)
    wait_for_a_turn(turns, patience.Patience(5))


@pytest.mark.parametrize("turns", [SEARCHED, SHOWN])
def test_a_server_whose_decoding_is_held_up_says_so(start: Callable[..., Site], turns: Turns) -> None:
    site = start(request_timeout_s=0.3)
    site.people(1)

    def ask() -> object:
        return site.search(picture(0)) if turns is SEARCHED else site.http.get("/images/p0/thumbnail")

    with all_taken(turns):
        answer = ask()
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:deadline-passed")
    assert answer.headers["retry-after"] == "1"
    assert ask().status_code == 200


def test_a_body_without_files_is_waited_for_shortly(
    start: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TEXT_TIMEOUT_S", 0.3)
    address = start().http.base_url

    def slowly() -> Iterator[bytes]:
        for letter in b'{"key": "':
            yield bytes([letter])
            time.sleep(0.1)

    answer = httpx.post(f"{address}/session", content=slowly(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (408, "urn:peca:problem:body-too-slow")
    assert "within 0.3 seconds" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("form", "options", "what"),
    [("PNG", {"compress_level": 1}, "thumbnail"), ("TIFF", {"compression": "tiff_lzw"}, "file")],
)
def test_many_large_pictures_at_once_take_little_memory(
    launch: Callable[[], Process], form: str, options: dict[str, object], what: str
) -> None:
    process = launch()
    site = process.site(process.key or "")
    buffer = io.BytesIO()
    Image.new("RGB", (4000, 3000), "teal").save(buffer, form, **options)
    assert site.ingest({"large": buffer.getvalue()}, [about("large", image_id="large")]).status_code == 201
    before = process.peak_bytes()
    with ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(lambda _: site.http.get(f"/images/large/{what}"), range(12)))
    assert {answer.status_code for answer in answers} == {200}
    # A decoded picture takes 48 MB, and as much again while it becomes RGB or is copied.
    assert process.peak_bytes() - before < (os.cpu_count() or 1) * 120 * MEGABYTE


@pytest.mark.parametrize(("size", "turn"), [((3000, 2000), 1), ((3000, 2000), 6), ((600, 4000), 8)])
def test_a_thumbnail_of_a_large_jpeg_shows_what_the_picture_does(size: tuple[int, int], turn: int) -> None:
    coarse = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = turn
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", exif=exif, quality=95)
    small = Image.open(io.BytesIO(thumbnail(buffer.getvalue())))
    whole = open_image(buffer.getvalue())
    whole.thumbnail((1024, 256))
    assert abs(small.width - whole.width) <= 1
    assert small.height == whole.height
    shown = np.asarray(small.resize(whole.size), dtype=int)
    assert np.abs(shown - np.asarray(whole, dtype=int)).mean() < 3
