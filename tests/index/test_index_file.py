"""The index file beside SQLite: used where it is right, noticed and made anew where it is not."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from index.embedded.index_file import read_index_file
from index.errors import GalleryUnavailable, IndexFileUnusable
from index.gallery import Gallery, open_gallery
from index.records import ANY, ImageRecord, Where
from index.space import EmbeddingSpec, Modality

SPEC = EmbeddingSpec(16, "encoder-a")
MANY = 10_000
MOMENT = datetime(2026, 5, 1, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


def add(gallery: Gallery, numbers: range) -> None:
    """Images that any process can tell from their numbers."""
    records = [ImageRecord(f"i{n}", Modality.VISIBLE, f"cam{n % 4}", MOMENT) for n in numbers]
    rows = np.random.default_rng(numbers.start).standard_normal((len(records), SPEC.dim))
    gallery.add(records, rows.astype(np.float32))


def answers(gallery: Gallery) -> list[tuple[str, float]]:
    """Ten neighbours of each of twenty queries, and who is there at all."""
    queries = np.random.default_rng(7).standard_normal((20, SPEC.dim)).astype(np.float32)
    found = [(hit.record.image_id, hit.score) for row in gallery.search(queries, 10) for hit in row]
    return [*found, ("count", float(gallery.count()))]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a closed gallery that is large enough for an index file."""
    folder = tmp_path_factory.mktemp("large") / "gallery"
    with closing(open_gallery(f"embedded:{folder}", SPEC)) as gallery:
        add(gallery, range(MANY))
    return folder


@pytest.fixture
def folder(large: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(large, tmp_path / "gallery"))


def reopened(folder: Path, *, read_only: bool = False) -> Gallery:
    return open_gallery(f"embedded:{folder}", SPEC, read_only=read_only)


def from_sqlite(folder: Path, tmp_path: Path) -> list[tuple[str, float]]:
    """What a copy without an index file answers."""
    copy = tmp_path / "without"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("index.faiss*"))
    with closing(reopened(copy)) as gallery:
        return answers(gallery)


def test_a_large_gallery_leaves_an_index_file_for_its_owner_alone(folder: Path) -> None:
    assert (folder / "index.faiss").stat().st_mode & 0o777 == 0o600
    assert not list(folder.glob("*.draft"))


def test_a_small_gallery_leaves_none(tmp_path: Path) -> None:
    with closing(reopened(tmp_path)) as gallery:
        add(gallery, range(100))
    assert not (tmp_path / "index.faiss").exists()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_start_takes_the_vectors_from_the_file(
    folder: Path, tmp_path: Path, read_only: bool, caplog: pytest.LogCaptureFixture
) -> None:
    expected = from_sqlite(folder, tmp_path)
    reads: list[str] = []
    with closing(reopened(folder, read_only=read_only)) as gallery:
        assert answers(gallery) == expected
        with gallery._store._readers.lent() as reader:  # type: ignore[attr-defined]
            reader.set_trace_callback(reads.append)
        gallery._load()  # type: ignore[attr-defined]
        assert gallery._unsaved == 0  # type: ignore[attr-defined]
        with gallery._store._readers.lent() as reader:  # type: ignore[attr-defined]
            reader.set_trace_callback(None)
    paged = [one for one in reads if "JOIN vectors USING (position) WHERE position >" in one]
    assert len(paged) == 1  # one question, with no vector for an answer
    assert not caplog.records


def test_what_came_after_the_file_is_replayed(folder: Path, tmp_path: Path) -> None:
    """As after a kill: the file is that of an earlier moment."""
    earlier = (folder / "index.faiss").read_bytes()
    with closing(reopened(folder)) as gallery:
        add(gallery, range(MANY, MANY + 500))
        gallery.remove(Where(image_ids=[f"i{n}" for n in range(0, MANY, 7)]))
        assert not (folder / "index.faiss").exists()
        shutil.copytree(folder, tmp_path / "killed")
    killed = tmp_path / "killed"
    (killed / "index.faiss").write_bytes(earlier)
    expected = from_sqlite(killed, tmp_path)
    with closing(reopened(killed, read_only=True)) as gallery:
        assert answers(gallery) == expected
    assert (killed / "index.faiss").read_bytes() == earlier
    with closing(reopened(killed)) as gallery:
        assert answers(gallery) == expected
        assert not gallery.get("i7")
        assert not (killed / "index.faiss").exists()  # it held what was removed


