"""Stats, verification, snapshots, erasing, retention and compaction, on real files and processes."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.embedded.compaction import compact_gallery
from index.embedded.erasure import erasable, erase_images
from index.embedded.retention import Retention, read_retention, write_retention
from index.embedded.snapshot import check_snapshot, restore_snapshot, take_snapshot
from index.embedded.stats import gallery_stats
from index.embedded.verification import verify_gallery
from index.errors import GalleryUnavailable, InvalidInput, SnapshotInvalid
from index.gallery import Gallery, open_gallery
from index.images import image_path
from index.records import ANY, ImageRecord, Where
from index.space import EmbeddingSpec, Modality, l2_normalise

SPEC = EmbeddingSpec(32, "encoder-a")
DAY = datetime(2026, 5, 1, tzinfo=UTC)
ROOT = Path(__file__).parents[2]
COUNT = 60


def record(n: int) -> ImageRecord:
    """Image n: camera n % 3, person n % 10, captured n days after the first."""
    modality = Modality.INFRARED if n % 2 else Modality.VISIBLE
    return ImageRecord(f"i{n}", modality, f"cam{n % 3}", DAY + timedelta(days=n), f"p{n % 10}")


def vector(n: int) -> NDArray[np.float32]:
    row: NDArray[np.float32] = np.random.default_rng(n).standard_normal(SPEC.dim).astype(np.float32)
    return row


def picture(n: int) -> bytes:
    return f"the picture of image {n}".encode() * 20


def put(gallery: Gallery, folder: Path, numbers: range) -> None:
    """Store images as a server does: records first, then files."""
    gallery.add([record(n) for n in numbers], np.stack([vector(n) for n in numbers]))
    for n in numbers:
        path = image_path(folder / "images", f"i{n}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(n))


def opened(folder: Path, *, read_only: bool = False) -> Gallery:
    return open_gallery(f"embedded:{folder}", SPEC, read_only=read_only)


def content(folder: Path) -> dict[ImageRecord, tuple[list[float], bytes]]:
    """Everything that a gallery holds of each image."""
    held = {}
    with closing(opened(folder)) as gallery:
        for records, rows in gallery.vectors():
            for one, row in zip(records, rows, strict=True):
                held[one] = row.tolist(), image_path(folder / "images", one.image_id).read_bytes()
    return held


def verified(folder: Path) -> tuple[str, ...]:
    return verify_gallery(folder, folder / "images").faults


def tree(folder: Path) -> dict[str, bytes]:
    """What lies under a folder, but for the lock and what SQLite shares among its readers."""
    files = (
        path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("lock", "-shm"))
    )
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    return {name: data for name, data in found.items() if data or not name.endswith("-wal")}


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pattern") / "site"
    with closing(opened(folder)) as gallery:
        put(gallery, folder, range(COUNT))
    return folder


@pytest.fixture
def site(pattern: Path, tmp_path: Path) -> Path:
    """The folder of a closed gallery with its image files."""
    return Path(shutil.copytree(pattern, tmp_path / "site"))


@contextmanager
def child(script: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


HOLD = """
import sys
from pathlib import Path
from test_upkeep import opened
gallery = opened(Path(sys.argv[1]), read_only=sys.argv[2] == "reader")
gallery.count()
print("open", flush=True)
sys.stdin.read()
"""


def test_stats_say_what_is_held_and_what_it_takes(site: Path) -> None:
    stats = gallery_stats(site, site / "images")
    assert (stats.encoder, stats.dim, stats.images, stats.people) == ("encoder-a", 32, COUNT, 10)
    assert [(one.camera_id, one.modality, one.count) for one in stats.cameras] == [
        (f"cam{camera}", modality, 10)
        for camera in range(3)
        for modality in (Modality.INFRARED, Modality.VISIBLE)
    ]
    assert min(one.first_captured_at for one in stats.cameras) == DAY
    assert max(one.last_captured_at for one in stats.cameras) == DAY + timedelta(days=COUNT - 1)
    assert stats.database_bytes == (site / "gallery.sqlite3").stat().st_size
    assert (stats.index_file_bytes, stats.image_files) == (0, COUNT)
    assert stats.image_bytes == sum(len(picture(n)) for n in range(COUNT))


def test_a_whole_gallery_has_no_fault(site: Path) -> None:
    found = verify_gallery(site, site / "images", check_image=lambda data: data)
    assert (found.images, found.image_files, found.has_index_file, found.faults) == (COUNT, COUNT, False, ())


def test_a_gallery_without_image_files_has_no_fault(site: Path) -> None:
    shutil.rmtree(site / "images")
    found = verify_gallery(site, site / "images")
    assert (found.images, found.image_files, found.faults) == (COUNT, None, ())


def _sql(statement: str, *values: object) -> Callable[[Path], None]:
    def run(site: Path) -> None:
        with closing(sqlite3.connect(site / "gallery.sqlite3")) as connection, connection:
            connection.execute(statement, values)

    return run


def _bit_of_a_vector(site: Path) -> None:
    row = bytearray(l2_normalise(vector(7)).astype("<f4").tobytes())
    row[0] ^= 1
    _sql("UPDATE vectors SET vector = ? WHERE position = 8", bytes(row))(site)


def _page(site: Path) -> None:
    path = site / "gallery.sqlite3"
    whole = path.read_bytes()
    path.write_bytes(whole[: 8192 * 4] + b"\xff" * 8192 + whole[8192 * 5 :])


def _file_lost(site: Path) -> None:
    image_path(site / "images", "i7").unlink()


def _file_too_many(site: Path) -> None:
    path = image_path(site / "images", "nobody")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"?")


def _index_file(site: Path) -> None:
    (site / "index.faiss").write_bytes(b"no index file\n" + bytes(100))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_bit_of_a_vector, "image 'i7' has a vector that is not what its checksum says"),
        (_sql("UPDATE vectors SET vector = x'00' WHERE position = 8"), "'i7' has a vector that is not of 32"),
        (_sql("DELETE FROM vectors WHERE position = 8"), "image 'i7' has no vector"),
        (_sql("DELETE FROM images WHERE position = 8"), "the vector at position 8 belongs to no image"),
        (_sql("UPDATE images SET modality = 'thermal' WHERE position = 8"), "image 'i7' has a record that"),
        (_page, "gallery.sqlite3"),
        (_file_lost, "image 'i7' has no file in"),
        (_file_too_many, "belongs to no image; remove it"),
        (_index_file, "index.faiss is damaged"),
    ],
)
def test_each_fault_is_named(site: Path, damage: Callable[[Path], None], named: str) -> None:
    damage(site)
    before = tree(site)
    found = verified(site)
    assert [fault for fault in found if named in fault], found
    assert tree(site) == before


def test_a_file_that_is_no_image_is_named(site: Path) -> None:
    def check(data: bytes) -> None:
        if data == picture(7):
            raise InvalidInput("cut short")

    (told,) = verify_gallery(site, site / "images", check).faults
    path = image_path(site / "images", "i7")
    assert told == f"image 'i7' has a file that is no image: cut short; {path}"


def test_a_snapshot_comes_back_as_it_was(site: Path, tmp_path: Path) -> None:
    expected = content(site)
    taken = take_snapshot(site, site / "images", tmp_path / "backup" / "monday")
    assert (taken.images, taken.image_files, taken.encoder, taken.dim) == (COUNT, COUNT, "encoder-a", 32)
    sums = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=tmp_path / "backup" / "monday"
    )
    assert sums.returncode == 0
    assert check_snapshot(tmp_path / "backup" / "monday")[0] == taken
    shutil.rmtree(site)
    assert restore_snapshot(tmp_path / "backup" / "monday", site, site / "images") == taken
    assert verified(site) == ()
    assert content(site) == expected
    modes = {path.stat().st_mode & 0o777 for path in site.rglob("*") if path.is_file()}
    assert modes == {0o600}
    with closing(opened(site)) as gallery:
        put(gallery, site, range(COUNT, COUNT + 5))
        assert gallery.count() == COUNT + 5


# A child that stores and removes as fast as it can, as a server does: file after record, record after file.
SERVE = """
import sys
from itertools import count
from pathlib import Path
from test_upkeep import opened, put
from index.images import image_path
from index.records import Where
folder = Path(sys.argv[1])
gallery = opened(folder)
print("open", flush=True)
for n in count(int(sys.argv[2])):
    put(gallery, folder, range(n, n + 1))
    if n % 3 == 0:
        image_path(folder / "images", f"i{n - 5}").unlink(missing_ok=True)
        gallery.remove(Where(image_ids=[f"i{n - 5}"]))
