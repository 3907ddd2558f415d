"""Files that are whole or not there, alone and many at once."""

import os
from pathlib import Path
from threading import Event

import pytest

import index.files
from index.files import read_ahead, write_file, write_files


@pytest.fixture
def drafts(tmp_path: Path) -> Path:
    folder = tmp_path / "drafts"
    folder.mkdir()
    return folder


def batch(folder: Path, count: int) -> dict[Path, bytes]:
    return {folder / f"{n % 5}" / f"{n}": b"%d " % n * 1000 for n in range(count)}


@pytest.mark.parametrize("count", [1, 7, 8, 64])
def test_many_files_are_what_was_given(tmp_path: Path, drafts: Path, count: int) -> None:
    files = batch(tmp_path, count)
    write_files(files, drafts)
    assert {path: path.read_bytes() for path in files} == files
    assert not list(drafts.iterdir())
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_many_are_on_the_disk_before_they_have_their_names_and_with_them_in_the_end(
    tmp_path: Path, drafts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not index.files._SYNCS_ALL:
        pytest.skip("this system cannot force a whole file system to the disk")
    files, seen = batch(tmp_path, 20), []
    force = index.files.sync_file_system

    def watched(folder: Path) -> None:
        force(folder)
        seen.append((len(list(drafts.iterdir())), sum(path.exists() for path in files)))

    monkeypatch.setattr(index.files, "sync_file_system", watched)
    write_files(files, drafts)
    assert seen == [(20, 0), (0, 20)]


@pytest.mark.parametrize(("count", "able"), [(7, True), (20, False)])
def test_few_or_on_another_system_each_is_forced_alone(
    tmp_path: Path, drafts: Path, monkeypatch: pytest.MonkeyPatch, count: int, able: bool
) -> None:
    forced = list[int]()
    monkeypatch.setattr(index.files, "_SYNCS_ALL", able and index.files._SYNCS_ALL)
    monkeypatch.setattr(os, "fsync", forced.append)
    for folder in {path.parent for path in batch(tmp_path, count)}:
        folder.mkdir()
    write_files(batch(tmp_path, count), drafts)
    assert len(forced) == count + 5  # and the folders


def test_a_disk_that_fails_leaves_no_file_and_no_draft(
    tmp_path: Path, drafts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(index.files, "sync_file_system", fails)
    monkeypatch.setattr(os, "fsync", fails)
    for folder in {path.parent for path in batch(tmp_path, 20)}:
        folder.mkdir()
    with pytest.raises(OSError, match="Input/output"):
        write_files(batch(tmp_path, 20), drafts)
    with pytest.raises(OSError, match="Input/output"):
        write_file(tmp_path / "alone", b"a", drafts)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_file_system_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        index.files.sync_file_system(tmp_path / "none")


def test_a_file_is_read_ahead_where_it_takes_no_more_than_half_of_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending, hints, waits = Event(), list[tuple[int, int]](), list[tuple[int, int]]()
    path = tmp_path / "large"
    path.write_bytes(bytes(2500))
    monkeypatch.setattr(index.files, "_AHEAD_BYTES", 1000)
    monkeypatch.setattr(os, "posix_fadvise", lambda _, *hint: hints.append(hint[:2]), raising=False)
    monkeypatch.setattr(os, "pread", lambda *read: waits.append((len(hints), read[2])), raising=False)
    with path.open("rb") as file:
        read_ahead(file, ending)
        assert hints == [(0, 1000), (1000, 1000), (2000, 1000)]
        assert waits == [(1, 0), (2, 0), (3, 999)]  # after hints: where it waits
        monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 4999, "SC_PAGE_SIZE": 1}.get)
        read_ahead(file, ending)
        assert len(hints) == 3
        monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 5000, "SC_PAGE_SIZE": 1}.get)
        read_ahead(file, ending)
        assert len(hints) == 6
        ending.set()
        read_ahead(file, ending)
        assert len(hints) == 6