def test_what_is_removed_is_in_no_file(folder: Path) -> None:
    with closing(reopened(folder)) as gallery:
        ((_, rows),) = gallery.vectors(Where(image_ids=["i5"]))
        needle = rows.astype("<f4").tobytes()
        assert needle in (folder / "index.faiss").read_bytes()
        gallery.remove(Where(image_ids=["i5"]))
        assert not (folder / "index.faiss").exists()
    assert len(list(folder.iterdir())) > 1
    for path in folder.iterdir():
        assert needle not in path.read_bytes(), path


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _strange(path: Path) -> None:
    path.write_bytes(b"another file\n" + bytes(1000))


def _of_another_version(path: Path) -> None:
    path.write_bytes(b"PECA index file 1\n" + bytes(1000))


def _of_another(path: Path) -> None:
    other = path.parent.parent / "other"
    with closing(reopened(other)) as gallery:
        add(gallery, range(50, 50 + MANY))
    shutil.copy(other / "index.faiss", path)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_flipped, "is damaged: its content is not what its checksum says"),
        (_cut, "is damaged: its content is not what its checksum says"),
        (_longer, "is damaged: its content is not what its checksum says"),
        (_empty, "is damaged: it does not begin as an index file"),
        (_strange, "is damaged: it does not begin as an index file"),
        (_of_another_version, "was written by another version of this program"),
        (_of_another, "is of another gallery, or of another state of this one"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_made_anew(
    folder: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    named: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = from_sqlite(folder, tmp_path)
    damage(folder / "index.faiss")
    for read_only in (True, False):
        caplog.clear()
        with closing(reopened(folder, read_only=read_only)) as gallery:
            assert answers(gallery) == expected
        (told,) = [record.getMessage() for record in caplog.records]
        assert str(folder / "index.faiss") in told
        assert named in told
        assert told.endswith("the index is made anew from SQLite")
    caplog.clear()
    with closing(reopened(folder)) as gallery:
        assert answers(gallery) == expected
    assert not caplog.records


def test_a_file_of_a_later_state_is_not_used_for_a_gallery_put_back_by_hand(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Positions are given anew after that, to other images, so its vectors would be wrong."""
    shutil.copy(folder / "gallery.sqlite3", tmp_path / "earlier")
    with closing(reopened(folder)) as gallery:
        add(gallery, range(MANY, 2 * MANY))
    shutil.copy(tmp_path / "earlier", folder / "gallery.sqlite3")
    with closing(reopened(folder)) as gallery:
        assert gallery.count() == MANY
        add(gallery, range(5 * MANY, 5 * MANY + 100))
        got = answers(gallery)
    assert "another state" in caplog.text
    assert got == from_sqlite(folder, tmp_path)


FULL = """
import resource, sys, logging
from test_index_file import MANY, add, answers, reopened
from pathlib import Path
folder = Path(sys.argv[1])
gallery = reopened(folder)
add(gallery, range(MANY))
expected = answers(gallery)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
gallery.close()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert not [path.name for path in folder.iterdir() if path.name.startswith("index")]
gallery = reopened(folder)
assert answers(gallery) == expected
gallery.close()
assert (folder / "index.faiss").exists()
"""


def test_a_disk_with_no_room_for_the_file_costs_only_time(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "gallery"), str(MANY * SPEC.dim * 2)],
        cwd=Path(__file__).parent,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "index.faiss cannot be written" in done.stderr
    assert "the next start reads every vector from SQLite" in done.stderr


def test_reading_checks_the_file_by_itself(folder: Path) -> None:
    with pytest.raises(IndexFileUnusable, match="another gallery"):
        read_index_file(folder, SPEC, "another token")
    with pytest.raises(GalleryUnavailable, match="another gallery"):
        read_index_file(folder, EmbeddingSpec(16, "encoder-b"), "another token")
    assert read_index_file(folder.parent, SPEC, "any") is None


def test_a_draft_that_a_power_cut_left_is_removed(folder: Path) -> None:
    (folder / "index.faiss.draft").write_bytes(b"half")
    with closing(reopened(folder)) as gallery:
        gallery.remove(ANY)
    assert not (folder / "index.faiss.draft").exists()


def test_nothing_is_saved_where_nothing_changed(folder: Path) -> None:
    before = (folder / "index.faiss").stat()
    with closing(reopened(folder)) as gallery:
        add(gallery, range(MANY, MANY + 10))
        gallery.close()
    after = (folder / "index.faiss").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
