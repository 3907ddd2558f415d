"""Records that go to the disk together: fewer waits for the disk, and the same promise."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from server.audit import Action, AuditLog
from server.errors import StorageUnavailable
from server.trail import AuditFilter, AuditTrail
from server.verification import verify_log


def test_records_of_many_threads_wait_for_the_disk_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[int] = []

    def slowly(file: int) -> None:
        time.sleep(0.02)
        forced.append(os.fstat(file).st_size)

    with closing(AuditLog(tmp_path)) as log, ThreadPoolExecutor(32) as callers:
        log.append(Action.START)
        monkeypatch.setattr(os, "fdatasync", slowly)
        links = list(callers.map(lambda _: log.append(Action.READ), range(32)))
        assert max(forced) == (tmp_path / "audit.jsonl").stat().st_size
    assert 1 <= len(forced) <= 16
    assert sorted(link.sequence for link in links) == list(range(2, 34))
    found = verify_log(tmp_path)
    assert (found.records, found.broken, found.notes) == (33, None, [])


def test_no_record_is_acknowledged_before_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(AuditLog(tmp_path)) as log, ThreadPoolExecutor(4) as callers:
        log.append(Action.START)
        reached, go = threading.Event(), threading.Event()

        def held(file: int) -> None:
            reached.set()
            assert go.wait(10)

        monkeypatch.setattr(os, "fdatasync", held)
        waiting = [callers.submit(log.append, Action.READ) for _ in range(4)]
        assert reached.wait(10)
        time.sleep(0.05)
        assert not any(one.done() for one in waiting)
        go.set()
        assert {one.result(10).sequence for one in waiting} == {2, 3, 4, 5}


def test_what_the_disk_refused_is_taken_off_for_all_who_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(AuditLog(tmp_path)) as log:
        log.append(Action.START)
        before = (tmp_path / "audit.jsonl").read_bytes()
        with ThreadPoolExecutor(4) as callers, monkeypatch.context() as patch:

            def refuse(file: int) -> None:
                time.sleep(0.05)
                raise OSError(28, "No space left on device")

            patch.setattr(os, "fdatasync", refuse)
            failed = [callers.submit(log.append, Action.READ) for _ in range(4)]
            for one in failed:
                with pytest.raises(StorageUnavailable, match="No space left"):
                    one.result(10)
        assert (tmp_path / "audit.jsonl").read_bytes() == before
        assert log.append(Action.READ).sequence == 2
    assert (verify_log(tmp_path).records, verify_log(tmp_path).broken) == (2, None)


def test_nothing_is_read_that_the_disk_may_yet_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the index would name places in the log that other records take later."""
    with closing(AuditLog(tmp_path)) as log, closing(AuditTrail(tmp_path, log.durable_end)) as trail:
        log.append(Action.SEARCH, search_id="s0")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", lambda _: _refuse_after(trail))
            with pytest.raises(StorageUnavailable, match="Input/output error"):
                log.append(Action.SEARCH, search_id="refused", reason="x" * 300)
        for number in range(1, 5):
            log.append(Action.SEARCH, search_id=f"s{number}")
        assert _search_ids(trail) == ["s4", "s3", "s2", "s1", "s0"]


def test_an_index_of_what_is_no_longer_in_the_log_forgets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a reader of another process leaves it, which cannot know what is on the disk."""
    with closing(AuditLog(tmp_path)) as log, closing(AuditTrail(tmp_path)) as trail:
        log.append(Action.SEARCH, search_id="s0")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", lambda _: _refuse_after(trail))
            with pytest.raises(StorageUnavailable):
                log.append(Action.SEARCH, search_id="refused", reason="x" * 300)
        for number in range(1, 5):
            log.append(Action.SEARCH, search_id=f"s{number}")
        assert _search_ids(trail) == ["s4", "s3", "s2", "s1", "s0"]
        assert [trail.search(f"s{number}")["sequence"] for number in range(5)] == [1, 2, 3, 4, 5]


def _refuse_after(trail: AuditTrail) -> None:
    """Another request reads while the disk works, and then the disk refuses."""
    trail.page(AuditFilter(), None, 5)
    raise OSError(5, "Input/output error")


def _search_ids(trail: AuditTrail) -> list[str]:
    return [line.claims["search_id"] for line in trail.page(AuditFilter(), None, 50)[0]]
