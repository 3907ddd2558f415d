"""`peca-client`: its commands against a real server, what they print, and how they end."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from client_site import Server, picture, write_pictures
from PIL import ExifTags, Image

from peca_client import PecaClient
from peca_client.commands.tables import print_table

Run = Callable[..., tuple[int, str, str]]
CAMERA = "commands"


def test_from_files_to_what_a_search_finds(run: Run, tmp_path: Path) -> None:
    write_pictures(tmp_path / "crops", range(40, 43))
    line = ("ingest", tmp_path / "crops", "--camera", CAMERA, "--modality", "infrared", "--track", "t-1")
    code, out, err = run(*line)
    assert code == 0, err
    assert out.splitlines()[2].split() == ["stored", "3"]
    assert json.loads(run(*line, "--json")[1])["unchanged"] == 3

    code, out, _ = run("cameras", "--json")
    assert code == 0
    assert {one["camera_id"]: one["count"] for one in json.loads(out)}[CAMERA] == 3

    day = tmp_path / "day.jpg"
    day.write_bytes(picture(41))
    code, out, err = run("search", day, "--modality", "visible", "--camera", CAMERA, "--limit", "2")
    assert code == 0, err
    heads, ruler, best, *_ = out.splitlines()
    assert heads.split() == ["rank", "score", "image", "camera", "captured", "track", "images"]
    assert set(ruler) == {"-", " "}
    assert best.split()[0] == "1"
    assert heads.index("camera") == best.index(CAMERA)
    assert "2 found in infrared images; search " in out

    found = json.loads(run("search", day, "--camera", CAMERA, "--json")[1])
    assert found["items"][0]["image_id"] == best.split()[2]
    again = run("search", "--image-id", best.split()[2], "--in", "infrared", "--by-track", "--json")
    assert again[0] == 0


def test_crops_are_dated_by_exif_else_by_the_file_or_as_told(
    run: Run, client: PecaClient, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {ExifTags.Base.DateTimeOriginal: "2026:02:03 04:05:06", ExifTags.Base.OffsetTimeOriginal: "+02:00"}
    )
    (tmp_path / "exif.jpg").write_bytes(picture(1, exif=exif))
    write_pictures(tmp_path, range(2, 3), moment=1_700_000_000.0)
    line = ("ingest", tmp_path, "--modality", "visible", "--camera")
    assert run(*line, "dated-by-client")[0] == 0
    newest, oldest = client.images(camera_ids=["dated-by-client"]).items
    assert newest.captured_at == datetime(2026, 2, 3, 2, 5, 6, tzinfo=UTC)
    assert oldest.captured_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert run(*line, "told", "--captured-at", "2026-05-01T23:15:00+02:00")[0] == 0
    told = {one.captured_at for one in client.images(camera_ids=["told"]).items}
    assert told == {datetime(2026, 5, 1, 21, 15, tzinfo=UTC)}


def test_a_refused_image_ends_with_4(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    code, out, _ = run("ingest", tmp_path / "bad.jpg", "--camera", CAMERA, "--modality", "visible")
    assert code == 4
    assert "refused: bad.jpg: " in out


def test_status_and_what_it_ends_with(run: Run, server: Server) -> None:
    code, out, _ = run("status")
    assert (code, out.splitlines()[0]) == (0, f"ready at {server.url}")
    assert json.loads(run("status", "--json")[1])["ready"] is True
    code, out, err = run("cameras", "--url", "http://127.0.0.1:9", "--timeout", "1")
    assert (code, out) == (3, "")
    assert "127.0.0.1:9" in err


def test_what_went_wrong_is_told(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for line, code, told in (
        (("cameras", "--api-key", "peca_wrong"), 1, "401"),
        (("search", "nowhere.jpg"), 1, "nowhere.jpg"),
        (("search",), 2, "expected IMAGE"),
        (("search", "a.jpg", "--after", "2026-05-01T18:00:00"), 2, "expected a time zone"),
        (("search", "a.jpg", "--limit", "0"), 2, "from 1"),
        (("ingest", tmp_path, "--camera", "c", "--modality", "visible"), 1, "no image file"),
    ):
        ended = run(*line)
        assert ended[0] == code
        assert told in ended[2]
    monkeypatch.delenv("PECA_URL")
    assert "PECA_URL" in run("cameras")[2]


@pytest.mark.parametrize(
    "command",
    [
        *("status", "cameras", "ingest", "search", "watch", "completion", "watchlists", "keys"),
        *(f"watchlists {name}" for name in ("list", "add", "hits", "events", "delete")),
        *(f"keys {name}" for name in ("list", "create", "rotate", "revoke")),
    ],
)
def test_each_help_teaches_by_examples(run: Run, command: str) -> None:
    code, out, _ = run(*command.split(), "--help")
    assert code == 0
    assert f"examples:\n  peca-client {command}" in out
    assert all(len(line) <= 110 for line in out.splitlines())


def test_names_from_outside_do_not_reach_the_terminal_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("camera", "images"), [("夜間", 3), ("\x1b[31mred\n", 12)])
    heads, _, wide, escaped = capsys.readouterr().out.splitlines()
    assert heads == "camera     images"
    assert wide == "夜間" + 12 * " " + "3"
    assert escaped == "?[31mred?      12"


def test_a_file_that_cannot_be_read_does_not_keep_the_others_from_the_gallery(
    run: Run, tmp_path: Path
) -> None:
    paths = write_pictures(tmp_path / "crops", range(44, 46))
    (tmp_path / "crops" / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    line = ("ingest", tmp_path / "crops", "--camera", "unread", "--modality", "infrared", "--json")
    code, out, err = run(*line)
    assert code == 4, err
    told = json.loads(out)
    assert (told["stored"], told["refused"]) == (len(paths), 1)
    assert "No such file" in told["left_out"][0]["reason"]


def at_a_terminal(code: str) -> str:
    """What a program prints where somebody looks."""
    terminal, end = pty.openpty()
    surroundings = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "1"}
    subprocess.run([sys.executable, "-c", code], stdout=end, check=True, env=surroundings)
    os.close(end)
    printed = b""
    with suppress(OSError):  # Linux says so at the end
        while more := os.read(terminal, 4096):
            printed += more
    os.close(terminal)
    return printed.decode().replace("\r\n", "\n")


def test_at_a_terminal_rich_draws_tables_where_it_is_installed() -> None:
    table = "print_table(('camera', 'images'), [('[b]gate:back:', 3), ('\\x1b[31mred', 12)])"
    code = f"from peca_client.commands.tables import print_table\n{table}"
    drawn = at_a_terminal(code)
    assert "│ [b]gate:back: │      3 │" in drawn
    assert "│ ?[31mred      │     12 │" in drawn
    plain = at_a_terminal(f"import sys\nsys.modules['rich.console'] = None\n{code}")
    assert plain.splitlines()[2] == "[b]gate:back:       3"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(run: Run, shell: str) -> None:
    code, out, _ = run("completion", shell)
    assert code == 0
    assert "peca-client" in out


def test_bash_completes_commands_and_options() -> None:
    script = subprocess.run(
        [sys.executable, "-m", "peca_client", "completion", "bash"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    asked = f"""
{script}
peca-client() {{ {sys.executable} -m peca_client "$@"; }}
COMP_WORDS=(peca-client search --exc); COMP_CWORD=2
COMP_LINE="peca-client search --exc"; COMP_POINT=${{#COMP_LINE}}; COMP_TYPE=9; COMP_KEY=9
_python_argcomplete peca-client
echo "${{COMPREPLY[@]}}"
"""
    ended = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=False, timeout=60)
    assert ended.stdout.strip() == "--exclude-camera", ended.stderr