"""


def test_a_snapshot_beside_a_writer_is_whole(site: Path, tmp_path: Path) -> None:
    with child(SERVE, site, COUNT) as writer:
        assert line(writer) == "open"
        for turn in range(2):
            time.sleep(0.1)
            taken = take_snapshot(site, site / "images", tmp_path / f"{turn}")
            put_back = tmp_path / f"back{turn}"
            restore_snapshot(tmp_path / f"{turn}", put_back, put_back / "images")
            # An image whose file was about to be removed, or written, may be there without it.
            faults = verified(put_back)
            assert len(faults) == taken.images - taken.image_files <= 2
            assert all("has no file" in fault for fault in faults)
        assert writer.poll() is None
    with closing(opened(site)) as gallery:
        assert gallery.count() > COUNT


# A writer between the two halves of each of its changes, for as long as a slow disk may hold it there.
HALFWAY = """
import sys, time
from pathlib import Path
from test_upkeep import opened, put, record, vector
from index.embedded.index_file import write_index_file
from index.images import image_path
from index.records import Where
folder, what = Path(sys.argv[1]), sys.argv[2]
gallery = opened(folder)
if what == "index file":
    view, vocabulary = gallery._index.view, gallery._index.vocabulary
    token = write_index_file(folder, gallery.spec, view, vocabulary)
