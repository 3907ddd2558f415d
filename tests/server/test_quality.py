"""GET /quality when many ask: one evaluation at a time, kept until the labelled images change."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest
from server_site import Site, about, picture

from index.records import ImageRecord
from index.space import Modality
from server.access import Role
from server.services import quality


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has a 1 for each evaluation that is made."""
    evaluate, evaluations = quality.quality, []

    def counted(*args: object) -> object:
        evaluations.append(1)
        return evaluate(*args)

    monkeypatch.setattr(quality, "quality", counted)
    return evaluations


def fill(site: Site, count: int) -> None:
    """Put labelled images of random vectors into the gallery, as a start finds them there."""
    gallery = site.app.state.parts.catalogue._gallery
    vectors = np.random.default_rng(0).normal(size=(count, gallery.spec.dim)).astype(np.float32)
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    records = [
        ImageRecord(
            f"i{n}", list(Modality)[n % 2], f"c{n % 7}", begin + timedelta(seconds=n), person_id=f"p{n // 10}"
        )
        for n in range(count)
    ]
    gallery.add(records, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_many_who_ask_at_once_take_one_evaluation(site: Site, made: list[int]) -> None:
    fill(site, 5000)
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(site.http.get("/quality"))

    askers = [threading.Thread(target=ask) for _ in range(24)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    by_status: dict[int, list[httpx.Response]] = {}
    for answer in answers:
        by_status.setdefault(answer.status_code, []).append(answer)
    assert set(by_status) <= {200, 429}
    assert len(made) == 1
    assert len({answer.text for answer in by_status[200]}) == 1
    assert by_status[200][0].json()["labelled"] == 5000
    for refused in by_status.get(429, []):
        assert refused.json()["type"] == "urn:peca:problem:server-busy"
        assert refused.headers["retry-after"] == "5"
    assert site.http.get("/quality").status_code == 200
    assert made == [1], "what was found is kept"


def test_no_more_wait_than_may(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(site, 20)
    evaluate, goes_on = quality.quality, threading.Event()

    def slow(*args: object) -> object:
        goes_on.wait(30)
        return evaluate(*args)

    monkeypatch.setattr(quality, "quality", slow)
    statuses: list[int] = []
    askers = [
        threading.Thread(target=lambda: statuses.append(site.http.get("/quality").status_code))
        for _ in range(12)
    ]
    for asker in askers:
        asker.start()
    end = time.monotonic() + 20
    while len(statuses) < 7 and time.monotonic() < end:
        time.sleep(0.02)
    assert statuses == [429] * 7
    assert site.http.get("/healthz").status_code == 200
    goes_on.set()
    for asker in askers:
        asker.join()
    assert sorted(statuses) == [200] * 5 + [429] * 7


def test_what_was_found_is_kept_until_the_labelled_images_change(
    site: Site, as_holder: Callable[..., Site], made: list[int]
) -> None:
    for _ in range(2):
        assert site.http.get("/quality").status_code == 409
    assert len(made) == 1, "that there is nothing to compare is kept too"
    fill(site, 20)
    site.ingest({"a": picture(1)}, [about("a", image_id="a", person_id="p0", camera_id="c1")])
    assert site.http.get("/quality").json()["labelled"] == 21
    site.ingest({"b": picture(2)}, [about("b", image_id="b", camera_id="c1")])
    assert site.http.get("/quality").json()["labelled"] == 21
    assert len(made) == 2
    site.http.delete("/images/a")
    assert site.http.get("/quality").json()["labelled"] == 20
    site.http.delete("/images?person_ids=p1&dry_run=false")
    assert site.http.get("/quality").json()["labelled"] == 10
    assert len(made) == 4
    # Others' cameras are others' evaluations.
    ada = as_holder(site, "Ada", Role.OPERATOR, camera_ids=["c0", "c1"])
    assert ada.http.get("/quality").json()["labelled"] == 4
    assert site.http.get("/quality").json()["labelled"] == 10
    assert len(made) == 5
