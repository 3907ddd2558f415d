"""Disks that are full or take no write, as real file systems; they need root."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

from index.embedded.ann import View
from index.embedded.columns import Vocabulary
from index.embedded.compaction import compact_gallery
from index.embedded.index_file import write_index_file
from index.embedded.segments import Flat
from index.embedded.snapshot import take_snapshot
from index.errors import GalleryUnavailable
from index.files import write_files
from index.gallery import Gallery, open_gallery
from index.generations import other_generations
from index.records import ImageRecord, Where
from index.reindex import NewEncoder
from index.space import EmbeddingSpec, Modality
from index.switching import reindex

SPEC = EmbeddingSpec(256, "encoder-a")
BATCH = 64


def batch(number: int) -> tuple[list[ImageRecord], NDArray[np.float32]]:
    moment = datetime.fromtimestamp(number, UTC)
    records = [ImageRecord(f"{number}-{i}", Modality.VISIBLE, "cam1", moment) for i in range(BATCH)]
    return records, np.random.default_rng(number).standard_normal((BATCH, SPEC.dim)).astype(np.float32)


def found(gallery: Gallery) -> set[str]:
    """Whom a search and a reading of all find, which must be the same."""
    hits = {hit.record.image_id for hit in gallery.search(np.ones((1, SPEC.dim), np.float32), 10**6)[0]}
    assert hits == {one.image_id for records, _ in gallery.vectors() for one in records}
    return hits


def fill(gallery: Gallery, numbers: range, held: set[str]) -> None:
    """Add batches, and note what was acknowledged."""
    for number in numbers:
        held.update(gallery.add(*batch(number)).added)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True)
    if made.returncode:
        pytest.skip(f"mounting a small disk needs root: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_refuses_what_it_cannot_hold_and_keeps_the_rest(disk: Path) -> None:
    url = f"embedded:{disk / 'gallery'}"
    held: set[str] = set()
    with closing(open_gallery(url, SPEC)) as gallery:
        with pytest.raises(GalleryUnavailable, match=r"gallery\.sqlite3 cannot be used: .*full.*free space"):
            fill(gallery, range(1000), held)
        assert len(held) > 0
        assert found(gallery) == held
        with pytest.raises(GalleryUnavailable):
            take_snapshot(disk / "gallery", disk / "images", disk / "snapshot")
        assert not (disk / "snapshot" / "manifest.json").exists()
    with closing(open_gallery(url, SPEC)) as gallery:
        assert found(gallery) == held


def test_a_full_disk_that_gets_room_goes_on(disk: Path) -> None:
    filler = disk / "filler"
    url = f"embedded:{disk / 'gallery'}"
    with closing(open_gallery(url, SPEC)) as gallery:
        kept = set(gallery.add(*batch(0)).added)
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(4 << 20))
        with pytest.raises(GalleryUnavailable, match="full"):
            fill(gallery, range(1, 50), kept)
        assert found(gallery) == kept
        filler.unlink()
        assert len(gallery.add(*batch(60)).added) == BATCH
        assert found(gallery) == kept | {record.image_id for record in batch(60)[0]}


def test_a_disk_that_takes_no_write_is_told_and_loses_nothing(disk: Path) -> None:
    url = f"embedded:{disk / 'gallery'}"
    with closing(open_gallery(url, SPEC)) as gallery:
        gallery.add(*batch(0))
        before = found(gallery)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(GalleryUnavailable, match=r"gallery\.sqlite3 cannot be used: .*[Rr]ead-only"):
        open_gallery(url, SPEC)
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    with closing(open_gallery(url, SPEC)) as gallery:
        assert found(gallery) == before
        assert gallery.remove(Where(image_ids=["0-1"])) == 1


def test_a_full_disk_leaves_no_part_of_a_batch_of_files(disk: Path) -> None:
    drafts = disk / "drafts"
    drafts.mkdir()
    write_files({disk / "a" / f"{n}": bytes(10_000) for n in range(20)}, drafts)
    with pytest.raises(OSError, match="No space"):
        write_files({disk / "b" / f"{n}": bytes(100_000) for n in range(40)}, drafts)
    assert {path.parent.name for path in disk.rglob("*") if path.is_file()} == {"a"}


def test_a_disk_that_takes_no_index_file_says_so_in_words(disk: Path) -> None:
    (disk / "index.faiss.draft").write_bytes(b"left by a kill")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(GalleryUnavailable, match=r"index\.faiss cannot be written: .*[Rr]ead-only"):
        write_index_file(disk, SPEC, View((), Flat.empty(SPEC.dim)), Vocabulary())


def test_a_disk_without_room_for_another_generation_is_told_before_anything_is_embedded(disk: Path) -> None:
    url = f"embedded:{disk / 'gallery'}"
    with closing(open_gallery(url, SPEC)) as gallery:
        fill(gallery, range(4), set())
        before = found(gallery)
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 200_000))

    def never(*_: object) -> NoReturn:
        raise AssertionError

    new = NewEncoder(EmbeddingSpec(SPEC.dim, "encoder-b"), never, never)
    told = r"256 images takes about [\d.]+ MB .* MB are free: make room"
    with pytest.raises(GalleryUnavailable, match=told):
        reindex(url, disk / "images", new)
    assert other_generations(disk / "gallery") == []
    with closing(open_gallery(url, SPEC)) as gallery:
        assert found(gallery) == before


def test_a_disk_too_full_to_compact_keeps_the_index_file(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.embedded.engine._WORTH_SAVING", 1)
    folder = disk / "gallery"
    with closing(open_gallery(f"embedded:{folder}", SPEC)) as gallery:
        fill(gallery, range(5), set())
        before = found(gallery)
    written = (folder / "index.faiss").read_bytes()
    filler = disk / "filler"
    with suppress(OSError):
        filler.write_bytes(bytes(2 << 20))
    with pytest.raises(GalleryUnavailable, match="free space"):
        compact_gallery(folder)
    filler.unlink()
    assert (folder / "index.faiss").read_bytes() == written
    with closing(open_gallery(f"embedded:{folder}", SPEC)) as gallery:
        assert found(gallery) == before
    assert compact_gallery(folder).complete
