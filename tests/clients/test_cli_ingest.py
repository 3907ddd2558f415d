"""``peca ingest`` into a real server: folder, manifest, data set tree, each twice."""

import csv
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from client_site import NIGHT, Server, picture, write_pictures
from PIL import ExifTags, Image

from peca_client import PecaClient

Peca = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def addressed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PECA_URL", server.url)
    monkeypatch.setenv("PECA_API_KEY", server.key)


def counts(peca: Peca, *arguments: object) -> dict[str, object]:
    """The JSON of an ingest."""
    _, out, err = peca("ingest", *arguments, "--json")
    assert out, err
    return json.loads(out)


def stored_of(client: PecaClient, camera_id: str) -> int:
    return sum(camera.count for camera in client.cameras() if camera.camera_id == camera_id)


def write_manifest(
    path: Path, rows: list[list[str]], heading: str = "filename,camera_id,modality,captured_at"
) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(heading.split(","))
        writer.writerows(rows)
    return path


def test_a_folder_and_again(peca: Peca, client: PecaClient, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write_pictures(folder / "deep", range(5))
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.jpg").write_bytes(b"no image")
    arguments = ("ingest", folder, "--camera-id", "folder", "--modality", "infrared", "--batch-size", "2")
    code, out, err = peca(*arguments)
    assert (code, stored_of(client, "folder")) == (0, 5)
    assert "stored" in out
    assert "5" in out
    assert "Traceback" not in err
    code, _, _ = peca(*arguments)
    assert (code, stored_of(client, "folder")) == (0, 5)
    again = counts(peca, *arguments[1:])
    assert again == {
        "stored": 0, "unchanged": 5, "conflict": 0, "refused": 0, "refusals": [], "conflicts": [],
    }  # fmt: skip


def test_a_folder_is_dated_by_exif_else_by_the_file(peca: Peca, client: PecaClient, tmp_path: Path) -> None:
    folder = tmp_path / "dated"
    folder.mkdir()
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {ExifTags.Base.DateTimeOriginal: "2026:02:03 04:05:06", ExifTags.Base.OffsetTimeOriginal: "+02:00"}
    )
    (folder / "exif.jpg").write_bytes(picture(1, exif=exif))
    write_pictures(folder, range(2, 3), moment=1_700_000_000.0)
    counts(peca, folder, "--camera-id", "dated", "--modality", "visible")
    camera = next(camera for camera in client.cameras() if camera.camera_id == "dated")
    assert camera.first_captured_at == datetime.fromtimestamp(1_700_000_000, UTC)
    assert camera.last_captured_at == datetime(2026, 2, 3, 2, 5, 6, tzinfo=UTC)


def test_no_server(peca: Peca, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PECA_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda _: None)
    write_pictures(tmp_path, range(1))
    code, out, err = peca("ingest", tmp_path, "--camera-id", "c", "--modality", "visible")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "is a PECA server running there?" in err


