"""What the embedded gallery promises of disks and processes, shown with real ones."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.embedded.reading import StoredImages
from index.embedded.store import Store, _cache_kb, _connect, write_rules
from index.embedded.verification import verify_gallery
from index.errors import EncoderMismatch, GalleryUnavailable
from index.gallery import Gallery, open_gallery, stored_spec
from index.records import ANY, ImageRecord, Where
from index.space import EmbeddingSpec, Modality, l2_normalise

SPEC = EmbeddingSpec(64, "encoder-a")
BATCH = 16
ROOT = Path(__file__).parents[2]

# A child adds batches by number, one a line of its input (or without end), and acknowledges each.
CHILD = """
import sys
from itertools import count
from test_embedded import SPEC, batch
from index.gallery import open_gallery
gallery = open_gallery(sys.argv[1], SPEC)
numbers = count(int(sys.argv[2])) if len(sys.argv) > 2 else map(int, sys.stdin)
print("open", flush=True)
for number in numbers:
    assert len(gallery.add(*batch(number)).added) == 16
    print(number, flush=True)
gallery.close()
"""

# A child whose files may grow no further meets the error that a full disk gives.
FULL_DISK = """
import resource
import sys
from test_embedded import SPEC, batch, searchable
from index.embedded.verification import verify_gallery
from index.errors import EncoderMismatch, GalleryUnavailable
from index.gallery import open_gallery
from index.records import ANY, Where
gallery = open_gallery(sys.argv[1], SPEC)
gallery.add(*batch(0))
before = searchable(gallery)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
refused = 0
for attempt in (lambda: gallery.add(*batch(1)), lambda: gallery.remove(Where(image_ids=["0-3"]))):
    try:
        attempt()
    except GalleryUnavailable as error:
        assert "gallery.sqlite3" in str(error), error
        refused += 1
assert searchable(gallery) == before
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert len(gallery.add(*batch(1)).added) == 16
assert gallery.remove(ANY) == 32
gallery.add(*batch(2))
print(refused)
gallery.close()
"""


def batch(number: int) -> tuple[list[ImageRecord], NDArray[np.float32]]:
    """Sixteen images that any process can tell from the batch's number."""
    moment = datetime.fromtimestamp(number, UTC)
    records = [ImageRecord(f"{number}-{i}", Modality.VISIBLE, f"cam{i % 3}", moment) for i in range(BATCH)]
    rows = np.random.default_rng(number).standard_normal((BATCH, SPEC.dim)).astype(np.float32)
    return records, rows


def searchable(gallery: Gallery) -> list[str]:
    """Every image that a search finds, after checking that all that reads the gallery agrees with it."""
    query = np.ones((1, SPEC.dim), np.float32)
    found = sorted(hit.record.image_id for hit in gallery.search(query, 10**6)[0])
    assert found == sorted(stored.image_id for records, _ in gallery.vectors() for stored in records)
    assert len(found) == gallery.count() == sum(camera.count for camera in gallery.cameras())
    return found


@contextmanager
def child(script: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: "subprocess.Popen[str]", number: int) -> None:
    """Have the child add a batch, and wait for its acknowledgement."""
    assert process.stdin is not None
    process.stdin.write(f"{number}\n")
    process.stdin.flush()
    assert line(process) == str(number)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"embedded:{tmp_path / 'gallery'}"


@pytest.fixture
def database(tmp_path: Path, url: str) -> Path:
    """The file of a closed gallery of three batches."""
    with closing(open_gallery(url, SPEC)) as gallery:
        for number in range(3):
            gallery.add(*batch(number))
    return tmp_path / "gallery" / "gallery.sqlite3"


def test_a_rule_that_another_process_writes_takes_no_image_with_it(url: str, tmp_path: Path) -> None:
    """To close a file frees all locks of a process on it; with SQLite's the file of new images would go."""
    folder = tmp_path / "gallery"
    with child(CHILD, url) as process:
        assert line(process) == "open"
        tell(process, 0)
        time.sleep(0.5)  # by then the small file is read ahead
        changes = (folder / "gallery.sqlite3-wal").stat().st_ino
        write_rules(folder, {None: 36_500})
        assert (folder / "gallery.sqlite3-wal").stat().st_ino == changes
        tell(process, 1)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    with closing(open_gallery(url, SPEC)) as gallery:
        assert gallery.count() == 2 * BATCH


