"""`peca gallery` beside a real server and after it: what it prints, what it refuses, and what is left."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from client_site import Server, picture, start_server

from peca_client import ImageUpload, PecaClient

REMINDER = "snapshots made before still hold what was erased: remove them, or erase after a restore\n"
Peca = Callable[..., tuple[int, str, str]]
NOW = datetime.now(UTC)


def uploads() -> list[ImageUpload]:
    """Image n: camera gate or lobby, person n % 3, captured 10 n days ago."""
    return [
        ImageUpload(
            picture(n),
            camera_id=("gate", "lobby")[n % 2],
            modality=("visible", "infrared")[n % 2],
            captured_at=NOW - timedelta(days=10 * n, minutes=1),
            image_id=f"i{n}",
            person_id=f"p{n % 3}",
            filename=f"i{n}.jpg",
        )
        for n in range(9)
    ]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with nine images."""
    server = start_server(tmp_path_factory.mktemp("served"))
    with PecaClient(server.url, server.key) as client:
        client.ingest(uploads())
    yield server
    server.end()


@pytest.fixture(scope="module")
def stopped(served: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What that server's data folder would be if it had been stopped: a snapshot of it, restored."""
    from index.embedded.snapshot import restore_snapshot, take_snapshot

    folder = tmp_path_factory.mktemp("stopped")
    take_snapshot(served.data, served.data / "images", folder / "snapshot")
    restore_snapshot(folder / "snapshot", folder / "data", folder / "data" / "images")
    return folder / "data"


@pytest.fixture
def data(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "data"))


def file_of(data: Path, image_id: str) -> Path:
    name = hashlib.sha256(image_id.encode()).hexdigest()
    return data / "images" / name[:2] / name


def test_stats_beside_a_server(served: Server, peca: Peca) -> None:
    code, out, _ = peca("gallery", "stats", "--gallery", f"embedded:{served.data}")
    assert code == 0
    assert "9 images, 3 labelled people, encoder grey" in out
    assert "9 image files" in out
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if "│" in line]
    assert [row[:3] for row in rows] == [["gate", "visible", "5"], ["lobby", "infrared", "4"]]
    code, out, _ = peca("gallery", "stats", "--gallery", f"embedded:{served.data}", "--json")
    told = json.loads(out)
    assert (told["images"], told["cameras"][0]["camera_id"], told["image_files"]) == (9, "gate", 9)


