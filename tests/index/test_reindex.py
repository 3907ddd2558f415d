"""A gallery moved to another encoder: resumed after a kill, switched at once, nothing lost."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_embedded import OF_VERSION_1

from index.embedded.engine import EmbeddedGallery
from index.embedded.erasure import erase_images
from index.embedded.retention import Retention, read_retention, write_retention
from index.embedded.store import Store, open_stored
from index.errors import EncoderMismatch, GalleryUnavailable, InvalidInput
from index.gallery import embedded_folder, open_gallery, stored_spec
from index.generations import POINTER_NAME, current_folder, generation_folder
from index.images import image_path
from index.records import ANY, ImageRecord, Where
from index.reindex import MARK_NAME, NewEncoder
from index.space import EmbeddingSpec, Modality, l2_normalise
from index.switching import drop_old, reindex

OLD, NEW = EmbeddingSpec(4, "old"), EmbeddingSpec(6, "new")
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def decode(data: bytes) -> NDArray[np.uint8]:
    if len(data) != 6:
        raise InvalidInput("expected 6 bytes")
    return np.frombuffer(data, np.uint8).reshape(1, 2, 3)


def encode(images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
    return l2_normalise(images.reshape(len(images), 6).astype(np.float32) + 1)


class Counting:
    """An encoder that counts what it embeds."""

    def __init__(self) -> None:
        self.embedded = 0

    def __call__(self, images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
        assert len(images) == len(modality)
        self.embedded += len(images)
        return encode(images, modality)

    @property
    def encoder(self) -> NewEncoder:
        return NewEncoder(NEW, decode, self)


def record(number: int) -> ImageRecord:
    return ImageRecord(f"i{number}", list(Modality)[number % 2], "cam1", NOON, f"p{number}")


def picture(number: int) -> bytes:
    return bytes((number + i * 37) % 256 for i in range(6))


class Site:
    """A gallery of the old encoder and its image files."""

    def __init__(self, folder: Path, count: int = 200) -> None:
        self.folder = folder
        self.url = f"embedded:{folder}"
        self.images = folder / "images"
        self.ingest(range(count))

    def ingest(self, numbers: Sequence[int], spec: EmbeddingSpec = OLD) -> None:
        with closing(open_gallery(self.url, spec)) as gallery:
            self.store(gallery, numbers)

    def store(self, gallery, numbers: Sequence[int]) -> None:
        rows = np.random.default_rng(0).standard_normal((len(numbers), gallery.spec.dim))
        gallery.add([record(number) for number in numbers], rows.astype(np.float32))
        for number in numbers:
            self.write(f"i{number}", picture(number))

    def write(self, image_id: str, data: bytes) -> None:
        path = image_path(self.images, image_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def reindex(self, encoder: NewEncoder | None = None, **options):
        return reindex(self.url, self.images, encoder or Counting().encoder, **options)

    def vectors(self) -> dict[str, NDArray[np.float32]]:
        with closing(open_gallery(self.url, NEW, read_only=True)) as gallery:
            return {
                stored.image_id: row
                for page, rows in gallery.vectors()
                for stored, row in zip(page, rows, strict=True)
            }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def assert_embedded_anew(site: Site, numbers: Sequence[int]) -> None:
    found = site.vectors()
    assert list(found) == [f"i{number}" for number in numbers]
    for number in numbers:
        expected = encode(decode(picture(number))[np.newaxis], [Modality.VISIBLE])[0]
        np.testing.assert_allclose(found[f"i{number}"], expected, atol=2e-3)


def test_every_image_is_embedded_anew_and_the_gallery_switched(site: Site) -> None:
    write_retention(site.folder, Retention(30, {"cam1": None}))
    counting, looked_at = Counting(), []
    report = site.reindex(counting.encoder, progress=looked_at.append)
    assert (report.embedded, report.images, report.switched, report.left) == (200, 200, True, {})
    assert (counting.embedded, sum(looked_at)) == (200, 200)
    assert stored_spec(site.url) == NEW
    assert_embedded_anew(site, range(200))
    with closing(open_gallery(site.url, NEW)) as gallery:
        assert [stored for page, _ in gallery.vectors() for stored in page] == [record(i) for i in range(200)]
    assert read_retention(embedded_folder(site.url)) == Retention(30, {"cam1": None})
    with pytest.raises(EncoderMismatch):
        open_gallery(site.url, OLD)


def test_an_erasure_in_all_generations_keeps_the_file_of_an_image_that_stays(site: Site) -> None:
    site.reindex()
    folder = current_folder(site.folder)
    with closing(open_gallery(site.url, NEW)) as gallery:  # i7 comes again, as another person
        gallery.remove(Where(image_ids=["i7"]))
        gallery.add([replace(record(7), person_id="p8")], np.ones((1, 6), np.float32))
    done = erase_images(folder, site.images, [Where(person_ids=["p7"])], [site.folder])
    assert (done.images, done.image_files, done.elsewhere, done.complete) == (0, 0, 1, True)
    assert image_path(site.images, "i7").exists()
    done = erase_images(folder, site.images, [Where(person_ids=["p8"])], [site.folder])
    assert (done.images, done.image_files, done.elsewhere) == (2, 2, 1)
    for generation in (folder, site.folder):
        with closing(open_stored(generation, read_only=True)) as stored:
            assert stored.count(ANY) == 198
    assert not image_path(site.images, "i7").exists()


def test_a_gallery_of_an_earlier_version_is_embedded_anew_as_well(site: Site) -> None:
    with closing(sqlite3.connect(site.folder / "gallery.sqlite3", isolation_level=None)) as connection:
        for statement in OF_VERSION_1:
            connection.execute(statement)
    assert site.reindex().switched
    assert_embedded_anew(site, range(200))


def test_a_second_change_of_encoder_works_as_the_first(site: Site) -> None:
    site.reindex()
    third = EmbeddingSpec(6, "third")
    assert site.reindex(NewEncoder(third, decode, encode)).switched
    assert stored_spec(site.url) == third
    with pytest.raises(InvalidInput, match="third already"):
        site.reindex(NewEncoder(third, decode, encode))
    assert site.reindex().switched, "back to one that was in use before"
    assert_embedded_anew(site, range(200))


def test_a_generation_from_an_earlier_time_gives_no_vector_of_a_file_that_was_replaced_since(
    site: Site,
) -> None:
    third = EmbeddingSpec(6, "third")
    site.reindex()
    with closing(open_gallery(site.url, NEW)) as serving:
        serving.remove(Where(image_ids=["i5"]))
    site.write("i5", picture(77))
    site.ingest([5], NEW)
    site.write("i5", picture(77))
    for path in site.images.glob("*/*"):
        os.utime(path, (0, 0))
    site.reindex(NewEncoder(third, decode, encode))
    report = site.reindex()
    assert (report.embedded, report.already, report.switched) == (200, 0, True)
    expected = encode(decode(picture(77))[np.newaxis], [Modality.VISIBLE])[0]
    np.testing.assert_allclose(site.vectors()["i5"], expected, atol=2e-3)


def test_a_switch_in_milvus_that_was_broken_off_loses_nothing(tmp_path: Path) -> None:
    """What an old server stored last is brought over by the same command; nobody writes or drops before."""
    pytest.importorskip("milvus_lite")
    site = Site(tmp_path / "site", 0)
    site.url = f"milvus:{tmp_path}/gallery.db"
    with closing(open_gallery(site.url, OLD)) as serving:
        site.store(serving, range(30))

        def late(looked_at: int) -> None:
            if serving.count() == 30:
                site.store(serving, [30])
                serving.remove(Where(image_ids=["i3"]))

        def killed(images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
            if stored_spec(site.url) == NEW:
                raise KeyboardInterrupt
            return encode(images, modality)

        with pytest.raises(KeyboardInterrupt):
            site.reindex(NewEncoder(NEW, decode, killed), progress=late)
    assert stored_spec(site.url) == NEW
    for attempt in (lambda: open_gallery(site.url, NEW), lambda: drop_old(site.url)):
        with pytest.raises(GalleryUnavailable, match="run the same command again if it was broken off"):
            attempt()
    with pytest.raises(GalleryUnavailable, match="is being moved to encoder new"):
        site.reindex(NewEncoder(EmbeddingSpec(6, "third"), decode, encode))
    report = site.reindex()
    assert (report.embedded, report.already, report.images, report.switched) == (1, 29, 30, True)
    assert_embedded_anew(site, [i for i in range(31) if i != 3])
    assert len(drop_old(site.url)) == 1
    with pytest.raises(InvalidInput, match="new already"):
        site.reindex()
    open_gallery(site.url, NEW).close()


def test_a_switch_in_milvus_has_not_ended_while_an_image_has_no_file(tmp_path: Path) -> None:
    """The old generation holds the only vector of it, so that nobody may drop it unasked."""
    pytest.importorskip("milvus_lite")
    site = Site(tmp_path / "site", 0)
    site.url = f"milvus:{tmp_path}/gallery.db"
    with closing(open_gallery(site.url, OLD)) as serving:
        site.store(serving, range(5))

        def late(looked_at: int) -> None:
            if serving.count() == 5:
                site.store(serving, [5])
                image_path(site.images, "i5").unlink()

        report = site.reindex(progress=late)
    assert (report.switched, report.left) == (True, {"i5": "has no file"})
    assert report.waits_for == "1 image could not be embedded"
    with pytest.raises(GalleryUnavailable, match="run the same command again"):
        drop_old(site.url)
    assert site.reindex().waits_for is not None
    report = site.reindex(without_left=True)
    assert (report.switched, report.waits_for, report.images) == (True, None, 5)
    assert len(drop_old(site.url)) == 1


def test_beside_a_server_all_is_made_ready_and_nothing_switched(site: Site) -> None:
    with closing(open_gallery(site.url, OLD)) as serving:
        report = site.reindex()
        assert (report.embedded, report.switched) == (200, False)
        assert f"process {os.getpid()}" in str(report.waits_for)
        assert stored_spec(site.url) == OLD
        site.store(serving, range(200, 210))
        serving.remove(Where(image_ids=["i3"]))
        assert len(serving.search(np.ones((1, 4), np.float32), 300)[0]) == 209
    counting = Counting()
    report = site.reindex(counting.encoder)
    assert (report.embedded, report.already, report.switched) == (10, 199, True)
    assert_embedded_anew(site, [i for i in range(210) if i != 3])


def test_a_pass_beside_a_server_holds_up_none_of_its_upkeep_and_takes_no_second_memory(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    begin = EmbeddedGallery.__init__

    def watched(self: EmbeddedGallery, folder: Path, *said: Any, **options: Any) -> None:
        begin(self, folder, *said, **options)
        opened.append(folder)

    with closing(open_gallery(site.url, OLD)) as serving:

        def stored_meanwhile(looked_at: int) -> None:
            site.store(serving, range(200 + 70 * len(emptied), 201 + 70 * len(emptied)))
            emptied.append(serving._store.purge())

        emptied: list[bool] = []
        monkeypatch.setattr(EmbeddedGallery, "__init__", watched)
        report = site.reindex(progress=stored_meanwhile)
        assert not report.switched
        assert len(emptied) > 1
        assert all(emptied), "SQLite's write-ahead file does not grow for as long as the pass takes"
    assert opened == [generation_folder(site.folder, NEW)]


def test_the_pass_that_keeps_a_server_waiting_reads_no_vector_of_what_did_not_change(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in site.images.glob("*/*"):
        os.utime(path, (0, 0))
    with closing(open_gallery(site.url, OLD)) as serving:
        site.reindex()
        site.store(serving, range(200, 203))
        serving.remove(Where(image_ids=["i3"]))
    read: list[str] = []
    pages, find = Store.pages, Store.find

    def listed(store: Store, where: Where):
        read.append(f"page {where}")
        return pages(store, where)

    def sought(store: Store, image_ids: Collection[str]):
        read.extend(image_ids)
        return find(store, image_ids)

    monkeypatch.setattr(Store, "pages", listed)
    monkeypatch.setattr(Store, "find", sought)
    report = site.reindex()
    assert (report.embedded, report.already, report.images, report.switched) == (3, 199, 202, True)
    assert read == ["i200", "i201", "i202"]
    monkeypatch.undo()
    assert_embedded_anew(site, [i for i in range(203) if i != 3])


def test_an_image_replaced_meanwhile_is_embedded_again(site: Site) -> None:
    with closing(open_gallery(site.url, OLD)) as serving:
        site.reindex()
        serving.remove(Where(image_ids=["i5", "i6"]))
        serving.add([record(5), replace(record(6), camera_id="cam2")], np.eye(4, dtype=np.float32)[:2])
        site.write("i5", picture(77))
    assert site.reindex().switched
    found = site.vectors()
    expected = encode(decode(picture(77))[np.newaxis], [Modality.VISIBLE])[0]
    np.testing.assert_allclose(found["i5"], expected, atol=2e-3)
    with closing(open_gallery(site.url, NEW)) as gallery:
        assert gallery.get("i6") == replace(record(6), camera_id="cam2")
        assert gallery.count() == 200


def test_an_image_without_a_usable_file_is_named_and_nothing_is_lost(site: Site) -> None:
    image_path(site.images, "i7").unlink()
    site.write("i8", b"damaged")
    report = site.reindex()
    assert not report.switched
    assert report.left == {"i7": "has no file", "i8": "is no image that can be used: expected 6 bytes"}
    assert stored_spec(site.url) == OLD
    site.write("i7", picture(7))
    counting = Counting()
    report = site.reindex(counting.encoder, without_left=True)
    assert (report.switched, list(report.left), report.images) == (True, ["i8"], 199)
    with closing(open_gallery(f"embedded:{site.folder}", NEW)) as gallery:
        assert gallery.get("i8") is None
    (site.folder / POINTER_NAME).unlink()
    with closing(open_gallery(site.url, OLD)) as old:
        assert old.get("i8") == record(8), "the old generation still holds it"


def test_old_generations_are_dropped_when_asked(site: Site) -> None:
    site.reindex()
    with closing(open_gallery(site.url, NEW)):
        assert drop_old(site.url) == [str(site.folder)]
    assert not (site.folder / "gallery.sqlite3").exists()
    assert_embedded_anew(site, range(200))
    assert drop_old(site.url) == []
    third = EmbeddingSpec(6, "third")
    site.reindex(NewEncoder(third, decode, encode))
    folder = current_folder(site.folder)
    assert len(drop_old(site.url)) == 1
    assert list((site.folder / "generations").glob("*/")) == [folder]


def test_what_was_dropped_is_gone_after_a_power_cut(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder's names are on the disk once it was synced; a database never without its write-ahead file."""
    site.reindex()
    site.reindex(NewEncoder(EmbeddingSpec(6, "third"), decode, encode))
    synced: dict[str, list[set[str]]] = {}
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        if path.is_dir():
            synced.setdefault(str(path), []).append({inside.name for inside in path.iterdir()})

    (site.folder / "gallery.sqlite3-wal").write_bytes(b"changes")
    monkeypatch.setattr(os, "fsync", watched)
    dropped = drop_old(site.url)
    assert len(dropped) == 2
    first, last = synced[str(site.folder)]
    assert "gallery.sqlite3" not in first
    assert "gallery.sqlite3-wal" in first
    assert not [name for name in last if name.startswith("gallery.sqlite3")]
    assert synced[str(site.folder / "generations")] == [{current_folder(site.folder).name}]