if what == "store":
    gallery.add([record(900)], vector(900)[None])
if what == "remove":
    image_path(folder / "images", "i3").unlink()
print("halfway", flush=True)
time.sleep(0.3)
if what == "index file":
    gallery._store.set_index_token(token)
if what == "store":
    put(gallery, folder, range(900, 901))
if what == "remove":
    gallery.remove(Where(image_ids=["i3"]))
sys.stdin.read()
"""


@pytest.mark.parametrize("what", ["index file", "store", "remove"])
def test_what_a_writer_is_about_to_end_is_no_fault(site: Path, what: str) -> None:
    with child(HALFWAY, site, what) as writer:
        assert line(writer) == "halfway"
        assert verified(site) == ()
        assert writer.poll() is None


@pytest.mark.parametrize(("what", "images"), [("store", COUNT + 1), ("remove", COUNT - 1)])
def test_a_snapshot_waits_for_what_a_writer_is_about_to_end(
    site: Path, tmp_path: Path, what: str, images: int
) -> None:
    with child(HALFWAY, site, what) as writer:
        assert line(writer) == "halfway"
        taken = take_snapshot(site, site / "images", tmp_path / "snapshot")
        assert (taken.images, taken.image_files) == (images, images)
        assert writer.poll() is None


def test_a_snapshot_without_images_copies_none(site: Path, tmp_path: Path) -> None:
    taken = take_snapshot(site, None, tmp_path / "snapshot")
    assert (taken.images, taken.image_files) == (COUNT, 0)
    assert not (tmp_path / "snapshot" / "images").exists()


def _change(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\0")


def _an_image(snapshot: Path) -> Path:
    return next(path for path in (snapshot / "images").rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda snapshot: _change(snapshot / "gallery.sqlite3"), r"gallery\.sqlite3 was changed"),
        (lambda snapshot: _change(_an_image(snapshot)), r"images/\S+ was changed"),
        (lambda snapshot: _an_image(snapshot).unlink(), r"images/\S+ is missing"),
        (lambda snapshot: shutil.rmtree(snapshot / "images"), "is missing; and 55 more"),
        (lambda snapshot: _change(snapshot / "SHA256SUMS"), r"SHA256SUMS is not what manifest\.json says"),
        (lambda snapshot: (snapshot / "SHA256SUMS").unlink(), "not a complete snapshot: it lacks SHA256SUMS"),
        (lambda snapshot: (snapshot / "manifest.json").unlink(), r"it lacks manifest\.json"),
        (lambda snapshot: (snapshot / "manifest.json").write_text("{"), r"manifest\.json is damaged"),
        (lambda snapshot: _rewrite(snapshot, format=2), "must be a snapshot of format 1, got 2"),
        (lambda snapshot: _lead_out(snapshot), "does not list the files of a snapshot"),
    ],
)
def test_a_damaged_snapshot_is_not_restored(
    site: Path, tmp_path: Path, damage: Callable[[Path], object], named: str
) -> None:
    snapshot, target = tmp_path / "snapshot", tmp_path / "target"
    take_snapshot(site, site / "images", snapshot)
    damage(snapshot)
    with pytest.raises(SnapshotInvalid, match=named):
        restore_snapshot(snapshot, target, target / "images")
    assert not target.exists()


def _rewrite(snapshot: Path, **changes: object) -> None:
    path = snapshot / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _lead_out(snapshot: Path) -> None:
    """Sums that are right, but name a file outside the folder."""
    from index.files import sha256_of

    with (snapshot / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  images/../../../etc/passwd\n")
    _rewrite(snapshot, sums_sha256=sha256_of(snapshot / "SHA256SUMS"))


def test_a_snapshot_is_restored_only_where_nothing_is(site: Path, tmp_path: Path) -> None:
    take_snapshot(site, site / "images", tmp_path / "snapshot")
    before = tree(site)
    with pytest.raises(InvalidInput, match="where no gallery is"):
        restore_snapshot(tmp_path / "snapshot", site, site / "images")
    assert tree(site) == before
    (site / "gallery.sqlite3").unlink()
    image_path(site / "images", "i7").write_bytes(b"another picture")
    before = tree(site)
    with pytest.raises(InvalidInput, match="where no image files are"):
        restore_snapshot(tmp_path / "snapshot", site, site / "images")
    other = tmp_path / "other"
    (other / "images").mkdir(parents=True)
    (other / "images" / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(InvalidInput, match="where no image files are"):
        restore_snapshot(tmp_path / "snapshot", other, other / "images")
    assert (other / "images" / "holiday.jpg").read_bytes() == b"mine"
    assert tree(site) == before


# As slow as a disk is that forces each file to its platter.
RESTORE = """
import sys, time
from pathlib import Path
from index.embedded import snapshot as snapshots
copy = snapshots._copy_checked
def slowly(*said):
    time.sleep(0.002)
    copy(*said)