def test_what_a_folder_holds_that_is_no_image_is_refused(
    peca: Peca, client: PecaClient, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    write_pictures(folder, range(2))
    (folder / "broken.jpg").write_bytes(picture(3)[:300])
    (folder / "text.png").write_text("no image")
    code, out, err = peca("ingest", folder, "--camera-id", "mixed", "--modality", "visible")
    assert code == 1
    assert stored_of(client, "mixed") == 2
    assert "refused: broken.jpg: " in out
    assert "refused: text.png: " in out
    assert "Traceback" not in err


def test_a_manifest_and_again(peca: Peca, client: PecaClient, tmp_path: Path) -> None:
    write_pictures(tmp_path / "crops", range(2))
    rows = [
        ["crops/p0.jpg", "manifest", "infrared", NIGHT.isoformat(), "manifest-0", "anna", "t7", "a note"],
        ["crops/p1.jpg", "manifest", "visible", "2026-05-01T23:15:00Z", "", "", "", ""],
    ]
    heading = "filename,camera_id,modality,captured_at,image_id,person_id,track_id,source"
    manifest = write_manifest(tmp_path / "site.csv", rows, heading)
    assert counts(peca, manifest)["stored"] == 2
    assert counts(peca, manifest)["unchanged"] == 2
    image = client.image("manifest-0")
    assert (image.person_id, image.track_id, image.source) == ("anna", "t7", "a note")
    assert image.captured_at == NIGHT
    assert stored_of(client, "manifest") == 2


def test_a_bad_row_is_named_by_its_number(peca: Peca, client: PecaClient, tmp_path: Path) -> None:
    write_pictures(tmp_path, range(2))
    night = NIGHT.isoformat()
    rows = [
        ["p0.jpg", "rows", "infrared", night],
        ["p1.jpg", "rows", "purple", night],
        ["p1.jpg", "rows", "infrared", "2026-05-01 23:15"],
        ["nowhere.jpg", "rows", "infrared", night],
        ["", "rows", "infrared", night],
        ["p1.jpg", "rows"],
        ["p1.jpg", "rows", "infrared", night, "surplus"],
        ["p1.jpg", "ro,ws", "infrared", night],
    ]
    report = counts(peca, write_manifest(tmp_path / "rows.csv", rows))
    reasons = {one["filename"]: one["reason"] for one in report["refusals"]}
    assert (report["stored"], stored_of(client, "rows")) == (1, 1)
    expected = {
        "row 3 (p1.jpg)": "modality",
        "row 4 (p1.jpg)": "captured_at",
        "row 5 (nowhere.jpg)": "no file",
        "row 6 ()": "no file",
        "row 7 (p1.jpg)": "captured_at",
        "row 8 (p1.jpg)": "surplus cells",
        "row 9 (p1.jpg)": "camera_id",
    }
    assert reasons.keys() == expected.keys()
    for row, word in expected.items():
        assert word in reasons[row]


@pytest.mark.parametrize(
    "heading",
    [
        "filename,camera_id,modality",
        "filename,path,camera_id,modality,captured_at",
        "filename,camera_id,modality,captured_at,color",
        "",
    ],
)
def test_a_manifest_with_another_heading(peca: Peca, tmp_path: Path, heading: str) -> None:
    code, _, err = peca("ingest", write_manifest(tmp_path / "bad.csv", [], heading))
    assert code == 1
    assert err.startswith("peca: ")
    assert "bad.csv" in err


def test_a_manifest_that_is_no_text(peca: Peca, tmp_path: Path) -> None:
    path = tmp_path / "picture.csv"
    path.write_bytes(picture(0))
    code, _, err = peca("ingest", path)
    assert (code, err.count("\n")) == (1, 1)


def test_an_id_that_is_taken_is_told_and_kept(peca: Peca, client: PecaClient, tmp_path: Path) -> None:
    write_pictures(tmp_path, range(2))
    heading = "path,camera_id,modality,captured_at,image_id"
    row = ["taken", "visible", NIGHT.isoformat(), "cli-taken"]
    counts(peca, write_manifest(tmp_path / "one.csv", [["p0.jpg", *row]], heading))
    code, out, _ = peca("ingest", write_manifest(tmp_path / "two.csv", [["p1.jpg", *row]], heading))
    assert code == 1
    assert "conflict: row 2 (p1.jpg): " in out
    assert client.image("cli-taken").source == "p0.jpg"


def sysu_tree(root: Path) -> Path:
    """A tree of 2 training and 2 test identities, one image of each by each camera."""
    (root / "exp").mkdir(parents=True)
    for part, people in (("train", "1"), ("val", "2"), ("test", "3,4")):
        (root / f"exp/{part}_id.txt").write_text(people + "\n")
    for camera in range(1, 7):
        for person in range(1, 5):
            path = root / f"cam{camera}/{person:04d}/0001.jpg"
            path.parent.mkdir(parents=True)
            path.write_bytes(picture(person))
            os.utime(path, (1_777_000_000, 1_777_000_000))
    return root


def test_a_data_set_tree_and_again(peca: Peca, client: PecaClient, tmp_path: Path) -> None:
    root = sysu_tree(tmp_path / "sysu")
    assert counts(peca, root, "--layout", "sysu")["stored"] == 12
    assert counts(peca, root, "--layout", "sysu")["unchanged"] == 12
    assert counts(peca, root, "--layout", "sysu", "--split-name", "train")["stored"] == 12
    assert counts(peca, root, "--layout", "sysu", "--split-name", "all")["unchanged"] == 24
    image = client.image("cam3-0004-0001")
    assert (image.person_id, image.source, image.camera_id) == ("0004", "cam3/0004/0001.jpg", "cam3")
    assert image.captured_at == datetime.fromtimestamp(1_777_000_000, UTC)
    assert image.modality == "infrared"


def test_a_tree_that_is_not_of_its_layout(peca: Peca, tmp_path: Path) -> None:
    code, _, err = peca("ingest", tmp_path, "--layout", "sysu")
    assert (code, err.count("\n")) == (1, 1)
    assert "exp" in err


def test_usage(peca: Peca, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path, range(1))
    manifest = write_manifest(tmp_path / "m.csv", [])
    for arguments, told in (
        ((tmp_path,), "--camera-id"),
        ((tmp_path, "--camera-id", "c"), "--modality"),
        ((tmp_path, "--camera-id", "c", "--modality", "purple"), "purple"),
        ((manifest, "--camera-id", "c"), "--camera-id"),
        ((tmp_path / "nowhere",), "nowhere"),
        ((tmp_path, "--layout", "cuhk"), "cuhk"),
    ):
        code, _, err = peca("ingest", *arguments)
        assert code == 2
        assert told in err
    monkeypatch.delenv("PECA_API_KEY")
    code, _, err = peca("ingest", tmp_path, "--camera-id", "c", "--modality", "visible")
    assert code == 2
    assert "PECA_API_KEY" in err


def test_an_empty_folder_is_told(peca: Peca, tmp_path: Path) -> None:
    code, _, err = peca("ingest", tmp_path, "--camera-id", "c", "--modality", "visible")
    assert code == 1
    assert "no image under" in err