def test_the_environment_names_gallery_and_data(
    served: Server, peca: Peca, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PECA_GALLERY", f"embedded:{served.data}")
    assert "9 image files" in peca("gallery", "stats")[1]
    monkeypatch.setenv("PECA_DATA_DIR", str(tmp_path))
    assert "0 image files" in peca("gallery", "stats")[1]


def test_verify_beside_a_server(served: Server, peca: Peca) -> None:
    code, out, _ = peca("gallery", "verify", "--gallery", f"embedded:{served.data}", "--check-images")
    assert code == 0
    assert ": no fault; 9 images, no index file, 9 image files in " in out


def test_names_are_printed_as_they_are(data: Path, peca: Peca, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data.parent)
    for name in ("back", "[red]"):  # rich has a sign for the one between colons, and a colour for the other
        shutil.copytree(data, name)
        _, out, _ = peca("gallery", "verify", "--gallery", f"embedded:{name}")
        assert f"embedded:{name}: no fault" in out


def test_verify_names_each_fault_and_ends_with_1(data: Path, peca: Peca) -> None:
    file_of(data, "i3").unlink()
    file_of(data, "i4").write_bytes(picture(4)[:400])
    code, out, _ = peca("gallery", "verify", "--gallery", f"embedded:{data}", "--check-images")
    assert code == 1
    lost, torn, verdict = out.splitlines()
    assert lost == f"image 'i3' has no file in {data}/images; ingest it again, or erase it"
    assert torn.startswith("image 'i4' has a file that is no image: the image's header is cut short")
    assert torn.endswith(str(file_of(data, "i4")))
    assert ": 2 faults; 9 images" in verdict
    code, out, _ = peca("gallery", "verify", "--gallery", f"embedded:{data}", "--json")
    assert code == 1
    assert [fault for fault in json.loads(out)["faults"] if "'i3'" in fault]


def test_a_snapshot_of_a_running_server_serves_elsewhere(served: Server, peca: Peca, tmp_path: Path) -> None:
    snapshot, back = tmp_path / "snapshot", tmp_path / "back"
    code, out, _ = peca("gallery", "snapshot", "--gallery", f"embedded:{served.data}", "--out", snapshot)
    assert code == 0
    assert out.startswith(f"{snapshot} holds 9 images and 9 image files: ")
    code, out, _ = peca("gallery", "restore", snapshot, "--gallery", f"embedded:{back / 'data'}")
    assert code == 0
    assert f"embedded:{back / 'data'} holds 9 images of encoder grey" in out
    elsewhere = start_server(back)
    try:
        with PecaClient(elsewhere.url, elsewhere.key) as client:
            found = client.search(picture(4), query_modality="infrared", limit=1).items[0]
            assert found.image_id == "i4"
            assert client.thumbnail("i4")
    finally:
        elsewhere.end()


def test_a_damaged_snapshot_is_refused(served: Server, peca: Peca, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    peca("gallery", "snapshot", "--gallery", f"embedded:{served.data}", "--out", snapshot)
    with (snapshot / "gallery.sqlite3").open("ab") as file:
        file.write(b"\0")
    code, _, err = peca("gallery", "restore", snapshot, "--gallery", f"embedded:{tmp_path / 'back'}")
    assert code == 1
    assert err == (
        f"peca: the snapshot {snapshot} is damaged: gallery.sqlite3 was changed; use another one\n"
    )
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("command", [["snapshot", "--out", "backup"], ["verify"]])
def test_image_files_that_are_elsewhere_are_missed(
    served: Server, peca: Peca, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["gallery", *command, "--gallery", f"embedded:{served.data}", "--data-dir", "elsewhere"]
    assert peca(*command) == (
        1,
        "",
        "peca: expected the gallery's image files in elsewhere/images, which is no folder; name the server's "
        "data folder with --data-dir, or give --without-images if no files are kept\n",
    )
    assert not Path("backup").exists()
    assert peca(*command, "--without-images")[0] == 0


def test_a_snapshot_that_lacks_pictures_ends_with_1_and_stays(data: Path, peca: Peca, tmp_path: Path) -> None:
    snapshot = ("gallery", "snapshot", "--gallery", f"embedded:{data}", "--out")
    file_of(data, "i3").unlink()
    code, out, err = peca(*snapshot, tmp_path / "one")
    assert code == 1
    assert out.startswith(f"{tmp_path}/one holds 9 images and 8 image files: ")
    assert err == (
        f"1 of 9 images has no file in {data}/images, so {tmp_path}/one lacks its picture: name the server's "
        "data folder with --data-dir; peca gallery verify names the images\n"
    )
    file_of(data, "i4").unlink()
    code, out, err = peca(*snapshot, tmp_path / "two", "--json")
    assert (code, json.loads(out)["image_files"]) == (1, 7)
    assert err.startswith("2 of 9 images have no file in ")
    back = ("--gallery", f"embedded:{tmp_path}/back")
    assert peca("gallery", "restore", tmp_path / "two", *back)[0] == 0
    code, out, err = peca(*snapshot, tmp_path / "three", "--without-images")
    assert (code, err) == (0, "")
    assert out.startswith(f"{tmp_path}/three holds 9 images and 0 image files: ")


def test_verify_without_images_looks_at_the_gallery_alone(data: Path, peca: Peca) -> None:
    verify = ("gallery", "verify", "--gallery", f"embedded:{data}", "--without-images")
    shutil.rmtree(data / "images")
    code, out, _ = peca(*verify)
    assert (code, out) == (
        0,
        f"embedded:{data}: no fault; 9 images, no index file, image files left out\n",
    )
    assert peca(*verify, "--check-images")[0] == 2


@pytest.mark.parametrize(
    "command",
    [
        ["compact"],
        ["erase", "--person-id", "p1", "--yes"],
        ["retention", "--yes"],
    ],
)
def test_what_changes_a_gallery_asks_to_stop_its_server(
    served: Server, peca: Peca, command: list[str]
) -> None:
    code, _, err = peca("gallery", *command, "--gallery", f"embedded:{served.data}")
    assert code == 1
    assert err == (
        f"peca: the gallery {served.data} is open for writing by process {served.process.pid}; stop that "
        "process (a server, for example), or open the gallery read-only, as peca gallery stats, verify and "
        "snapshot do\n"
    )
    with PecaClient(served.url, served.key) as client:
        assert sum(camera.count for camera in client.cameras()) == 9


def test_rules_of_retention_are_set_beside_a_server(served: Server, peca: Peca) -> None:
    retention = ("gallery", "retention", "--gallery", f"embedded:{served.data}", "--camera-id", "gone")
    code, out, _ = peca(*retention, "--days", "1")
    assert code == 0
    assert "gone: kept 1 day (the gallery holds no image of it)" in out
    assert out.endswith("its server removes by itself what is due, unless its retention_minutes is 0\n")
    assert peca(*retention, "--days", "default")[0] == 0


def test_erase_says_first_what_it_would_erase(served: Server, peca: Peca) -> None:
    command = ["gallery", "erase", "--gallery", f"embedded:{served.data}", "--person-id", "p1"]
    code, out, _ = peca(*command)
    assert code == 0
    assert out.endswith("3 images would be erased; add --yes to erase them\n")
    assert peca("gallery", "verify", "--gallery", f"embedded:{served.data}")[0] == 0


def test_erase_counts_one_image_as_one(data: Path, peca: Peca) -> None:
    command = ("gallery", "erase", "--gallery", f"embedded:{data}", "--image-id", "i2")
    assert peca(*command)[1].endswith("\n1 image would be erased; add --yes to erase it\n")
    assert peca(*command, "--yes")[1] == f"1 image erased, with 1 file in {data}/images\n{REMINDER}"


def test_erase_with_yes_leaves_nothing_of_a_person(data: Path, peca: Peca) -> None:
    gone = [1, 4, 7]
    assert all(file_of(data, f"i{n}").exists() for n in gone)
    code, out, _ = peca("gallery", "erase", "--gallery", f"embedded:{data}", "--person-id", "p1", "--yes")
    assert (code, out) == (0, f"3 images erased, with 3 files in {data}/images\n{REMINDER}")
    contents = [path.read_bytes() for path in data.rglob("*") if path.is_file()]
    for n in gone:
        assert picture(n) not in contents
        assert not [data for data in contents if f"i{n}visible".encode() in data]
    assert ": no fault; 6 images" in peca("gallery", "verify", "--gallery", f"embedded:{data}")[1]
    assert peca("gallery", "compact", "--gallery", f"embedded:{data}")[0] == 0


def test_erase_asks_where_the_image_files_are(data: Path, peca: Peca, tmp_path: Path) -> None:
    command = ["gallery", "erase", "--gallery", f"embedded:{data}", "--person-id", "p1", "--yes"]
    code, _, err = peca(*command, "--data-dir", tmp_path / "elsewhere")
    assert code == 1
    assert err == (
        f"peca: expected the gallery's image files in {tmp_path}/elsewhere/images, which is no folder; name "
        "the server's data folder with --data-dir, or make this one if no files are kept\n"
    )
    assert ": no fault; 9 images" in peca("gallery", "verify", "--gallery", f"embedded:{data}")[1]


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        (["--camera-id", "gate"], 5),
        (["--camera-id", "gate", "--camera-id", "lobby", "--modality", "infrared"], 4),
        (["--image-id", "i1", "--image-id", "i2", "--image-id", "none"], 2),
        (["--before", (NOW - timedelta(days=45)).isoformat()], 4),
        (["--after", (NOW - timedelta(days=45)).isoformat(), "--person-id", "p0"], 2),
        (["--person-id", "nobody"], 0),
    ],
)
def test_erase_takes_every_condition(data: Path, peca: Peca, conditions: list[str], count: int) -> None:
    told = peca("gallery", "erase", "--gallery", f"embedded:{data}", *conditions)[1]
    assert (f"{count} images would be erased" if count else "no image would be erased") in told
    done = peca("gallery", "erase", "--gallery", f"embedded:{data}", *conditions, "--yes")
    reminder = REMINDER if count else ""
    assert done == (0, f"{count} images erased, with {count} files in {data}/images\n{reminder}", "")


def test_erase_without_a_condition_or_with_an_unknown_camera_is_refused(data: Path, peca: Peca) -> None:
    code, _, err = peca("gallery", "erase", "--gallery", f"embedded:{data}", "--yes")
    assert code == 2
    assert "say what to erase" in err
    code, _, err = peca("gallery", "erase", "--gallery", f"embedded:{data}", "--camera-id", "gaet", "--yes")
    assert (code, err) == (1, "peca: the gallery has never seen gaet; its cameras are: gate, lobby\n")


def test_retention_is_set_shown_and_applied(data: Path, peca: Peca) -> None:
    command = ["gallery", "retention", "--gallery", f"embedded:{data}"]
    assert peca(*command) == (0, "all cameras: kept for ever\nno image would be erased\n", "")
    assert "all cameras: kept 45 days" in peca(*command, "--days", "45")[1]
    told = peca(*command, "--camera-id", "lobby", "--camera-id", "yard", "--days", "keep")[1]
    assert "lobby: kept for ever\nyard: kept for ever (the gallery holds no image of it)\n" in told
    code, out, _ = peca(*command)
    assert code == 0
    assert out.endswith("2 images would be erased; add --yes to erase them\n")
    assert "lobby" not in out.splitlines()[-3]
    assert peca(*command, "--yes")[1].endswith(
        f"\n2 images erased, with 2 files in {data}/images\n{REMINDER}"
    )
    assert peca(*command)[1].endswith("\nno image would be erased\n")
    assert peca(*command, "--camera-id", "lobby", "--days", "default", "--yes")[1].endswith(
        f"\n2 images erased, with 2 files in {data}/images\n{REMINDER}"
    )
    assert ": no fault; 5 images" in peca("gallery", "verify", "--gallery", f"embedded:{data}")[1]


def test_retention_tells_of_images_that_are_dated_ahead(data: Path, peca: Peca) -> None:
    from index.embedded.engine import EmbeddedGallery
    from index.embedded.store import read_spec
    from index.records import ImageRecord
    from index.space import Modality

    spec = read_spec(data)
    assert spec is not None
    with closing(EmbeddedGallery(data, spec)) as gallery:
        for name, days in (("soon", 0.9), ("late", 1.5), ("later", 400), ("kept", 9)):
            record = ImageRecord(name, Modality.VISIBLE, f"cam-{name}", NOW + timedelta(days=days))
            gallery.add([record], np.eye(1, spec.dim, dtype=np.float32))
    command = ("gallery", "retention", "--gallery", f"embedded:{data}")
    assert "dated" not in peca(*command)[1]  # no rule makes them due
    peca(*command, "--camera-id", "cam-kept", "--days", "keep")
    out = peca(*command, "--days", "400")[1]
    assert (
        f"2 images of cam-late, cam-later are dated more than a day ahead, up to "
        f"{NOW + timedelta(days=400):%Y-%m-%d}, and due by so much later: set the clocks right; "
        "peca gallery erase --after takes what is dated wrongly\n"
    ) in out


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        (["--days", "soon"], 2, "a whole number, keep or default, got 'soon'"),
        (["--days", "0"], 1, "images are kept 1 to 36500 days, or for ever; got 0"),
        (["--days", "default"], 2, "is for a camera"),
        (["--camera-id", "gate"], 2, "give --days, too"),
    ],
)
def test_retention_refuses_what_is_no_rule(
    data: Path, peca: Peca, options: list[str], code: int, named: str
) -> None:
    got, _, err = peca("gallery", "retention", "--gallery", f"embedded:{data}", *options)
    assert got == code
    assert named in " ".join(err.replace("│", " ").split())


def test_compact_says_what_it_gave_back(data: Path, peca: Peca) -> None:
    code, out, _ = peca("gallery", "compact", "--gallery", f"embedded:{data}")
    assert code == 0
    assert out.startswith(f"embedded:{data}: database ")
    assert " now; index file 0 bytes" in out


def test_a_gallery_in_memory_is_on_no_disk(peca: Peca) -> None:
    code, _, err = peca("gallery", "stats", "--gallery", "memory:")
    assert (code, err) == (1, "peca: expected a gallery on the disk, embedded:FOLDER, got 'memory:'\n")