snapshots._copy_checked = slowly
snapshot, folder = map(Path, sys.argv[1:])
snapshots.restore_snapshot(snapshot, folder, folder / "images")
print("restored", flush=True)
"""


def test_a_restore_that_was_killed_is_ended_by_the_same_command(site: Path, tmp_path: Path) -> None:
    with closing(opened(site)) as gallery:
        put(gallery, site, range(1000, 1400))
    expected = content(site)
    snapshot, folder = tmp_path / "snapshot", tmp_path / "restored"
    take_snapshot(site, site / "images", snapshot)
    (folder / "images").mkdir(parents=True)
    for share in (0.0, 0.3, 0.6):
        with child(RESTORE, snapshot, folder) as process:
            while len(list((folder / "images").glob("??/*"))) < share * len(expected):
                assert process.poll() is None
            while not (folder / "gallery.sqlite3.draft").exists():
                assert process.poll() is None
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        for attempt in (
            lambda: opened(folder),
            lambda: verified(folder),
            lambda: opened(folder, read_only=True),
        ):
            with pytest.raises(GalleryUnavailable, match="was broken off: run the same peca gallery restore"):
                attempt()
        assert not (folder / "gallery.sqlite3").exists(), "no empty gallery takes its place"
    with child(RESTORE, snapshot, folder) as process:
        assert line(process) == "restored"
    assert verified(folder) == ()
    assert content(folder) == expected
    assert not list(folder.rglob("*.draft"))


def test_a_restore_that_fails_after_a_kill_leaves_nothing(site: Path, tmp_path: Path) -> None:
    snapshot, folder = tmp_path / "snapshot", tmp_path / "restored"
    take_snapshot(site, site / "images", snapshot)
    shutil.copytree(snapshot / "images", folder / "images")
    image_path(folder / "images", "i3").unlink()
    image_path(folder / "images", "i3").mkdir()  # a disk that refuses this one file
    (folder / "gallery.sqlite3.draft").write_bytes(b"a part")
    with pytest.raises(GalleryUnavailable, match="cannot be restored"):
        restore_snapshot(snapshot, folder, folder / "images")
    assert tree(folder) == {}


def test_changes_of_another_gallery_do_not_come_into_a_restored_one(site: Path, tmp_path: Path) -> None:
    """SQLite would apply a write-ahead file that a killed server left, to whatever lies beside it."""
    take_snapshot(site, site / "images", tmp_path / "snapshot")
    before = image_path(site / "images", f"i{COUNT + 3}")
    with child(SERVE, site, COUNT) as process:
        while not before.exists():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    wal = site / "gallery.sqlite3-wal"
    assert wal.stat().st_size
    (moved := tmp_path / "moved").mkdir()
    (site / "gallery.sqlite3").rename(moved / "gallery.sqlite3")
    for attempt in (
        lambda: restore_snapshot(tmp_path / "snapshot", site, site / "images"),
        lambda: opened(site),
    ):
        with pytest.raises(
            GalleryUnavailable, match=r"holds changes of a gallery whose gallery\.sqlite3 is not"
        ):
            attempt()
    wal.rename(moved / wal.name)
    (site / "images").rename(moved / "images")
    restore_snapshot(tmp_path / "snapshot", site, site / "images")
    assert len(content(site)) == COUNT
    with closing(opened(moved)) as gallery:
        assert gallery.count() > COUNT, "what was acknowledged is still where it was"


def test_a_snapshot_needs_an_empty_folder(site: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InvalidInput, match="absent or empty"):
        take_snapshot(site, site / "images", tmp_path)
    assert (tmp_path / "mine").read_text() == "mine"


def test_there_must_be_a_gallery(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    for attempt in (
        lambda: gallery_stats(nowhere, nowhere),
        lambda: verify_gallery(nowhere, nowhere),
        lambda: take_snapshot(nowhere, nowhere, tmp_path / "out"),
        lambda: compact_gallery(nowhere),
        lambda: erase_images(nowhere, nowhere, [ANY]),
        lambda: read_retention(nowhere),
    ):
        with pytest.raises(GalleryUnavailable, match=r"there is no gallery at .*nowhere"):
            attempt()
    assert not list(tmp_path.iterdir())


def held_bytes(site: Path, n: int) -> list[str]:
    """The files that hold the id, the vector or the picture of image n."""
    needles = (f"i{n}cam".encode(), l2_normalise(vector(n)).astype("<f4").tobytes(), picture(n))
    return [name for name, data in tree(site).items() if any(needle in data for needle in needles)]


@pytest.mark.parametrize(
    ("where", "gone"),
    [
        (Where(image_ids=["i7"]), {7}),
        (Where(person_ids=["p7"]), {7, 17, 27, 37, 47, 57}),
        (Where(camera_ids=["cam1"], before=DAY + timedelta(days=8)), {1, 4, 7}),
        (Where(modality=Modality.INFRARED, after=DAY + timedelta(days=57)), {57, 59}),
    ],
)
def test_what_is_erased_is_in_no_file(site: Path, where: Where, gone: set[int]) -> None:
    drafts = site / "images" / "drafts"
    drafts.mkdir()
    (drafts / "torn.draft").write_bytes(picture(min(gone)))
    (site / "index.faiss").write_bytes(l2_normalise(vector(min(gone))).astype("<f4").tobytes())
    assert sum(camera.count for camera in erasable(site, [where])) == len(gone)
    assert held_bytes(site, min(gone))
    done = erase_images(site, site / "images", [where])
    assert (done.images, done.image_files, done.complete) == (len(gone), len(gone), True)
    for n in range(COUNT):
        assert bool(held_bytes(site, n)) is (n not in gone), n
    assert verified(site) == ()
    assert {int(one.image_id[1:]) for one in content(site)} == set(range(COUNT)) - gone


def test_an_erasure_says_that_a_reader_keeps_what_was_erased(site: Path) -> None:
    with closing(opened(site)) as gallery:  # so that the write-ahead file holds image 7
        gallery.remove(Where(image_ids=["i7"]))
        put(gallery, site, range(7, 8))
        with child(HOLD, site, "reader") as reader:
            assert line(reader) == "open"
            gallery.close()
            done = erase_images(site, site / "images", [Where(image_ids=["i7"])])
            assert (done.images, done.complete) == (1, False)
            assert not compact_gallery(site).complete
            reader.communicate("")
    assert compact_gallery(site).complete
    assert not held_bytes(site, 7)


def test_erasing_again_ends_what_a_kill_left(site: Path) -> None:
    image_path(site / "images", "i7").unlink()
    done = erase_images(site, site / "images", [Where(image_ids=["i7"])])
    assert (done.images, done.image_files) == (1, 0)
    assert erase_images(site, site / "images", [Where(image_ids=["i7"])]).images == 0
    assert verified(site) == ()


def test_compacting_gives_back_the_space_and_changes_nothing(site: Path) -> None:
    with closing(opened(site)) as gallery:
        numbers = range(1000, 5000)
        gallery.add([record(n) for n in numbers], np.stack([vector(n) for n in numbers]))
        gallery.remove(Where(image_ids=[f"i{n}" for n in numbers]))
        put(gallery, site, range(COUNT, COUNT + 1))
    expected = content(site)
    done = compact_gallery(site)
    assert done.before_bytes > 500_000
    assert done.after_bytes < 0.2 * done.before_bytes
    assert done.after_bytes == (site / "gallery.sqlite3").stat().st_size
    assert content(site) == expected
    assert verified(site) == ()
    with closing(opened(site)) as gallery:  # no position is given twice, though the highest were removed
        put(gallery, site, range(COUNT + 1, COUNT + 2))
        assert max(gallery._store.image_ids()) > 2000  # type: ignore[attr-defined]


def test_what_reads_runs_beside_a_writer_and_what_writes_does_not(site: Path, tmp_path: Path) -> None:
    take_snapshot(site, site / "images", tmp_path / "earlier")
    with child(HOLD, site, "writer") as writer:
        assert line(writer) == "open"
        assert gallery_stats(site, site / "images").images == COUNT
        assert verified(site) == ()
        assert take_snapshot(site, site / "images", tmp_path / "now").images == COUNT
        assert sum(camera.count for camera in erasable(site, [ANY])) == COUNT
        write_retention(site, Retention(1))
        for attempt in (
            lambda: erase_images(site, site / "images", [ANY]),
            lambda: compact_gallery(site),
            lambda: restore_snapshot(tmp_path / "earlier", site, site / "images"),
        ):
            with pytest.raises(GalleryUnavailable, match=rf"process {writer.pid}; stop that process"):
                attempt()
    assert len(content(site)) == COUNT
    assert read_retention(site) == Retention(1)


def test_retention_is_kept_in_the_gallery_and_names_what_is_due(site: Path, tmp_path: Path) -> None:
    assert read_retention(site).due(DAY + timedelta(days=10_000)) == []
    rules = Retention(20, {"cam0": 50, "cam1": None, "unseen": 1})
    write_retention(site, rules)
    assert read_retention(site) == rules
    take_snapshot(site, site / "images", tmp_path / "snapshot")
    restore_snapshot(tmp_path / "snapshot", tmp_path / "back", tmp_path / "back" / "images")
    assert read_retention(tmp_path / "back") == rules
    due = rules.due(DAY + timedelta(days=60))
    erase_images(site, site / "images", due)
    kept = {int(one.image_id[1:]) for one in content(site)}
    # Image n is of camera n % 3 and 60 - n days old; what is exactly as old as it may be is kept.
    assert kept == {n for n in range(COUNT) if 60 - n <= {0: 50, 1: 10_000, 2: 20}[n % 3]}
    write_retention(site, Retention())
    assert read_retention(site) == Retention()


@pytest.mark.parametrize("days", [0, -1, 36_501])
def test_days_have_their_bounds(days: int) -> None:
    with pytest.raises(InvalidInput, match="1 to 36500 days"):
        Retention(days)
    with pytest.raises(InvalidInput, match=str(days)):
        Retention(None, {"cam0": days})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte; needs a user who may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True
    ).returncode:
        pytest.skip("this user may not mount a file system")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_that_is_full_takes_no_half_snapshot(site: Path, tmp_path: Path, small_disk: Path) -> None:
    with closing(opened(site)) as gallery:
        numbers = range(1000, 5000)
        gallery.add([record(n) for n in numbers], np.stack([vector(n) for n in numbers]))
    before = tree(site)
    with pytest.raises(
        GalleryUnavailable, match=rf"cannot be copied to {small_disk}.* disk is full; check the free space"
    ):
        take_snapshot(site, site / "images", small_disk / "snapshot")
    assert not list(small_disk.iterdir())
    take_snapshot(site, site / "images", tmp_path / "snapshot")
    target = small_disk / "target"
    with pytest.raises(GalleryUnavailable, match=r"cannot be restored .* No space left on device"):
        restore_snapshot(tmp_path / "snapshot", target, target / "images")
    assert tree(target) == {}
    assert tree(site) == before


def fill(gallery: Gallery) -> None:
    for n in range(1, 100_000):
        gallery.add([record(n)], vector(n)[np.newaxis])


def test_a_full_disk_keeps_what_a_gallery_holds(small_disk: Path) -> None:
    folder = small_disk / "gallery"
    with closing(opened(folder)) as gallery:
        gallery.add([record(0)], vector(0)[np.newaxis])
        with pytest.raises(GalleryUnavailable, match=r"gallery\.sqlite3 cannot be used: .*full"):
            fill(gallery)
        stored = gallery.count()
        assert stored > 10
        assert len(gallery.search(vector(0)[np.newaxis], 10**6)[0]) == stored
    with closing(opened(folder)) as gallery:
        assert {one.image_id for records, _ in gallery.vectors() for one in records} == {
            f"i{n}" for n in range(stored)
        }
    assert verify_gallery(folder, folder / "images").faults == ()


def test_a_disk_that_takes_no_write_says_so(small_disk: Path, tmp_path: Path) -> None:
    folder = small_disk / "gallery"
    with closing(opened(folder)) as gallery:
        put(gallery, folder, range(3))
    take_snapshot(folder, folder / "images", tmp_path / "snapshot")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for attempt in (
        lambda: opened(folder),
        lambda: erase_images(folder, folder / "images", [ANY]),
        lambda: compact_gallery(folder),
        lambda: take_snapshot(folder, folder / "images", small_disk / "out"),
        lambda: write_retention(folder, Retention(3)),
        lambda: restore_snapshot(tmp_path / "snapshot", small_disk / "new", small_disk / "new" / "images"),
    ):
        with pytest.raises(
            GalleryUnavailable, match=r"Read-only file system|readonly database|unable to open"
        ):
            attempt()
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert len(content(folder)) == 3


def test_a_gallery_on_a_disk_that_takes_no_write_is_read(small_disk: Path, tmp_path: Path) -> None:
    folder = small_disk / "gallery"
    with closing(opened(folder)) as gallery:
        put(gallery, folder, range(10))
    expected = content(folder)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert gallery_stats(folder, folder / "images").images == 10
    assert verified(folder) == ()
    assert sum(camera.count for camera in erasable(folder, [ANY])) == 10
    with closing(opened(folder, read_only=True)) as gallery:
        assert len(gallery.search(vector(3)[np.newaxis], 10)[0]) == 10
        with pytest.raises(GalleryUnavailable, match="read-only"):
            gallery.remove(ANY)
    take_snapshot(folder, folder / "images", tmp_path / "snapshot")
    restore_snapshot(tmp_path / "snapshot", tmp_path / "back", tmp_path / "back" / "images")
    assert content(tmp_path / "back") == expected


def test_what_reads_a_gallery_as_unchanging_keeps_writers_out(small_disk: Path) -> None:
    """Of a folder that is mounted twice, once for reading alone, as into a container."""
    folder, seen = small_disk / "gallery", small_disk / "seen"
    with closing(opened(folder)) as gallery:
        put(gallery, folder, range(10))
    seen.mkdir()
    subprocess.run(["mount", "--bind", str(folder), str(seen)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(seen)], check=True)
        with closing(opened(seen, read_only=True)) as reader:
            with pytest.raises(GalleryUnavailable, match="a disk that takes no write, where SQLite needs it"):
                opened(folder)
            assert reader.count() == 10
        with closing(opened(folder)) as writer:
            put(writer, folder, range(10, 12))
            with closing(opened(seen, read_only=True)) as reader:
                assert reader.count() == 12, "beside a writer SQLite reads what is committed"
    finally:
        subprocess.run(["umount", "--lazy", str(seen)], check=True)


def test_changes_that_lie_on_a_disk_that_takes_no_write_are_not_passed_over(small_disk: Path) -> None:
    folder = small_disk / "gallery"
    with child(SERVE, folder, 0) as process:
        while not image_path(folder / "images", "i3").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    (folder / "gallery.sqlite3-shm").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    told = r"takes no write, and gallery\.sqlite3-wal in it holds changes .* or on a copy of it"
    with pytest.raises(GalleryUnavailable, match=told):
        gallery_stats(folder, folder / "images")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert gallery_stats(folder, folder / "images").images >= 3


# A child that does everything that writes, and says what it did; it is killed at any moment.
BUSY = """
import sys
from contextlib import closing
from itertools import count
from pathlib import Path
from test_upkeep import opened, put
from index.embedded.compaction import compact_gallery
from index.embedded.erasure import erase_images
from index.embedded.snapshot import take_snapshot
from index.records import Where
folder, snapshots = Path(sys.argv[1]), Path(sys.argv[2])
for n in count(int(sys.argv[3]), 30):
    with closing(opened(folder)) as gallery:
        put(gallery, folder, range(n, n + 20))
        print("added", n, flush=True)
    done = erase_images(folder, folder / "images", [Where(image_ids=[f"i{n}"])])
    print("erased", n, flush=True)
    take_snapshot(folder, folder / "images", snapshots / str(n))
    print("taken", n, flush=True)
    compact_gallery(folder)
    print("compacted", n, flush=True)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_a_kill_at_any_moment_loses_nothing_and_needs_no_repair(tmp_path: Path, kills: int) -> None:
    draw = random.Random(1)
    folder, snapshots = tmp_path / "site", tmp_path / "snapshots"
    told: set[str] = set()
    begin = 0
    for _ in range(kills):
        with child(BUSY, folder, snapshots, begin) as process:
            heard = [line(process) for _ in range(draw.randrange(1, 12))]
            time.sleep(draw.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            assert process.stdout is not None
            heard += [rest.strip() for rest in process.stdout if rest.endswith("\n")]
            process.wait()
        told |= set(heard)
        faults = verified(folder)
        assert all("has no file" in fault for fault in faults), faults
        held = {one.image_id for one in _records(folder)}
        for said in told:
            what, n = said.split()
            if what == "added":
                assert {f"i{int(n) + i}" for i in range(1, 20)} <= held
            elif what == "erased":
                assert f"i{n}" not in held
            elif what == "taken":
                check_snapshot(snapshots / n)
        for path in snapshots.glob("*"):
            if f"taken {path.name}" not in told and not (path / "manifest.json").exists():
                with pytest.raises(SnapshotInvalid, match="not a complete snapshot"):
                    check_snapshot(path)
        begin = max((int(image_id[1:]) for image_id in held), default=0) // 30 * 30 + 30
        shutil.rmtree(snapshots, ignore_errors=True)
        told = {said for said in told if not said.startswith("taken")}


def _records(folder: Path) -> list[ImageRecord]:
    with closing(opened(folder)) as gallery:
        return [one for records, _ in gallery.vectors() for one in records]


def test_a_snapshot_is_for_its_owner_alone(site: Path, tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        take_snapshot(site, site / "images", tmp_path / "snapshot")
    finally:
        os.umask(previous)
    modes = {
        path.stat().st_mode & 0o077 for path in [tmp_path / "snapshot", *(tmp_path / "snapshot").rglob("*")]
    }
    assert modes == {0}
