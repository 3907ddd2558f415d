"""`peca-client`: its commands against a real server, what they print, and how they end."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from client_site import REPOSITORY, SERVE, Server, picture, start_server, write_pictures
from PIL import ExifTags, Image

from peca_client import AsyncPecaClient, PecaClient, UntrustedServer
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


def test_status_says_whether_the_key_is_taken(
    run: Run, server: Server, client: PecaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the installer of a camera asks, whose key may do nothing but store."""
    key = client.create_key("status camera", "camera", camera_ids=["gate"]).key
    assert key is not None
    assert json.loads(run("status", "--api-key", key, "--json")[1])["key"] == "taken"
    code, _, err = run("status", "--api-key", "peca_wrong")
    assert (code, "401 The API key is not known" in err) == (1, True)
    monkeypatch.delenv("PECA_API_KEY")
    code, out, _ = run("status")
    assert (code, out.splitlines()[0]) == (0, f"ready at {server.url}")
    assert "give --api-key, or set PECA_API_KEY" in run("cameras")[2]
    assert "PECA_API_KEY" in run("watch", "a.mp4", "--camera", "gate", "--modality", "visible")[2]


def test_a_search_that_finds_nothing_says_where_to_look(run: Run, tmp_path: Path) -> None:
    (tmp_path / "day.jpg").write_bytes(picture(41))
    line = ("search", tmp_path / "day.jpg", "--before", "1999-01-01T00:00:00Z")
    code, out, _ = run(*line)
    assert code == 0
    assert out.startswith("nothing found in infrared images; search ")
    assert "peca-client cameras" in out
    assert "rank" not in out


def test_an_advised_time_is_one_that_is_taken(run: Run) -> None:
    for line in (("search", "nowhere.jpg", "--after"), ("watch", "nowhere", "--camera", "c", "--start")):
        light = ("--modality", "visible")
        code, _, err = run(*line, "2026-05-01", *light)
        assert code == 2
        advised = err.rpartition(" or ")[2].strip()
        assert run(*line, advised, *light)[0] == 1  # the time is taken; the file is not there


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """A server by HTTPS, and the file of the authority that vouches for it as 127.0.0.1."""
    authority = trustme.CA()
    files = [tmp_path / name for name in ("authority.pem", "cert.pem", "key.pem")]
    vouched = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(files[0]))
    vouched.cert_chain_pems[0].write_to_path(str(files[1]))
    vouched.private_key_pem.write_to_path(str(files[2]))
    own = f"port=0, tls_cert={str(files[1])!r}, tls_key={str(files[2])!r}"
    started = start_server(tmp_path, SERVE.replace("port=0", own))
    yield started, files[0]
    started.end()


def test_what_tls_fails_of_is_told_with_what_to_do(
    run: Run, tls_server: tuple[Server, Path], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    https, authority = tls_server
    code, _, err = run("status", "--url", https.url)
    assert code == 1
    assert "the certificate of" in err
    assert "name that authority's PEM file in SSL_CERT_FILE" in err
    with pytest.raises(UntrustedServer):
        asyncio.run(ready(https.url))
    assert "begin with https://" in run("status", "--url", https.url.replace("https", "http"))[2]
    assert "begin with http://" in run("status", "--url", server.url.replace("http", "https"))[2]

    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert run("status", "--url", https.url, "--api-key", https.key)[0] == 0
    code, _, err = run("status", "--url", https.url.replace("127.0.0.1", "localhost"))
    assert (code, "a name that the certificate is for" in err) == (1, True)
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    code, _, err = run("status", "--url", https.url)
    assert (code, "/nowhere.pem cannot be read" in err) == (1, True)


async def ready(url: str) -> None:
    async with AsyncPecaClient(url) as client:
        await client.version()


def test_what_went_wrong_is_told(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for line, code, told in (
        (("cameras", "--api-key", "peca_wrong"), 1, "401"),
        (("search", "nowhere.jpg"), 1, "nowhere.jpg"),
        (("search",), 2, "expected IMAGE"),
        (("search", "a.jpg", "--after", "2026-05-01T18:00:00"), 2, "expected a time zone"),
        (("search", "a.jpg", "--limit", "0"), 2, "from 1"),
        (("search", "a.jpg", "--threshold", "3"), 2, "from -1 to 1"),
        (("cameras", "--url", "127.0.0.1:8000"), 1, "such as http://127.0.0.1:8000"),
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


@pytest.mark.parametrize("reader", ["true", "head -c 1"])
def test_a_reader_that_has_seen_enough_is_no_failure(server: Server, reader: str) -> None:
    line = f"set -o pipefail; {sys.executable} -m peca_client cameras --json | {reader}"
    environment = {**os.environ, "PECA_URL": server.url, "PECA_API_KEY": server.key}
    ended = subprocess.run(
        ["bash", "-c", line], env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


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