@pytest.mark.parametrize("kills", [6, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_every_acknowledged_image_survives_sigkill_and_no_batch_is_halved(url: str, kills: int) -> None:
    draw = random.Random(0)
    acknowledged: set[int] = set()
    begin = 0
    for _ in range(kills):
        with child(CHILD, url, str(begin)) as process:
            assert line(process) == "open"
            heard = [line(process) for _ in range(draw.randrange(1, 40))]
            time.sleep(draw.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
            assert process.stdout is not None
            heard += [rest.strip() for rest in process.stdout if rest.endswith("\n")]
            assert process.wait() == -signal.SIGKILL
        acknowledged |= set(map(int, heard))
        with closing(open_gallery(url, SPEC)) as gallery:
            found = searchable(gallery)
            stored = {int(image_id.split("-")[0]) for image_id in found}
            assert acknowledged <= stored
            assert len(stored - acknowledged) <= 1  # the one batch whose acknowledgement the signal cut off
            assert len(found) == len(stored) * BATCH
            for records, rows in gallery.vectors(Where(image_ids=[f"{number}-5" for number in stored])):
                for record, row in zip(records, rows, strict=True):
                    number = int(record.image_id.split("-")[0])
                    expected_records, expected_rows = batch(number)
                    assert record == expected_records[5]
                    np.testing.assert_array_equal(row, l2_normalise(expected_rows)[5])
            again = gallery.add(*batch(max(acknowledged)))
            assert len(again.unchanged) == BATCH
        acknowledged = stored
        begin = max(stored) + 1


def test_one_process_writes_and_others_read(url: str) -> None:
    with child(CHILD, url) as writer:
        assert line(writer) == "open"
        tell(writer, 0)
        with pytest.raises(GalleryUnavailable, match=rf"process {writer.pid}\b"):
            open_gallery(url, SPEC)
        with closing(open_gallery(url, SPEC, read_only=True)) as reader:
            tell(writer, 1)
            then = searchable(reader)
            assert then == sorted(record.image_id for record in batch(0)[0])
            assert reader.get("1-0") is None
            assert len(reader.search(batch(1)[1], 40, Where(camera_ids=["cam0"]))[0]) == 6
            with closing(open_gallery(url, SPEC, read_only=True)) as later:
                assert len(searchable(later)) == 2 * BATCH
            assert stored_spec(url) == SPEC
            writer.kill()
            writer.wait()
            assert searchable(reader) == then
        with closing(open_gallery(url, SPEC, read_only=True)) as reader:
            assert len(searchable(reader)) == 2 * BATCH
        with closing(open_gallery(url, SPEC)) as next_writer:
            assert len(searchable(next_writer)) == 2 * BATCH


def test_one_process_cannot_open_a_gallery_twice_for_writing(url: str) -> None:
    with (
        closing(open_gallery(url, SPEC)),
        pytest.raises(GalleryUnavailable, match=rf"process {os.getpid()}\b"),
    ):
        open_gallery(url, SPEC)
    open_gallery(url, SPEC).close()


@pytest.mark.usefixtures("database")
def test_a_reader_takes_no_write(url: str) -> None:
    with closing(open_gallery(url, SPEC, read_only=True)) as reader:
        for write in (
            lambda: reader.add(*batch(9)),
            lambda: reader.add(*batch(0)),
            lambda: reader.remove(ANY),
        ):
            with pytest.raises(GalleryUnavailable, match="read-only"):
                write()
        assert len(searchable(reader)) == 3 * BATCH


def test_a_reader_begins_no_gallery(tmp_path: Path, url: str) -> None:
    with pytest.raises(GalleryUnavailable, match="no gallery"):
        open_gallery(url, SPEC, read_only=True)
    assert stored_spec(url) is None
    assert list(tmp_path.iterdir()) == []


def test_a_gallery_that_was_cut_off_while_it_was_begun_is_begun_again(tmp_path: Path, url: str) -> None:
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "gallery.sqlite3").touch()
    assert stored_spec(url) is None
    with pytest.raises(GalleryUnavailable, match="no gallery"):
        open_gallery(url, SPEC, read_only=True)
    with closing(open_gallery(url, SPEC)) as gallery:
        gallery.add(*batch(0))
    assert stored_spec(url) == SPEC


def test_a_full_disk_stores_nothing_and_stops_nothing(tmp_path: Path, url: str) -> None:
    open_gallery(url, SPEC).close()
    limit = 100 * 1024
    with child(FULL_DISK, url, str(limit)) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.strip() == "2"
    with closing(open_gallery(url, SPEC)) as gallery:
        assert searchable(gallery) == sorted(record.image_id for record in batch(2)[0])


def test_a_batch_refused_half_way_leaves_no_half(url: str, database: Path) -> None:
    """FAIL, unlike a full disk, leaves SQLite's transaction open with the images before it."""
    _edited(
        "CREATE TRIGGER refuse BEFORE INSERT ON images WHEN NEW.image_id = '3-9'"
        " BEGIN SELECT RAISE(FAIL, 'refused half way'); END"
    )(database)
    with closing(open_gallery(url, SPEC)) as gallery:
        with pytest.raises(GalleryUnavailable, match="refused half way"):
            gallery.add(*batch(3))
        assert len(gallery.add(*batch(4)).added) == BATCH
        assert len(searchable(gallery)) == 4 * BATCH


def _garbage(path: Path) -> None:
    path.write_bytes(b"not a database at all, " * 1000)


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _overwritten(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))


def _edited(*statements: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    return edit


def _of_another_program(path: Path) -> None:
    path.unlink()
    _edited("CREATE TABLE notes (text)")(path)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_garbage, id="garbage"),
        pytest.param(_cut_short, id="cut short"),
        pytest.param(_overwritten, id="overwritten"),
        pytest.param(_of_another_program, id="of another program"),
        pytest.param(_edited("PRAGMA user_version = 999"), id="of a later version"),
        pytest.param(_edited("DELETE FROM gallery"), id="encoder lost"),
        pytest.param(_edited("DELETE FROM vectors WHERE position = 5"), id="vector lost"),
        pytest.param(_edited("DELETE FROM images WHERE position = 5"), id="image lost"),
        pytest.param(_edited("UPDATE vectors SET vector = x'00' WHERE position = 5"), id="vector short"),
        pytest.param(_edited("UPDATE vectors SET checksum = 1 WHERE position = 5"), id="vector changed"),
        pytest.param(
            _edited("UPDATE vectors SET vector = zeroblob(256) WHERE position = 5"), id="vector zeroed"
        ),
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_gallery_is_not_opened(
    url: str, database: Path, damage: Callable[[Path], None], read_only: bool
) -> None:
    damage(database)
    with pytest.raises(GalleryUnavailable, match=r"gallery\.sqlite3"):
        open_gallery(url, SPEC, read_only=read_only)
    # Nothing is held after a refusal: the second one gives the same reason, not the lock.
    with pytest.raises(GalleryUnavailable, match=r"gallery\.sqlite3"):
        open_gallery(url, SPEC, read_only=read_only)


OF_VERSION_1 = (
    "ALTER TABLE gallery DROP COLUMN index_token",
    "ALTER TABLE vectors DROP COLUMN checksum",
    "DROP TABLE retention",
    "PRAGMA user_version = 1",
)


def test_a_gallery_of_version_1_is_brought_to_this_version(url: str, database: Path) -> None:
    with closing(open_gallery(url, SPEC, read_only=True)) as gallery:
        before = searchable(gallery)
    _edited(*OF_VERSION_1)(database)
    assert stored_spec(url) == SPEC
    with pytest.raises(GalleryUnavailable, match="version 1 and must be brought to version 2"):
        open_gallery(url, SPEC, read_only=True)
    with pytest.raises(EncoderMismatch):
        open_gallery(url, EmbeddingSpec(64, "encoder-b"))
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    with closing(open_gallery(url, SPEC)) as gallery:
        assert searchable(gallery) == before
        assert len(gallery.add(*batch(0)).unchanged) == BATCH
        gallery.add(*batch(3))
    with closing(open_gallery(url, SPEC, read_only=True)) as gallery:
        assert len(searchable(gallery)) == 4 * BATCH
    assert verify_gallery(database.parent, database.parent / "images").faults == ()


def test_a_track_is_looked_up_also_where_the_gallery_was_made_without_the_index(
    url: str, database: Path
) -> None:
    _edited("DROP INDEX images_by_track")(database)
    with closing(open_gallery(url, SPEC, read_only=True)) as gallery:
        assert gallery.count(Where(track_ids=["t"])) == 0
    open_gallery(url, SPEC).close()
    with closing(sqlite3.connect(database)) as connection:
        asked = "SELECT position FROM images WHERE track_id IN (SELECT value FROM json_each(?))"
        plan = connection.execute(f"EXPLAIN QUERY PLAN {asked}", ['["t"]']).fetchall()
    assert any("images_by_track (track_id=?)" in step for *_, step in plan), plan


def test_a_damaged_record_is_told_when_it_is_read(url: str, database: Path) -> None:
    _edited("UPDATE images SET modality = 'thermal' WHERE image_id = '1-3'")(database)
    with closing(open_gallery(url, SPEC)) as gallery:
        with pytest.raises(GalleryUnavailable, match="thermal"):
            gallery.get("1-3")
        assert gallery.get("1-4") == batch(1)[0][4]


def test_a_path_that_cannot_be_a_gallery_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(GalleryUnavailable, match="file"):
            open_gallery(f"embedded:{path}", SPEC)


def test_a_path_may_hold_any_character(tmp_path: Path) -> None:
    url = f"embedded:{tmp_path}/new/a?mode=memory#b %41: ü"
    with closing(open_gallery(url, SPEC)) as gallery:
        gallery.add(*batch(0))
    assert (tmp_path / "new" / "a?mode=memory#b %41: ü" / "gallery.sqlite3").is_file()
    assert stored_spec(url) == SPEC


def test_a_new_gallery_is_for_its_owner_alone(tmp_path: Path) -> None:
    with closing(open_gallery(f"embedded:{tmp_path / 'site' / 'gallery'}", SPEC)):
        assert (tmp_path / "site").stat().st_mode & 0o777 == 0o700
        folder = tmp_path / "site" / "gallery"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def test_every_commit_is_forced_to_the_disk(url: str) -> None:
    """A power cut cannot be had here, so what SQLite promises to survive one with is read back."""
    with closing(open_gallery(url, SPEC)) as gallery:
        writer = gallery._store._writer  # type: ignore[attr-defined]
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert writer.execute("PRAGMA synchronous").fetchone() == (2,)
        assert writer.execute("PRAGMA secure_delete").fetchone() == (1,)


def test_what_a_connection_holds_of_the_file_goes_by_its_size(tmp_path: Path) -> None:
    """Eight readers of a small gallery would grow for hours, to what a million images need."""
    sizes = [0, 1 << 30, 4 << 30, 9_370_320_896]
    assert [_cache_kb(size) for size in sizes] == [2048, 2048, 8192, 16384]
    open_gallery(f"embedded:{tmp_path}", SPEC).close()
    with closing(_connect(tmp_path / "gallery.sqlite3", "ro")) as connection:
        assert connection.execute("PRAGMA cache_size").fetchall() == [(-2048,)]


def holds(folder: Path, needle: bytes) -> list[str]:
    """The files of a gallery that hold these bytes."""
    return [path.name for path in folder.iterdir() if path.is_file() and needle in path.read_bytes()]


def await_none(folder: Path, needle: bytes) -> None:
    deadline = time.monotonic() + 20
    while found := holds(folder, needle):
        assert time.monotonic() < deadline, f"{found} still hold it"
        time.sleep(0.05)


def test_what_is_removed_leaves_the_disk_while_the_gallery_is_searched(tmp_path: Path) -> None:
    records, rows = batch(0)
    stop = threading.Event()
    with closing(open_gallery(f"embedded:{tmp_path}", SPEC)) as gallery:
        gallery.add(records, rows)
        vector = l2_normalise(rows)[3].tobytes()
        assert holds(tmp_path, vector) == ["gallery.sqlite3-wal"]

        def search() -> None:
            while not stop.is_set():
                gallery.search(rows[:1], 5)

        with ThreadPoolExecutor(2) as others:
            searches = [others.submit(search) for _ in range(2)]
            try:
                gallery.remove(Where(image_ids=[records[3].image_id]))
                await_none(tmp_path, vector)
                assert holds(tmp_path, f"{records[3].image_id}visible".encode()) == []
            finally:
                stop.set()
            for done in searches:
                done.result()
        assert gallery.count() == len(records) - 1


def test_a_reader_that_stays_open_delays_that_what_is_removed_leaves_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.embedded.engine._PURGE_S", 0.05)
    monkeypatch.setattr("index.embedded.engine._AGAIN_S", 0.2)
    records, rows = batch(0)
    vector = l2_normalise(rows)[3].tobytes()
    with closing(open_gallery(f"embedded:{tmp_path}", SPEC)) as gallery:
        gallery.add(records, rows)
        with closing(StoredImages(tmp_path, SPEC, live=False)) as reader:
            gallery.remove(Where(image_ids=[records[3].image_id]))
            time.sleep(0.6)
            assert reader.count() == len(records)
            assert "gallery.sqlite3-wal" in holds(tmp_path, vector)
            gallery.add(*batch(1))
        await_none(tmp_path, vector)
        assert gallery.count() == 2 * len(records) - 1


def test_a_failed_purge_leaves_the_writer_as_patient_as_it_was(tmp_path: Path) -> None:
    class Failing:
        def __init__(self, connection: sqlite3.Connection) -> None:
            self._connection = connection

        def execute(self, statement: str) -> sqlite3.Cursor:
            if "checkpoint" in statement:
                raise sqlite3.OperationalError("disk I/O error")
            return self._connection.execute(statement)

    with closing(Store(tmp_path, SPEC, read_only=False)) as store:
        real = store._writer
        assert real is not None
        store._writer = Failing(real)  # type: ignore[assignment]
        with pytest.raises(GalleryUnavailable, match="disk I/O error"):
            store.purge(0.05)
        assert real.execute("PRAGMA busy_timeout").fetchone() == (5000,)
