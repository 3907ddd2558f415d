"""The planner and the codes behind it: exact where it says so, near enough elsewhere, right at all times."""

import json
import mmap
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from numpy.typing import NDArray

from index.embedded import ann
from index.embedded.ann import Limits, Plan, plan, search
from index.embedded.codec import ZERO, Codec
from index.embedded.columns import COLUMNS, Described, Names, lying_order
from index.embedded.device import Accelerator, Held, accelerator
from index.embedded.engine import EmbeddedGallery
from index.embedded.growing import GrowingIndex
from index.embedded.index_file import _Writer, write_index_file
from index.embedded.optional_faiss import faiss
from index.embedded.scan import Scan
from index.embedded.segments import Candidates, Coded, scalar_codes
from index.embedded.store import Store
from index.errors import DeviceUnfit
from index.gallery import Device, Gallery, open_gallery
from index.records import ANY, Hit, ImageRecord, Where
from index.space import EmbeddingSpec, Modality, l2_normalise

SPEC = EmbeddingSpec(32, "encoder-a")
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
# Coded from 64 images on, in segments of at most 512, so that a small gallery has all that a large one has.
TINY = Limits(flat=64 * SPEC.dim, seal=64 * SPEC.dim, segment=512, exact=0)
EXACT = Limits(flat=64 * SPEC.dim, seal=64 * SPEC.dim, segment=512, exact=1 << 40)


MakeDevice = Callable[[], Accelerator | None]