def test_what_a_dropping_that_was_broken_off_left_is_dropped_by_the_next(site: Site) -> None:
    site.reindex()
    (site.folder / "gallery.sqlite3").rename(site.folder / "gallery.sqlite3-wal")
    (half := site.folder / "generations" / "half").mkdir()
    (half / "index.faiss").touch()
    assert drop_old(site.url) == [str(site.folder), str(half)]
    assert not half.exists()
    assert not list(site.folder.glob("gallery.sqlite3*"))
    assert drop_old(site.url) == []
    assert_embedded_anew(site, range(200))


def test_a_gallery_that_is_not_there_or_of_this_encoder_is_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no gallery"):
        reindex(f"embedded:{tmp_path}/none", site.images, Counting().encoder)
    with pytest.raises(InvalidInput, match="already"):
        site.reindex(NewEncoder(OLD, decode, encode))


@pytest.mark.parametrize("name", ["", "absent", "../..", "/"])
def test_a_damaged_pointer_is_named_and_not_followed(site: Site, name: str) -> None:
    (site.folder / POINTER_NAME).write_text(name)
    with pytest.raises(GalleryUnavailable, match=POINTER_NAME):
        open_gallery(site.url, OLD)


def test_a_damaged_mark_is_named(site: Site) -> None:
    (site.folder / MARK_NAME).write_text("[]")
    with pytest.raises(GalleryUnavailable, match=MARK_NAME):
        site.reindex()


SLOWLY = """
import sys, time
sys.path.insert(0, sys.argv[2])
import test_reindex as t
from pathlib import Path

def slowly(images, modality):
    time.sleep(0.02)
    return t.encode(images, modality)

print("begun", flush=True)
folder = Path(sys.argv[1])
t.reindex(f"embedded:{folder}", folder / "images", t.NewEncoder(t.NEW, t.decode, slowly))
print("done", flush=True)
"""


@pytest.mark.slow
def test_a_killed_run_loses_nothing_and_is_resumed(tmp_path: Path) -> None:
    """Killed at random moments until a run comes through; at each moment one of two galleries serves."""
    site, kills = Site(tmp_path / "site", 3000), 0
    random = np.random.default_rng(0)
    while stored_spec(site.url) == OLD:
        command = [sys.executable, "-c", SLOWLY, str(site.folder), str(Path(__file__).parent)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(random.uniform(0.05, 0.4 + 0.2 * kills))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        kills += 1
        spec = stored_spec(site.url)
        assert spec in (OLD, NEW)
        with closing(open_gallery(site.url, spec)) as gallery:
            assert gallery.count() == 3000
    assert kills > 3
    assert_embedded_anew(site, range(3000))
