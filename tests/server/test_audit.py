"""The audit log: its chain, what verification notices, and what survives."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from server_site import REPOSITORY

from clients.cli import main
from index.errors import InvalidInput
from server.access import Caller, Holder, Role
from server.audit import Action, AuditLog
from server.chain import Link, Record, RecordBroken, canonical
from server.errors import StorageUnavailable
from server.extracts import ExtractFormat, write_extract
from server.trail import AuditFilter, AuditTrail
from server.verification import verify_log

ADA = Holder("Ada", "0a1b2c3d", Role.OPERATOR)
OLD = (
    b'{"at": "2026-01-02T03:04:05+00:00", "action": "search", "key": "admin", '
    b'"search_id": "old", "results": []}\n'
)


def fill(folder: Path, count: int, **facts: object) -> Link:
    """Write ``count`` records; where the chain stands then."""
    with closing(AuditLog(folder)) as log:
        for number in range(count):
            caller = Caller(ADA, datetime.now(UTC))
            log.append(
                Action.SEARCH, caller, **{"search_id": f"s{number}", "case": "17", "results": [], **facts}
            )
        return log.head()


def lines_of(folder: Path) -> list[bytes]:
    return (folder / "audit.jsonl").read_bytes().splitlines(keepends=True)


def put(folder: Path, lines: list[bytes]) -> None:
    (folder / "audit.jsonl").write_bytes(b"".join(lines))


def test_a_log_is_sound_and_private(tmp_path: Path) -> None:
    link = fill(tmp_path, 3)
    found = verify_log(tmp_path)
    assert (found.records, found.link, found.broken, found.notes) == (3, link, None, [])
    for name in ("audit.jsonl", "audit.head"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_tampering_with_any_byte_is_noticed(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    path = tmp_path / "audit.jsonl"
    sound = path.read_bytes()
    for position in range(len(sound)):
        path.write_bytes(sound[:position] + bytes([sound[position] ^ 1]) + sound[position + 1 :])
        assert verify_log(tmp_path).broken is not None, position


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda lines: [*lines[:2], *lines[3:]],
            "record 3 (line 3 of audit.jsonl): expected number 3, found 4",
        ),
        (
            lambda lines: [lines[1], lines[0], *lines[2:]],
            "record 1 (line 1 of audit.jsonl): expected number 1",
        ),
        (
            lambda lines: [*lines[:2], lines[1], *lines[2:]],
            "record 3 (line 3 of audit.jsonl): expected number 3",
        ),
        (
            lambda lines: [*lines[:2], b"{}\n", *lines[2:]],
            "record 3 (line 3 of audit.jsonl): the line is not a record",
        ),
        (lambda lines: lines[1:], "record 1 (line 1 of audit.jsonl): expected number 1, found 2"),
        (lambda lines: [b"{}\n", *lines], "does not follow what stands before the chain, 1 line:"),
        (lambda lines: lines[:-1], "records 5 to 5 are missing at the end: the head names them"),
        (lambda lines: lines[:2], "records 3 to 5 are missing at the end"),
        (lambda lines: [], "records 1 to 5 are missing"),
        (
            lambda lines: [lines[0], lines[1].replace(b"s1", b"s9"), *lines[2:]],
            "record 2 (line 2 of audit.jsonl): its content",
        ),
    ],
)
def test_the_first_broken_record_is_named(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], told: str
) -> None:
    fill(tmp_path, 5)
    put(tmp_path, change(lines_of(tmp_path)))
    assert told in (verify_log(tmp_path).broken or "")


def test_a_record_written_anew_is_noticed_by_the_next_and_by_the_head(tmp_path: Path) -> None:
    fill(tmp_path / "a", 3)
    fill(tmp_path / "b", 3, case="18")
    true, forged = lines_of(tmp_path / "a"), lines_of(tmp_path / "b")
    put(tmp_path / "a", [true[0], forged[1], true[2]])
    assert "does not follow the record before" in (verify_log(tmp_path / "a").broken or "")
    put(tmp_path / "a", forged)
    assert "another SHA-256 of it is noted in audit.head" in (verify_log(tmp_path / "a").broken or "")


def test_a_log_forged_with_its_head_is_noticed_by_a_head_noted_elsewhere(tmp_path: Path) -> None:
    noted = fill(tmp_path, 3)
    fill(tmp_path, 2)
    assert verify_log(tmp_path, noted).broken is None
    for name in ("audit.jsonl", "audit.head"):
        (tmp_path / name).unlink()
    fill(tmp_path, 5)
    assert verify_log(tmp_path).broken is None
    assert "another SHA-256 of it is noted elsewhere" in (verify_log(tmp_path, noted).broken or "")
    fewer = Link(9, noted.sha256)
    assert "record 9, noted elsewhere, is missing" in (verify_log(tmp_path, fewer).broken or "")


def test_going_on_after_a_cut_keeps_the_gap(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path, 4)
    put(tmp_path, lines_of(tmp_path)[:2])
    fill(tmp_path, 1)
    assert "does not end where it should" in caplog.text
    assert "expected number 3, found 5" in (verify_log(tmp_path).broken or "")


def test_a_head_that_a_power_cut_left_behind_is_no_alarm(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    behind = (tmp_path / "audit.head").read_bytes()
    fill(tmp_path, 2)
    (tmp_path / "audit.head").write_bytes(behind)
    found = verify_log(tmp_path)
    assert found.broken is None
    assert "the head names record 2, and the log goes on to 4" in found.notes[0]
    fill(tmp_path, 1)
    assert (verify_log(tmp_path).records, verify_log(tmp_path).notes) == (5, [])


@pytest.mark.parametrize(("content", "word"), [(None, "missing"), (b"", "missing"), (b"5:abc", "damaged")])
def test_a_lost_head_is_told(tmp_path: Path, content: bytes | None, word: str) -> None:
    fill(tmp_path, 2)
    head = tmp_path / "audit.head"
    head.unlink() if content is None else head.write_bytes(content)
    found = verify_log(tmp_path)
    assert found.broken is None
    assert f"the head file audit.head is {word}" in found.notes[0]
    (tmp_path / "audit.jsonl").write_bytes(b"")
    emptied = verify_log(tmp_path)
    assert f"the head file audit.head is {word}" in emptied.notes[0]


def test_a_torn_line_is_kept_in_a_record(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    with (tmp_path / "audit.jsonl").open("ab") as file:
        file.write(b'{"action":"sea\xff')
    found = verify_log(tmp_path)
    assert found.broken is None
    assert "an unfinished line of 15 bytes" in found.notes[0]
    fill(tmp_path, 1)
    assert json.loads(lines_of(tmp_path)[2])["torn"] == '{"action":"sea\\xff'
    assert (verify_log(tmp_path).records, verify_log(tmp_path).broken) == (4, None)


def test_lines_of_a_version_without_a_chain_are_kept_and_sealed(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").write_bytes(OLD + OLD)
    assert (verify_log(tmp_path).earlier_lines, verify_log(tmp_path).link) == (2, None)
    fill(tmp_path, 2)
    found = verify_log(tmp_path)
    assert (found.earlier_lines, found.records, found.broken) == (2, 2, None)
    assert lines_of(tmp_path)[:2] == [OLD, OLD]
    put(tmp_path, [OLD.replace(b"admin", b"madam"), *lines_of(tmp_path)[1:]])
    assert "does not follow what stands before the chain, 2 lines:" in (verify_log(tmp_path).broken or "")


def test_processes_and_threads_share_one_chain(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from server.audit import Action, AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]))\n"
        "for _ in range(40): log.append(Action.READ)"
    )
    with closing(AuditLog(tmp_path)) as log:
        log.append(Action.START)
        command = [sys.executable, "-c", code, str(tmp_path)]
        others = [subprocess.Popen(command, cwd=REPOSITORY) for _ in range(2)]
        while any(other.poll() is None for other in others):
            log.append(Action.READ)
    found = verify_log(tmp_path)
    assert [other.returncode for other in others] == [0, 0]
    assert found.broken is None
    assert found.records > 81


def test_a_write_that_failed_leaves_no_trace(tmp_path: Path) -> None:
    with closing(AuditLog(tmp_path)) as log:
        log.append(Action.START)
        before = lines_of(tmp_path)
        written, os_write = [], os.write
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "write", lambda file, data: written.append(os_write(file, data[:9])) or 9)
            with pytest.raises(StorageUnavailable, match="only a part of the line"):
                log.append(Action.READ)
        assert written == [9]
        assert lines_of(tmp_path) == before
        log.append(Action.READ)
    assert (verify_log(tmp_path).records, verify_log(tmp_path).broken) == (2, None)


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[AuditTrail]:
    (tmp_path / "audit.jsonl").write_bytes(OLD + b"no JSON\n")
    fill(tmp_path, 3)
    with closing(AuditTrail(tmp_path)) as opened:
        yield opened


def test_pages_go_from_the_newest_to_the_oldest(trail: AuditTrail) -> None:
    first, cursor = trail.page(AuditFilter(), None, 3)
    assert [line.claims["search_id"] for line in first] == ["s2", "s1", "s0"]
    rest, end = trail.page(AuditFilter(), cursor, 3)
    assert ([line.claims["search_id"] for line in rest], end) == (["old"], None)
    new_year = datetime(2026, 1, 3, tzinfo=UTC)
    assert len(trail.page(AuditFilter(before=new_year), None, 9)[0]) == 1
    assert len(trail.page(AuditFilter(after=new_year, key="Ada", case="17"), None, 9)[0]) == 3
    assert trail.page(AuditFilter(case="18"), None, 9)[0] == []


@pytest.mark.parametrize("content", [b"no database", b""])
def test_a_damaged_index_is_made_anew(tmp_path: Path, trail: AuditTrail, content: bytes) -> None:
    assert trail.search("s1")["search_id"] == "s1"
    trail.close()
    (tmp_path / "audit.index.sqlite3").write_bytes(content)
    with closing(AuditTrail(tmp_path)) as again:
        assert again.search("s2")["search_id"] == "s2"


def test_an_index_of_another_log_is_made_anew(tmp_path: Path, trail: AuditTrail) -> None:
    trail.search("s1")
    trail.close()
    for name in ("audit.jsonl", "audit.head"):
        (tmp_path / name).unlink()
    fill(tmp_path, 6)
    with closing(AuditTrail(tmp_path)) as again:
        assert len(again.page(AuditFilter(), None, 9)[0]) == 6


def told(folder: Path) -> list[Record]:
    with closing(AuditTrail(folder)) as trail:
        return [line.told for line in trail.page(AuditFilter(), None, 9)[0]]


@pytest.mark.parametrize("indexed", [True, False])
def test_a_record_of_which_any_byte_was_changed_is_told_as_broken_and_the_others_as_they_are(
    tmp_path: Path, indexed: bool
) -> None:
    fill(tmp_path, 3)
    sound, lines = told(tmp_path), lines_of(tmp_path)
    for position in range(0, len(lines[1]) - 1, 7):
        changed = lines[1][:position] + bytes([lines[1][position] ^ 1]) + lines[1][position + 1 :]
        put(tmp_path, [lines[0], changed, lines[2]])
        if not indexed:
            (tmp_path / "audit.index.sqlite3").unlink()
        newest, broken, oldest = told(tmp_path)
        assert (newest, oldest) == (sound[0], sound[2])
        assert set(broken) == {"broken", "line"}
        assert broken["line"] == changed[:-1].decode(errors="backslashreplace")


def test_a_record_stripped_of_its_place_is_no_line_of_an_earlier_version(tmp_path: Path) -> None:
    put(tmp_path, [OLD])
    fill(tmp_path, 2)
    assert ["broken" in record for record in told(tmp_path)] == [False, False, False]
    lines = lines_of(tmp_path)
    for number in (1, 2):
        place = {"sequence", "previous_sha256", "sha256"}
        stripped = {name: value for name, value in json.loads(lines[number]).items() if name not in place}
        put(tmp_path, [*lines[:number], canonical(stripped) + b"\n", *lines[number + 1 :]])
        assert "broken" in told(tmp_path)[2 - number]
    put(tmp_path, [OLD.replace(b"admin", b"edwin"), *lines[1:]])
    assert ["broken" in record for record in told(tmp_path)] == [False, False, True]


def test_a_broken_search_is_not_told_and_the_others_are(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    lines = lines_of(tmp_path)
    put(tmp_path, [lines[0].replace(b'"case":"17"', b'"case":"18"'), lines[1]])
    with closing(AuditTrail(tmp_path)) as trail:
        with pytest.raises(RecordBroken, match=r"at byte 0 of audit.jsonl: its content .* audit verify"):
            trail.search("s0")
        assert trail.search("s1")["case"] == "17"


def test_an_extract_tells_a_broken_record_as_such(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    lines = lines_of(tmp_path)
    changed = lines[1].replace(b'"Ada"', b'"Eve"')
    put(tmp_path, [lines[0], changed, b"no JSON\n", lines[2]])
    written, table = io.StringIO(), io.StringIO()
    assert write_extract(tmp_path, AuditFilter(), ExtractFormat.JSONL, written) == (4, 2)
    first, second, third, last = written.getvalue().splitlines()
    assert (first, last) == (lines[0].decode().strip(), lines[2].decode().strip())
    assert json.loads(second)["line"] == changed.decode().strip()
    assert set(json.loads(second)) == {"broken", "line"}
    assert json.loads(third) == {"broken": "the line is not JSON", "line": "no JSON"}
    assert write_extract(tmp_path, AuditFilter(key="Eve"), ExtractFormat.CSV, table) == (1, 1)
    (row,) = csv.DictReader(io.StringIO(table.getvalue()))
    assert {name for name, cell in row.items() if cell} == {"other"}
    assert "changed after it was written" in row["other"]


def test_extracts(tmp_path: Path) -> None:
    fill(tmp_path, 2, reason="=cmd()", filters={"camera_ids": ["cam3"]})
    lines, table = io.StringIO(), io.StringIO()
    assert write_extract(tmp_path, AuditFilter(key="Ada"), ExtractFormat.JSONL, lines) == (2, 0)
    assert lines.getvalue().encode() == (tmp_path / "audit.jsonl").read_bytes()
    assert write_extract(tmp_path, AuditFilter(case="17"), ExtractFormat.CSV, table) == (2, 0)
    heading, first, _ = table.getvalue().splitlines()
    assert heading.startswith("sequence,action,began_at,ended_at,key,")
    assert '"{""camera_ids"":[""cam3""]}"' in first
    assert ",'=cmd()," in first
    assert write_extract(tmp_path, AuditFilter(key="Eve"), ExtractFormat.JSONL, lines) == (0, 0)


def test_the_command_line_verifies_and_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def peca(*words: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["audit", *words, "--data-dir", str(tmp_path)])
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    code, _, said = peca("verify")
    assert (code, "there is no audit log" in said) == (1, True)
    link = fill(tmp_path, 2)
    code, said, _ = peca("verify", "--head", str(link))
    assert (code, f"head: {link}" in said) == (0, True)
    assert peca("verify", "--head", "2:abc")[0] == 2
    out = tmp_path / "extract.csv"
    code, _, said = peca("export", "--format", "csv", "--key", "Ada", "--out", str(out))
    assert (code, said) == (0, "2 records\n")
    assert len(out.read_text().splitlines()) == 3
    read = json.loads(lines_of(tmp_path)[-1])
    assert (read["action"], read["filters"], bool(read["os_user"])) == ("read", {"key": "Ada"}, True)
    lines = lines_of(tmp_path)
    put(tmp_path, [lines[0].replace(b'"s0"', b'"s9"'), *lines[1:]])
    code, _, said = peca("export", "--key", "Ada", "--out", str(out))
    assert (code, said) == (1, "2 records\nBROKEN: 1 of them; run: peca audit verify\n")
    put(tmp_path, lines_of(tmp_path)[1:])
    code, said, _ = peca("verify")
    assert code == 1
    assert said.startswith("BROKEN: record 1 (line 1 of audit.jsonl)")
    assert json.loads(peca("verify", "--json")[1])["sound"] is False


def test_a_folder_without_a_log_is_not_given_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no audit log"):
        write_extract(tmp_path, AuditFilter(), ExtractFormat.CSV, io.StringIO())
    assert list(tmp_path.iterdir()) == []
