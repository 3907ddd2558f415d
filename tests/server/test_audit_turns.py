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