class HalfFlat:
    """FAISS's index of a GPU as it stands on a processor: rows and queries in half precision."""

    def __init__(self, dim: int) -> None:
        self._index = faiss.IndexScalarQuantizer(
            dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        self.add = self._index.add

    def search(
        self, queries: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        products, rows = self._index.search(queries.astype(np.float16).astype(np.float32), count)
        return products, rows


def stand_in() -> Accelerator:
    """One that gives few rows at a time, so that there are searches that it cannot answer."""
    return Accelerator("a stand-in", HalfFlat, most=200)


def gpu() -> Accelerator | None:
    """The GPU of this machine; without one the test is skipped, and says why."""
    try:
        return accelerator(Device.CUDA)
    except DeviceUnfit as error:
        pytest.skip(str(error))


EVERY_DEVICE = [
    pytest.param(lambda: None, id="processor"),
    pytest.param(stand_in, id="stand-in for a GPU"),
    pytest.param(gpu, id="GPU", marks=pytest.mark.gpu),
]
DEVICES = pytest.mark.parametrize("device", EVERY_DEVICE)


def people(numbers: range) -> tuple[list[ImageRecord], NDArray[np.float32]]:
    """Images by their numbers: 60 people, ten cameras, both modalities."""
    centres = np.random.default_rng(0).standard_normal((60, SPEC.dim))
    rng = np.random.default_rng(1 + numbers.start)
    who = [int(rng.integers(60)) for _ in numbers]
    rows = centres[who] + 0.3 * rng.standard_normal((len(who), SPEC.dim))
    records = [
        ImageRecord(
            f"i{n}",
            tuple(Modality)[n % 2],
            f"cam{n % 10}",
            NOON + timedelta(seconds=n),
            person_id=f"p{person}",
            track_id=f"t{n % 7}",
        )
        for n, person in zip(numbers, who, strict=True)
    ]
    return records, rows.astype(np.float32)


def settled(gallery: EmbeddedGallery) -> EmbeddedGallery:
    """The gallery, once nothing is left to code."""
    deadline = time.monotonic() + 60
    while not gallery.settled:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return gallery


def filled(
    folder: Path, count: int, limits: Limits = TINY, device: Accelerator | None = None
) -> EmbeddedGallery:
    """A gallery of so many images, most of them coded."""
    gallery = EmbeddedGallery(folder, SPEC, limits=limits, device=device)
    for start in range(0, count, 250):
        gallery.add(*people(range(start, min(start + 250, count))))
    return settled(gallery)


def names(hits: list[Hit]) -> list[str]:
    return [hit.record.image_id for hit in hits]


@pytest.fixture(scope="module", params=EVERY_DEVICE)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[EmbeddedGallery, Gallery]]:
    """A coded gallery of 3,000 images, on each device, and the oracle."""
    with (
        closing(filled(tmp_path_factory.mktemp("pair"), 3000, device=request.param())) as coded,
        closing(open_gallery("memory:", SPEC)) as oracle,
    ):
        for start in range(0, 3000, 250):
            oracle.add(*people(range(start, start + 250)))
        yield coded, oracle


FILTERS = [
    ANY,
    Where(modality=Modality.INFRARED),
    Where(camera_ids=["cam3", "cam4", "unseen"]),
    Where(camera_ids=[]),
    Where(exclude_camera_ids=["cam1", "cam2"], after=NOON + timedelta(seconds=700)),
    Where(before=NOON + timedelta(seconds=30)),
    Where(person_ids=["p3", "p4", "nobody"]),
    Where(track_ids=["t1"], modality=Modality.VISIBLE),
    Where(image_ids=[f"i{n}" for n in range(0, 3000, 9)]),
]


@pytest.mark.parametrize("where", FILTERS)
def test_an_exact_search_of_codes_equals_the_oracle(
    pair: tuple[EmbeddedGallery, Gallery], where: Where
) -> None:
    coded, oracle = pair
    assert len(coded._index.view.coded) > 1
    queries = np.concatenate([people(range(9000, 9010))[1], people(range(10))[1]])
    for k in (1, 20, 400):
        assert coded.search(queries, k, where, exact=True) == oracle.search(queries, k, where)
    assert coded.search(queries[:1], 20, where, exact=True) == oracle.search(queries[:1], 20, where)


@pytest.mark.parametrize("where", FILTERS)
def test_a_compressed_search_finds_the_same_with_the_same_scores(
    pair: tuple[EmbeddedGallery, Gallery], where: Where
) -> None:
    coded, oracle = pair
    queries = people(range(9000, 9060))[1]
    right = total = 0
    for found, expected in zip(
        coded.search(queries, 20, where), oracle.search(queries, 20, where), strict=True
    ):
        assert len(found) == len(expected)  # never fewer than k where k pass
        assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
        assert all(where.matches(hit.record) for hit in found)
        exactly = {hit.record.image_id: hit.score for hit in expected}
        for hit in found:
            assert exactly.get(hit.record.image_id, hit.score) == hit.score
        right += len(exactly.keys() & set(names(found)))
        total += len(expected)
    assert right >= 0.99 * total


def test_the_planner_is_exact_for_few_and_where_asked() -> None:
    limits = Limits(exact=1000)
    assert plan(10, 100, False, limits) is Plan.EXACT
    assert plan(11, 100, False, limits) is Plan.COMPRESSED
    assert plan(11, 100, True, limits) is Plan.EXACT


def test_a_search_that_is_not_sure_looks_deeper(pair: tuple[EmbeddedGallery, Gallery]) -> None:
    """The nearest of a direction that no image is near are not clear from the quick codes."""
    coded, oracle = pair
    queries = np.random.default_rng(5).standard_normal((40, SPEC.dim)).astype(np.float32)
    right = sum(
        len(set(names(found)) & set(names(expected)))
        for found, expected in zip(coded.search(queries, 20), oracle.search(queries, 20), strict=True)
    )
    assert right >= 0.97 * 40 * 20


def test_scalar_codes_hide_no_more_than_they_say() -> None:
    rows = l2_normalise(np.random.default_rng(0).standard_normal((500, 48)).astype(np.float32))
    codec = Codec.learn(rows[:200] / 2, 200, 199)  # so that some of the others lie outside of what it knows
    codes, error = codec.scalar(rows)
    restored = (codes.astype(np.float64) - 128) / codec.scale
    assert 0 < np.linalg.norm(rows - restored, axis=1).max() <= error + 1e-6


@pytest.mark.parametrize(
    ("dim", "directions", "quick"),
    [(64, 64, 1), (1024, 1024, 16), (2048, 2048, 16), (2048, 48, 32), (4096, 4096, 32), (2, 2, 1)],
)
def test_the_quick_code_of_long_vectors_is_shorter_where_it_tells_people_apart(
    dim: int, directions: int, quick: int
) -> None:
    # Vectors that lie in few directions are like each other by chance.
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((512, directions))
    if directions < dim:
        rows = rows @ rng.standard_normal((directions, dim))
    tiers = Codec.learn(l2_normalise(rows), 512, 511).tiers
    assert [tier.code_bytes for tier in tiers][:1] == [quick]
    assert len(tiers) == (1 if dim == 2 else 2)


def test_coded_images_of_one_camera_lie_side_by_side() -> None:
    """What FAISS passes over under a filter are 32 neighbours at once; and what is read lies together."""
    rng = np.random.default_rng(0)
    columns = np.zeros(3000, COLUMNS)
    columns["position"] = np.arange(3000)
    columns["camera"], columns["modality"] = rng.integers(5, size=3000), rng.integers(2, size=3000)
    rows = l2_normalise(rng.standard_normal((3000, 64)).astype(np.float32))
    codec = Codec.learn(rows[:1000], 1000, 999)
    parts = [
        Coded.encoded(columns[at : at + 1000], np.split(rows[at : at + 1000], 4), codec)
        for at in range(0, 3000, 1000)
    ]
    thinned = parts[1].without(np.arange(1000, 2000, 3))
    joined = Coded.joined([parts[0], thinned, parts[2]])
    assert joined is not None
    assert len(joined.columns) == 3000 - 334
    for part in (*parts, joined):
        assert part.columns.tolist() == part.columns[lying_order(part.columns)].tolist()
        assert len(part.fields.lengths) == 10
        at = part.columns["position"]
        for codes, expected in zip(
            part.codes, (codec.scalar(rows[at])[0], *codec.encode(rows[at])[2]), strict=True
        ):
            assert (codes == expected).all()


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_a_scan_gives_the_highest_estimates_of_those_that_a_filter_lets_through(share: float) -> None:
    rng = np.random.default_rng(0)
    rows = l2_normalise(rng.standard_normal((3000, 64)).astype(np.float32))
    codec = Codec.learn(rows[:1000], 1000, 999)
    tier = codec.tiers[-1]
    codes = tier.quantiser.compute_codes(rows)
    allowed = rng.random(3000) < share
    found, estimates = Scan(tier, codes).search(rows[5], 50, None if share == 1 else allowed)
    expected = tier.quantiser.decode(codes) @ rows[5]
    assert len(found) == min(50, int(allowed.sum()))
    assert allowed[found].all()
    # FAISS adds estimates in bytes, so that those of the last places may be exchanged.
    assert np.abs(estimates - expected[found]).max() < 0.05
    assert expected[found].min() > np.sort(expected[allowed])[-len(found)] - 0.05


def test_few_images_are_scored_where_those_sought_stand_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, dim, limits = np.random.default_rng(0), 512, Limits(1 << 20, 1 << 19, segment=2048, exact=0)
    centres = rng.standard_normal((500, dim))
    who = rng.integers(500, size=9000)
    rows = l2_normalise(centres[who] + 0.5 * rng.standard_normal((9000, dim)))
    index = GrowingIndex(dim, lambda positions: (positions, rows[positions]), limits)
    index.append([(n, "visible", "cam", 0, None) for n in range(9000)], rows)
    while index.step():
        pass
    scored: list[int] = []
    scoring = Coded._scored

    def counting(self: Coded, query: NDArray[np.float32], rows: NDArray[np.int64]) -> Candidates:
        scored.append(len(rows))
        return scoring(self, query, rows)

    monkeypatch.setattr(Coded, "_scored", counting)
    ((best, score), *others) = search(
        index.view, rows[:1], 5, None, exact=False, fetch=index._fetch, limits=limits
    )[0]
    assert best == 0
    assert score > 0.999
    assert {who[position] for position, _ in others} == {who[0]}
    segments = len(index.view.coded)
    assert segments > 3
    assert sum(scored) < 20 * segments  # of 64 that each of them gave


def test_unpacked_product_codes_leave_memory() -> None:
    rows = l2_normalise(np.random.default_rng(0).standard_normal((20_000, 128)).astype(np.float32))
    columns = np.zeros(len(rows), COLUMNS)
    columns["position"] = np.arange(len(rows))
    columns["camera"] = np.arange(len(rows)) % 7
    codec = Codec.learn(rows[:1000], 1000, 999)
    coded = Coded.encoded(columns, [rows], codec)
    tier = len(codec.tiers) - 1
    expected = codec.tiers[tier].quantiser.compute_codes(rows[coded.columns["position"]])
    assert (coded.quick[tier].codes == expected).all()
    before = resident_mb()
    for _ in range(100):
        _ = coded.quick[tier].codes
    assert resident_mb() - before < 10  # of 48 that were unpacked


def test_codes_follow_a_gallery_that_changes_its_nature() -> None:
    """9,000 images, then 6,000 about another mean, as from another site or season."""
    rng, people, dim = np.random.default_rng(0), 750, 512
    centres = rng.standard_normal((people, dim))
    means = rng.standard_normal((2, dim))

    def images(count: int, mean: int) -> NDArray[np.float32]:
        own = centres[rng.integers(people, size=count)] + 0.5 * rng.standard_normal((count, dim))
        return l2_normalise(0.63 * own + 0.77 * means[mean])

    rows = np.concatenate([images(9000, 0), images(6000, 1)])
    described: list[Described] = [(n, "visible", "cam", 0, None) for n in range(len(rows))]
    limits = Limits(segment=8192, exact=0)

    def recall(index: GrowingIndex, k: int = 20) -> float:
        queries = images(20, 1)
        search_now = partial(search, index.view, queries, k, None, fetch=index._fetch, limits=limits)
        pairs = zip(search_now(exact=False), search_now(exact=True), strict=True)
        return float(np.mean([len(dict(found).keys() & dict(best)) / k for found, best in pairs]))

    index = GrowingIndex(dim, lambda positions: (positions, rows[positions]), limits)
    index.append(described[:9000], rows[:9000])
    while index.step():
        pass
    first = index.codec
    index.append(described[9000:], rows[9000:])
    while index.take_in():
        pass
    assert [part.strays for part in index.view.coded] == [False, True]
    assert recall(index) > 0.98  # by looking deeper, as the codes are measured on what they stand for
    while index.step():
        pass
    assert index.codec is not first
    assert not any(part.strays for part in index.view.coded)
    assert recall(index) == 1
    assert recall(index, 1000) > 0.998


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE / 1e6


def test_what_is_removed_is_found_no_more_and_leaves_memory(tmp_path: Path) -> None:
    with closing(filled(tmp_path, 1200)) as gallery:
        queries = people(range(9000, 9020))[1]
        assert gallery.remove(Where(camera_ids=["cam1", "cam2", "cam3", "cam4"])) == 480
        for exact in (False, True):
            for hits in gallery.search(queries, 800, exact=exact):
                assert len(hits) == 720
                assert not {hit.record.camera_id for hit in hits} & {"cam1", "cam2", "cam3", "cam4"}
        deadline = time.monotonic() + 60
        while sum(len(part.columns) for part in gallery._index.view.segments) > 720:
            assert time.monotonic() < deadline, "the codes of what was removed are held on"
            time.sleep(0.01)
        assert gallery.remove(ANY) == 720
        assert gallery.search(queries, 5) == [[]] * 20
        gallery.add(*people(range(5000, 5100)))
        assert len(gallery.search(queries, 500)[0]) == 100


def test_answers_are_right_while_the_gallery_grows(tmp_path: Path) -> None:
    """What stood before is found with the same scores while all is coded, joined and learnt anew."""
    fixed, rows = people(range(100))
    mine = [ImageRecord(f"f-{one.image_id}", one.modality, "fixed", one.captured_at) for one in fixed]
    errors: list[BaseException] = []
    done = threading.Event()
    with closing(EmbeddedGallery(tmp_path, SPEC, limits=TINY)) as gallery:
        gallery.add(mine, rows)
        expected = gallery.search(rows[:4], 30, Where(camera_ids=["fixed"]), exact=True)

        def look() -> None:
            try:
                while not done.is_set():
                    assert gallery.search(rows[:4], 30, Where(camera_ids=["fixed"]), exact=True) == expected
                    assert names(gallery.search(rows[:1], 1)[0]) == ["f-i0"]
                    late = removed.is_set()
                    cameras = {hit.record.camera_id for hit in gallery.search(rows[5:6], 50)[0]}
                    assert not (late and "gone" in cameras)
            except BaseException as error:
                errors.append(error)

        removed = threading.Event()
        gallery.add([ImageRecord("gone", Modality.VISIBLE, "gone", NOON)], rows[5:6])
        looking = threading.Thread(target=look)
        looking.start()
        for start in range(1000, 3000, 250):
            gallery.add(*people(range(start, start + 250)))
            if start == 1500:
                gallery.remove(Where(camera_ids=["gone"]))
                removed.set()
        settled(gallery)
        done.set()
        looking.join()
        assert gallery._index.view.coded[0].codec.seen > 100  # learnt anew since the first
    assert errors == []


def test_codes_come_back_from_the_index_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.embedded.engine._WORTH_SAVING", 1)
    monkeypatch.setattr("index.embedded.growing._CHANGED", 0)  # what learns anew codes anew
    queries = people(range(9000, 9010))[1]
    with closing(filled(tmp_path, 900)) as gallery:
        gallery.remove(Where(person_ids=["p7"]))
        gallery.remove(Where(camera_ids=["cam9"]))
        expected = [gallery.search(queries, 20, exact=exact) for exact in (False, True)]
    content = (tmp_path / "index.faiss").read_bytes()
    assert b'"p7"' not in content
    assert b'"cam9"' not in content
    monkeypatch.setattr(Codec, "encode", lambda *_: pytest.fail("a start codes nothing that the file holds"))
    for read_only in (True, False):
        with closing(EmbeddedGallery(tmp_path, SPEC, read_only=read_only, limits=TINY)) as gallery:
            assert gallery._index.view.coded
            assert [gallery.search(queries, 20, exact=exact) for exact in (False, True)] == expected
            assert gallery.search(queries, 5, Where(camera_ids=["cam9"])) == [[]] * 10


def sizes(gallery: EmbeddedGallery) -> list[int]:
    """How many images each coded segment holds."""
    return [len(part.columns) for part in gallery._index.view.coded]


def test_small_segments_are_joined_at_a_start_and_once_in_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.embedded.engine._WORTH_SAVING", 1)
    steps = [512, 160, 70]  # no two of like size
    queries = people(range(9000, 9010))[1]
    with closing(EmbeddedGallery(tmp_path, SPEC, limits=TINY)) as gallery:
        for start, count in zip(np.cumsum([0, *steps]).tolist(), steps, strict=False):
            gallery.add(*people(range(start, start + count)))
            settled(gallery)
        assert sizes(gallery) == steps
        expected = gallery.search(queries, 20, exact=True)
    with closing(EmbeddedGallery(tmp_path, SPEC, limits=TINY)) as gallery:
        assert sizes(gallery) == [512, 230]
        assert gallery._unsaved == 230  # or each start would join them
        assert gallery.search(queries, 20, exact=True) == expected
        gallery.add(*people(range(2000, 2070)))
        settled(gallery)
        assert sizes(gallery) == [512, 230, 70]
        expected = gallery.search(queries, 20, exact=True)
        gallery._tidy_from = 0.0
        gallery._work.set()
        deadline = time.monotonic() + 60
        while gallery._index.untidy:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert sizes(gallery) == [512, 300]
        assert gallery.search(queries, 20, exact=True) == expected
        assert gallery._tidy_from > time.monotonic()  # not again at once


def saved(gallery: EmbeddedGallery) -> EmbeddedGallery:
    """The gallery, once what it holds is in the index file."""
    deadline = time.monotonic() + 60
    while gallery._unsaved >= 500:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return gallery


def test_a_growing_gallery_saves_its_index_while_it_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.embedded.engine._WORTH_PAUSING", 500)
    with closing(saved(filled(tmp_path, 750))) as gallery:
        assert (tmp_path / "index.faiss").exists()
        gallery.remove(Where(image_ids=["i5"]))
        assert not (tmp_path / "index.faiss").exists()


def test_removals_do_not_write_the_index_file_again_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes a minute of a million images, and nothing is coded meanwhile."""
    monkeypatch.setattr("index.embedded.engine._WORTH_PAUSING", 500)
    written: list[int] = []

    def counting(*arguments: Any) -> str | None:
        written.append(1)
        return write_index_file(*arguments)

    with closing(saved(filled(tmp_path, 1500))) as gallery:
        monkeypatch.setattr("index.embedded.engine._REST", 10_000)
        monkeypatch.setattr("index.embedded.engine.write_index_file", counting)
        for n in range(5):
            assert gallery.remove(Where(image_ids=[f"i{n}"])) == 1
            settled(gallery if n else saved(gallery))
        assert len(written) == 1
        gallery._save_from = 0.0
        gallery._work.set()
        saved(gallery)
        assert len(written) == 2


def test_a_removal_does_not_wait_for_an_index_file_that_holds_what_it_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, removing = threading.Event(), threading.Event()
    codes = _Writer._codes

    def slowly(self: _Writer, part: Coded) -> None:
        writing.set()
        assert removing.wait(60)
        time.sleep(0.1)  # the removal waits for the lock
        codes(self, part)

    monkeypatch.setattr(_Writer, "_codes", slowly)
    with closing(filled(tmp_path, 750)) as gallery:
        monkeypatch.setattr("index.embedded.engine._WORTH_PAUSING", 500)
        gallery._work.set()
        assert writing.wait(60)
        removing.set()
        assert gallery.remove(Where(image_ids=["i5"])) == 1
        assert not list(tmp_path.glob("index.faiss*"))
        gallery._save_from = 0.0
        gallery._work.set()
        saved(gallery)
        assert (tmp_path / "index.faiss").exists()


def test_an_index_file_that_does_not_fit_is_not_begun_and_not_tried_at_every_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("index.embedded.engine._WORTH_PAUSING", 500)
    monkeypatch.setattr("index.embedded.index_file.shutil.disk_usage", lambda _: SimpleNamespace(free=20_000))
    with closing(filled(tmp_path, 750)) as gallery:
        for start in range(750, 1500, 75):
            gallery.add(*people(range(start, start + 75)))
            settled(gallery)
        deadline = time.monotonic() + 60
        while not caplog.records:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert gallery.count() == 1500
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert re.search(r"cannot be written: it needs 0 MB, and 0 MB are free; the next start reads", told[0])


def test_an_error_of_the_builder_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("index.embedded.engine._AGAIN_S", 0.01)
    step, faults = GrowingIndex.step, iter([MemoryError("no room"), OSError("the disk does not answer")])

    def failing_twice(self: GrowingIndex) -> bool:
        for fault in faults:
            raise fault
        return step(self)

    monkeypatch.setattr(GrowingIndex, "step", failing_twice)
    with closing(filled(tmp_path, 750)) as gallery:
        assert gallery._index.view.coded
    assert len([record for record in caplog.records if "it tries again" in record.getMessage()]) == 2


def test_codes_that_were_learnt_anew_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or each start would learn them again."""
    monkeypatch.setattr("index.embedded.engine._WORTH_SAVING", 1)
    with monkeypatch.context() as unlearning:
        unlearning.setattr("index.embedded.growing._LEARNT", 0)
        unlearning.setattr("index.embedded.growing._CHANGED", 0)
        filled(tmp_path, 3000).close()
    with closing(EmbeddedGallery(tmp_path, SPEC, limits=TINY)) as gallery:
        assert gallery._unsaved == 0
        deadline = time.monotonic() + 60
        while any(part.codec.seen < 3000 for part in gallery._index.view.coded):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    with closing(EmbeddedGallery(tmp_path, SPEC, read_only=True, limits=TINY)) as gallery:
        assert {part.codec.seen for part in gallery._index.view.coded} == {3000}


def test_what_comes_while_codes_are_made_anew_does_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch that comes moves all that is not coded, and it takes four times the memory."""
    monkeypatch.setattr("index.embedded.growing._BATCH", 64)
    monkeypatch.setattr("index.embedded.growing._LEARNT", 0)
    _, rows = people(range(3900))
    rows = l2_normalise(rows)
    described: list[Described] = [(n, "visible", "cam", 0, None) for n in range(len(rows))]
    gone = np.r_[100:110, 300:310]  # of the segment that is coded anew; the latter are yet to be read
    waiting: list[int] = []
    beside: Iterator[int] = iter(())

    def fetch(positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        for start in beside:
            index.append(described[start : start + 100], rows[start : start + 100])
            waiting.append(len(index.view.flat.rows))
            if start == 2000:
                index.remove(gone)  # some calls after it went from the disk
            break
        kept = positions[~np.isin(positions, gone)] if len(waiting) > 2 else positions
        return kept, rows[kept]

    index = GrowingIndex(SPEC.dim, fetch, TINY)
    index.append(described[:1500], rows[:1500])
    while index.step():
        pass
    beside = iter(range(1500, 3900, 100))
    index.codec = Codec.learn(rows, 3900, 3899)
    while index.step():
        pass
    assert len(waiting) == 24  # one a batch
    assert max(waiting) < 100 + TINY.seal // SPEC.dim + 1
    assert {part.codec for part in index.view.coded} == {index.codec}
    assert not any((scalar_codes(part.fine) == ZERO).all(axis=1).any() for part in index.view.coded)
    held = index.view.positions.tolist()
    assert held == [n for n in range(3900) if n not in gone]
    among = search(index.view, rows[:1], 10, None, exact=True, fetch=index._fetch, limits=TINY)[0]
    kept = np.setdiff1d(np.arange(3900), gone)
    assert {n for n, _ in among} == set(kept[np.argsort(-(rows[kept] @ rows[0]))[:10]].tolist())


def test_codes_made_anew_after_a_start_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a close broke that off; or each start would make them anew."""
    monkeypatch.setattr("index.embedded.engine._WORTH_SAVING", 1)
    code_again, once = GrowingIndex._code_again, iter([True])
    with closing(filled(tmp_path, 1500)) as gallery, monkeypatch.context() as broken_off:
        broken_off.setattr(GrowingIndex, "_code_again", lambda self: any(once) and code_again(self))
        gallery._index.codec = Codec.learn(people(range(1500))[1], 5000, 4999)
        gallery._work.set()
        settled(gallery)

    def codecs(gallery: EmbeddedGallery) -> list[int]:
        return [part.codec.seen for part in gallery._index.view.coded]

    with closing(EmbeddedGallery(tmp_path, SPEC, read_only=True, limits=TINY)) as gallery:
        assert len(set(codecs(gallery))) == 2
    with closing(EmbeddedGallery(tmp_path, SPEC, limits=TINY)) as gallery:
        deadline = time.monotonic() + 60
        while set(codecs(gallery)) != {5000}:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    with closing(EmbeddedGallery(tmp_path, SPEC, read_only=True, limits=TINY)) as gallery:
        assert set(codecs(gallery)) == {5000}


def test_a_filter_that_leaves_few_reads_few_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is what such a search waits for."""
    fetched: list[int] = []
    with closing(filled(tmp_path, 3000)) as gallery, closing(open_gallery("memory:", SPEC)) as oracle:
        for start in range(0, 3000, 250):
            oracle.add(*people(range(start, start + 250)))
        rows = gallery._store.rows
        monkeypatch.setattr(
            gallery._store, "rows", lambda positions: fetched.append(len(positions)) or rows(positions)
        )
        query, where = people(range(9000, 9001))[1], Where(camera_ids=["cam3"])
        found, expected = gallery.search(query, 20, where)[0], oracle.search(query, 20, where)[0]
    assert len(set(names(found)) & set(names(expected))) >= 19
    assert 0 < sum(fetched) <= 20 + 32


def test_several_readers_give_what_one_gives_and_read_where_one_had_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = set[str]()
    with closing(filled(tmp_path, 500)) as gallery:
        query, read = people(range(9000, 9003))[1], gallery._store._read

        def watched(*said: Any) -> list[tuple[Any, ...]]:
            readers.add(threading.current_thread().name.partition("_")[0])
            return read(*said)

        def take_for_slow(from_s: float) -> None:
            monkeypatch.setattr("index.embedded.store._CACHED_CALL_S", from_s)

        monkeypatch.setattr(gallery._store, "_read", watched)
        take_for_slow(60)
        alone = gallery.search(query, 40)
        assert "peca-disk" not in readers
        take_for_slow(-1)
        assert gallery.search(query, 40) == alone
        assert "peca-disk" in readers
        take_for_slow(60)
        monkeypatch.setattr(gallery._store, "_waits_until", 0.0)
        readers.clear()
        assert gallery.search(query, 40) == alone
        assert "peca-disk" not in readers


def test_several_readers_are_asked_for_as_long_as_the_one_made_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, asked = [0.0], list[int]()
    with closing(filled(tmp_path, 500)) as gallery:
        store, read, takes = gallery._store, gallery._store._read, [0.0]

        def watched(*said: Any) -> list[tuple[Any, ...]]:
            now[0] += takes[0]
            asked.append(1)
            return read(*said)

        def readers(took: float = 0.0) -> int:
            asked.clear()
            takes[0] = took
            store.rows(np.arange(1, 41))
            return len(asked)

        monkeypatch.setattr(store, "_read", watched)
        monkeypatch.setattr("index.embedded.store.time", SimpleNamespace(monotonic=lambda: now[0]))
        for waited in (0.01, 0.5):
            assert readers(waited) == 1
            now[0] += 15 * waited
            assert readers() == 8
            now[0] += 2 * waited
            assert readers() == 1


def test_an_exact_search_reads_the_best_and_then_only_what_may_be_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, may_be_best = list[int](), list[int]()
    find = ann.contenders

    def watched(found: Candidates, k: int) -> Candidates:
        contending = find(found, k)
        may_be_best.append(len(contending.positions))
        return contending

    monkeypatch.setattr(ann, "contenders", watched)
    with closing(filled(tmp_path, 2000)) as gallery:
        rows = gallery._store.rows
        monkeypatch.setattr(gallery._store, "rows", lambda sought: read.append(len(sought)) or rows(sought))
        for query in people(range(9000, 9010))[1]:
            gallery.search(query[np.newaxis], 20, exact=True)
    assert 10 * 20 <= sum(read) < sum(may_be_best)


def test_a_start_passes_through_the_tables_before_the_first_search_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, 2000).close()
    asked, read = list[tuple[str, list[int]]](), Store._read

    def watched(store: Store, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        found = read(store, statement, values)
        if statement.startswith("SELECT count(*)") and "json_each" in statement:
            asked.append((statement.split()[3], json.loads(str(values[0]))))
            assert found == [(1024,)]
        return found

    ahead: list[Path] = []
    monkeypatch.setattr("index.embedded.store.read_ahead", lambda file, _: ahead.append(Path(file.name)))
    monkeypatch.setattr(Store, "_read", watched)
    with closing(EmbeddedGallery(tmp_path, SPEC, limits=TINY)) as gallery:
        deadline = time.monotonic() + 20
        while len(asked) < 2 or not ahead:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert gallery.count() == 2000
    assert ahead == [tmp_path / "gallery.sqlite3"]
    assert [table for table, _ in asked] == ["images", "vectors"]
    for _, places in asked:
        assert (places[0], places[-1]) == (1, 2000)
        assert max(np.diff(places)) <= 2


def test_a_search_waits_for_no_helper_that_is_at_another(tmp_path: Path) -> None:
    go = threading.Event()
    with closing(filled(tmp_path, 2000)) as gallery, ThreadPoolExecutor(1) as asking:
        for _ in range(64):
            ann._HELPERS.submit(go.wait, 60)
        try:
            query = people(range(9000, 9001))[1]
            assert len(asking.submit(gallery.search, query, 10).result(20)[0]) == 10
        finally:
            go.set()


def test_a_device_answers_and_goes_on_answering_as_the_gallery_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[int]()
    nearest = Held.nearest

    def watched(
        held: Held, query: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        asked.append(count)
        return nearest(held, query, count)

    monkeypatch.setattr(Held, "nearest", watched)
    device = stand_in()
    with closing(filled(tmp_path, 1000, device=device)) as gallery:
        for change in (
            lambda: None,
            lambda: gallery.remove(Where(camera_ids=["cam1", "cam2", "cam3"])),
            lambda: gallery.add(*people(range(1000, 1400))),
        ):
            change()
            parts = settled(gallery)._index.view.coded
            asked.clear()
            gallery.search(people(range(9000, 9001))[1], 5)
            assert len(asked) == len(parts) > 0
    with closing(EmbeddedGallery(tmp_path, SPEC, limits=TINY, device=device)) as gallery:
        asked.clear()
        gallery.search(people(range(9000, 9001))[1], 5, exact=True)
        assert asked


def test_a_device_without_room_leaves_images_to_the_processor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(HalfFlat):
        def __init__(self, dim: int) -> None:
            super().__init__(dim)
            self.add = self.refuse

        def refuse(self, rows: NDArray[np.float32]) -> None:
            raise RuntimeError(f"cudaMalloc error out of memory, {len(rows)} rows")

    with (
        closing(filled(tmp_path, 1000, device=Accelerator("a small GPU", Full))) as gallery,
        closing(open_gallery("memory:", SPEC)) as oracle,
    ):
        for start in range(0, 1000, 250):
            oracle.add(*people(range(start, start + 250)))
        query = people(range(9000, 9003))[1]
        assert gallery.search(query, 20, exact=True) == oracle.search(query, 20)
    assert "a small GPU takes no further" in caplog.text
    assert "out of memory" in caplog.text


def test_without_a_gpu_the_processor_searches_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for build, why in (
        (SimpleNamespace(), "built for the processor; install the extra [gpu]"),
        (SimpleNamespace(StandardGpuResources=object, get_num_gpus=lambda: 0), "finds no NVIDIA GPU"),
    ):
        monkeypatch.setattr("index.embedded.device.faiss", build)
        caplog.clear()
        with caplog.at_level("INFO", "index.embedded.device"):
            assert accelerator(Device.AUTO) is None
        assert why in caplog.text
        with pytest.raises(DeviceUnfit, match=r"'cuda' cannot be used: .*" + re.escape(why)):
            accelerator(Device.CUDA)
        assert accelerator(Device.CPU) is None


def test_an_image_without_a_name_passes_no_filter_by_name() -> None:
    known = Names()
    for name in ("a", "b"):
        known.number(name)
    assert known.table(["b", "unheard"]).tolist() == [False, True, False]
    assert known.table(["b"])[known.number(None)] == np.False_


def test_names_are_kept_for_a_file_while_others_come() -> None:
    known, ended = Names(), threading.Event()
    for number in range(100_000):
        known.number(f"p{number}")

    def go_on() -> None:
        for number in range(10**7):
            if ended.is_set():
                return
            known.number(f"x{number}")

    other = threading.Thread(target=go_on)
    other.start()
    try:
        kept = [known.kept(np.arange(100_000, dtype=np.int32)) for _ in range(5)]
    finally:
        ended.set()
        other.join()
    assert all(names[:100_000] == [f"p{number}" for number in range(100_000)] for names in kept)


class Growing(RuleBasedStateMachine):
    """Random calls on a coded gallery and on the oracle."""

    def __init__(self, limits: Limits, device: Accelerator | None) -> None:
        super().__init__()
        self._limits = limits
        self._device = device
        self._next = 0
        self._folder = tempfile.TemporaryDirectory()
        self._oracle = open_gallery("memory:", SPEC)
        self._coded = self._opened()

    def _opened(self) -> EmbeddedGallery:
        return EmbeddedGallery(Path(self._folder.name), SPEC, limits=self._limits, device=self._device)

    @rule(count=st.integers(40, 160))
    def add(self, count: int) -> None:
        images = people(range(self._next, self._next + count))
        self._next += count
        assert self._coded.add(*images) == self._oracle.add(*images)

    @rule(where=st.sampled_from(FILTERS[1:]), more=st.integers(0, 9))
    def remove(self, where: Where, more: int) -> None:
        both = Where(camera_ids=[f"cam{more}"], modality=where.modality, before=where.before)
        assert self._coded.remove(both) == self._oracle.remove(both)

    @rule(
        number=st.integers(0, 3000),
        several=st.booleans(),
        k=st.integers(1, 60),
        where=st.sampled_from(FILTERS),
        exact=st.booleans(),
    )
    def search(self, number: int, several: bool, k: int, where: Where, exact: bool) -> None:
        queries = people(range(number, number + 3))[1][: 3 if several else 1]
        expected = self._oracle.search(queries, k, where)
        found = self._coded.search(queries, k, where, exact=exact)
        if exact or self._limits is EXACT:
            assert found == expected
        assert list(map(len, found)) == list(map(len, expected))

    @rule()
    def restart(self) -> None:
        self._coded.close()
        self._coded = self._opened()

    def teardown(self) -> None:
        self._coded.close()
        self._oracle.close()
        self._folder.cleanup()


@pytest.mark.parametrize("limits", [EXACT, TINY], ids=["planned exact", "planned compressed"])
@pytest.mark.parametrize(
    "sequences", [4, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])]
)
@DEVICES
def test_random_calls_are_answered_as_by_the_oracle(
    limits: Limits, sequences: int, device: MakeDevice
) -> None:
    machine: Callable[[], Growing] = lambda: Growing(limits, device())  # noqa: E731
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=sequences,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("ImportError('no such library')", "needs FAISS; install it"),
        ("RuntimeError('install nvidia-cublas-cu12')", "does not load: install nvidia-cublas-cu12"),
    ],
)
def test_a_faiss_that_does_not_load_is_told(tmp_path: Path, fault: str, told: str) -> None:
    (tmp_path / "faiss.py").write_text(f"raise {fault}\n")
    asked = [sys.executable, "-c", "import index.embedded.optional_faiss"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"}
    done = subprocess.run(asked, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "MissingExtra: " in done.stderr
    assert told in done.stderr
