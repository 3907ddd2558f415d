"""A gallery copied: whole, in order, resumed, and compared without mercy."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.copying import TOLERANCE, copy_gallery, difference
from index.errors import GalleryUnavailable, InvalidInput
from index.gallery import AddReport, Gallery, open_gallery
from index.memory import MemoryGallery
from index.records import ImageRecord, Where
from index.space import EmbeddingSpec, Modality, l2_normalise

SPEC = EmbeddingSpec(8, "encoder-a")
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def filled(count: int = 2500) -> MemoryGallery:
    gallery = MemoryGallery(SPEC)
    records = [
        ImageRecord(
            f"i{i}", list(Modality)[i % 2], f"cam{i % 7}", NOON, None if i % 3 else f"p{i}", source="s"
        )
        for i in range(count)
    ]
    gallery.add(records, np.random.default_rng(0).standard_normal((count, SPEC.dim)).astype(np.float32))
    return gallery


def order(gallery: Gallery) -> list[ImageRecord]:
    return [record for records, _ in gallery.vectors() for record in records]


class Broken(MemoryGallery):
    """Fails at the second batch."""

    calls = 0

    def add(self, records: list[ImageRecord], vectors: NDArray[np.float32]) -> AddReport:
        self.calls += 1
        if self.calls == 2:
            raise GalleryUnavailable("the disk is full")
        return super().add(records, vectors)


def test_a_copy_holds_every_record_and_vector_in_the_same_order(tmp_path: Path) -> None:
    source, seen = filled(), []
    with closing(open_gallery(f"embedded:{tmp_path}/copy", SPEC)) as target:
        report = copy_gallery(source, target, seen.append)
        assert (report.added, report.unchanged, report.verified) == (2500, 0, 2500)
        assert (report.faults, report.fault_count) == ([], 0)
        assert (report.source_images, report.target_images, sum(seen)) == (2500, 2500, 5000)
        assert report.largest_difference <= TOLERANCE
        assert order(target) == order(source)


def test_a_copy_that_was_broken_off_is_resumed() -> None:
    source, target = filled(), Broken(SPEC)
    with pytest.raises(GalleryUnavailable):
        copy_gallery(source, target)
    assert target.count() == 1024
    report = copy_gallery(source, target)
    assert (report.added, report.unchanged, report.verified, report.faults) == (1476, 1024, 2500, [])
    assert order(target) == order(source)


def test_whatever_differs_is_named() -> None:
    source, target = filled(100), MemoryGallery(SPEC)
    copied = {
        record.image_id: (record, row)
        for page, rows in source.vectors()
        for record, row in zip(page, rows, strict=True)
    }
    record, row = copied["i3"]
    target.add([replace(record, camera_id="other")], row[np.newaxis])
    record, row = copied["i4"]
    target.add([record], l2_normalise(row + np.float32(0.01))[np.newaxis])
    target.add([ImageRecord("extra", Modality.VISIBLE, "cam1", NOON)], np.ones((1, 8), np.float32))
    report = copy_gallery(source, target)
    assert report.verified == 98
    assert report.fault_count == 3
    told = "\n".join(report.faults)
    assert "'i3' has another record" in told
    assert "'i4' has another vector" in told
    assert "100 images, the target 101" in told


def test_an_image_that_the_target_lost_is_named() -> None:
    class Forgetful(MemoryGallery):
        def add(self, records: list[ImageRecord], vectors: NDArray[np.float32]) -> AddReport:
            report = super().add(records, vectors)
            self.remove(Where(image_ids=["i7"]))
            return report

    report = copy_gallery(filled(20), Forgetful(SPEC))
    assert report.faults == [
        "image 'i7' is missing in the target",
        "the source holds 20 images, the target 19",
    ]


def test_of_many_faults_the_first_are_named_and_all_are_counted() -> None:
    source, target = filled(300), MemoryGallery(SPEC)
    for page, rows in source.vectors():
        target.add([replace(record, camera_id="other") for record in page], rows)
    report = copy_gallery(source, target)
    assert (report.fault_count, len(report.faults), report.verified) == (300, 20, 0)


@pytest.mark.parametrize("engine", ["embedded", "milvus-lite"])
def test_a_mirroring_copy_follows_what_was_removed_and_changed(tmp_path: Path, engine: str) -> None:
    if engine == "milvus-lite":
        pytest.importorskip("milvus_lite")
    address = {"embedded": f"embedded:{tmp_path}/copy", "milvus-lite": f"milvus:{tmp_path}/copy.db"}[engine]
    with (
        closing(open_gallery(f"embedded:{tmp_path}/source", SPEC)) as source,
        closing(open_gallery(address, SPEC)) as target,
    ):
        copy_gallery(filled(1200), source)
        assert not copy_gallery(source, target).faults
        source.remove(Where(image_ids=["i3", "i1100"]))
        source.remove(Where(image_ids=["i5", "i8"]))
        again = (
            ImageRecord("i5", Modality.INFRARED, "cam9", NOON),
            ImageRecord("new", "visible", "cam1", NOON),
        )
        source.add(again, np.eye(2, SPEC.dim, dtype=np.float32))
        source.add(order(filled(9))[8:], np.ones((1, SPEC.dim), np.float32))

        plain = copy_gallery(source, target)
        assert (plain.added, plain.removed, plain.fault_count, plain.needs_mirror) == (1, 0, 3, True)
        assert target.count() == 1201, "nothing is removed unasked"

        found = difference(source, target)
        assert (sorted(found.extra), sorted(found.changed), found.missing) == (
            ["i1100", "i3"],
            ["i5", "i8"],
            0,
        )
        report = copy_gallery(source, target, mirror=True)
        assert (report.removed, report.replaced, report.added, report.faults) == (2, 2, 0, [])
        assert (report.verified, report.needs_mirror) == (1199, False)
        assert sorted(order(target), key=str) == sorted(order(source), key=str)
        assert difference(source, target).extra == difference(source, target).changed == []


def test_a_gallery_that_is_no_copy_is_not_emptied() -> None:
    source, target = filled(3), MemoryGallery(SPEC)
    target.add([ImageRecord("other", Modality.VISIBLE, "cam1", NOON)], np.ones((1, 8), np.float32))
    for empty in (source, MemoryGallery(SPEC)):
        with pytest.raises(InvalidInput, match="no copy of it; nothing was changed"):
            copy_gallery(empty, target, mirror=True)
    assert [record.image_id for record in order(target)] == ["other"]
