"""POST /images and what reads and removes them."""

import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image
from server_site import Site, about, picture

from server.access import Role
from server.settings import Settings


def stored_files(settings: Settings) -> list[Path]:
    return [path for path in (settings.data_folder / "images").rglob("*") if path.is_file()]


def test_stores_a_batch_once(start: Callable[..., Site], settings: Settings) -> None:
    site = start()
    first = site.people(3)
    assert first.status_code == 201
    assert first.json()["counts"] == {"stored": 3, "unchanged": 0, "refused": 0, "conflict": 0}
    assert [item["image_id"] for item in first.json()["items"]] == ["p0", "p1", "p2"]
    again = site.people(3)
    assert again.status_code == 200
    assert [item["status"] for item in again.json()["items"]] == ["unchanged"] * 3
    assert site.http.get("/cameras").json()["items"][0]["count"] == 3
    assert {path.read_bytes() for path in stored_files(settings)} == {picture(n) for n in range(3)}
    assert {path.stat().st_mode & 0o777 for path in stored_files(settings)} == {0o600}


def test_an_image_without_id_gets_one_from_content_camera_and_instant(site: Site) -> None:
    made = site.ingest({"a.jpg": picture(1)}).json()["items"][0]["image_id"]
    renamed = site.ingest({"b.jpg": picture(1)}).json()["items"][0]
    assert (renamed["image_id"], renamed["status"]) == (made, "unchanged")
    elsewhere = site.ingest({"a.jpg": picture(1)}, [about("a.jpg", camera_id="cam6")]).json()["items"][0]
    assert elsewhere["image_id"] != made


def test_one_bad_image_leaves_the_good_ones_stored(site: Site) -> None:
    files = {
        "good.jpg": picture(1),
        "torn.jpg": picture(2)[:300],
        "text.jpg": b"no picture",
        "last.png": picture(3, "PNG"),
    }
    answer = site.ingest(files)
    assert answer.status_code == 201
    items = answer.json()["items"]
    assert [item["status"] for item in items] == ["stored", "refused", "refused", "stored"]
    assert items[1]["problem"]["type"] == "urn:peca:problem:image-truncated"
    assert items[2]["problem"]["type"] == "urn:peca:problem:not-an-image"
    assert items[1]["image_id"] is None
    assert answer.json()["counts"] == {"stored": 2, "unchanged": 0, "refused": 2, "conflict": 0}
    assert len(site.search(picture(1)).json()["items"]) == 2


def test_a_batch_of_refused_files_is_a_problem_with_items(site: Site) -> None:
    answer = site.ingest({"empty.jpg": b"", "text.jpg": b"no picture"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:peca:problem:image-empty"
    assert [item["problem"]["status"] for item in answer.json()["items"]] == [422, 415]


def test_another_picture_or_record_under_a_taken_id_is_a_conflict(site: Site) -> None:
    site.people(1)
    picture_differs = site.ingest({"p0.jpg": picture(9)}, [about("p0.jpg", image_id="p0")])
    record_differs = site.ingest({"p0.jpg": picture(0)}, [about("p0.jpg", image_id="p0", person_id="x")])
    for answer in (picture_differs, record_differs):
        assert answer.status_code == 200
        item = answer.json()["items"][0]
        assert item["status"] == "conflict"
        assert item["problem"]["status"] == 409
    assert site.http.get("/images/p0").json()["person_id"] is None
    assert site.search(picture(0)).json()["items"][0]["score"] > 0.99


def test_an_id_twice_in_a_batch(site: Site) -> None:
    files = {"a.jpg": picture(1), "same.jpg": picture(1), "other.jpg": picture(2)}
    answer = site.ingest(files, [about(name, image_id="x") for name in files])
    assert [item["status"] for item in answer.json()["items"]] == ["stored", "unchanged", "conflict"]


def test_a_repeat_heals_a_missing_file(start: Callable[..., Site], settings: Settings) -> None:
    site = start()
    site.people(1)
    stored_files(settings)[0].unlink()
    missing = site.http.get("/images/p0/thumbnail")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:peca:problem:image-file-missing")
    stranger = site.ingest({"p0.jpg": picture(5)}, [about("p0.jpg", image_id="p0")]).json()["items"][0]
    assert stranger["status"] == "conflict"
    assert stored_files(settings) == []
    assert site.people(1).json()["items"][0]["status"] == "unchanged"
    assert stored_files(settings)[0].read_bytes() == picture(0)


@pytest.mark.parametrize(
    ("names", "named"),
    [
        ({"a.jpg"}, "'b.jpg'"),
        ({"a.jpg", "b.jpg", "c.jpg"}, "'c.jpg'"),
        (set(), "'a.jpg', 'b.jpg'"),
    ],
)
def test_metadata_must_name_exactly_the_files(site: Site, names: set[str], named: str) -> None:
    answer = site.ingest({"a.jpg": picture(1), "b.jpg": picture(2)}, [about(name) for name in sorted(names)])
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:peca:problem:metadata-mismatch")
    assert named in answer.json()["detail"]
    assert site.http.get("/cameras").json()["items"] == []


def test_file_names_must_be_unique(site: Site) -> None:
    answer = site.ingest({"a.jpg": picture(1)}, [about("a.jpg"), about("a.jpg")])
    assert answer.json()["type"] == "urn:peca:problem:metadata-mismatch"
    assert "twice in the metadata: 'a.jpg'" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"captured_at": "2026-03-01T22:15:00"}, "invalid-metadata"),
        ({"camera_id": "a,b"}, "invalid-metadata"),
        ({"camera_id": ""}, "invalid-metadata"),
        ({"image_id": "../../etc/passwd"}, "invalid-metadata"),
        ({"colour": "red"}, "invalid-metadata"),
        ({"person_id": ""}, "invalid-metadata"),
        ({"source": "a\x00b"}, "invalid-metadata"),
        ({"captured_at": "0001-01-01T00:00:00+14:00"}, "invalid-metadata"),
        ({"modality": "thermal"}, "unknown-modality"),
    ],
)
def test_bad_metadata_says_where(site: Site, said: dict[str, object], kind: str) -> None:
    answer = site.ingest({"a.jpg": picture(1)}, [about("a.jpg", **said)])
    assert (answer.status_code, answer.json()["type"]) == (422, f"urn:peca:problem:{kind}")
    assert answer.json()["errors"][0]["at"] == f"body.metadata.0.{next(iter(said))}"


def test_a_name_that_does_not_fit_is_told_in_words(site: Site) -> None:
    answer = site.ingest({"a.jpg": picture(1)}, [about("a.jpg", camera_id="gate 1, left")])
    assert answer.status_code == 422
    assert "1 to 200 characters without commas" in answer.json()["detail"]
    page = site.http.get("/searches", params={"cursor": "x"}).json()
    assert page["errors"][0]["message"] == "expected the next_cursor of the page before"


def test_many_errors_are_told_shortly(site: Site) -> None:
    answer = site.ingest({"a.jpg": picture(1)}, [about("a.jpg", camera_id="") for _ in range(20)])
    assert len(answer.json()["errors"]) == 20
    assert answer.json()["detail"].endswith("; and 15 more")


def test_the_same_batch_at_once_is_stored_once(site: Site) -> None:
    with ThreadPoolExecutor(6) as clients:
        answers = list(clients.map(lambda _: site.people(12), range(6)))
    assert sum(answer.json()["counts"]["stored"] for answer in answers) == 12
    assert sum(answer.json()["counts"]["unchanged"] for answer in answers) == 60


def test_ingest_and_delete_at_once_leave_no_file_without_its_record(
    start: Callable[..., Site], settings: Settings
) -> None:
    site = start()
    with ThreadPoolExecutor(8) as clients:
        adding = [clients.submit(site.people, 4) for _ in range(20)]
        deleting = [clients.submit(site.http.delete, f"/images/p{n % 4}") for n in range(60)]
    assert {done.result().status_code for done in adding} <= {200, 201}
    assert {done.result().status_code for done in deleting} <= {204, 404}
    held = [n for n in range(4) if site.http.get(f"/images/p{n}").status_code == 200]
    assert {path.read_bytes() for path in stored_files(settings)} == {picture(n) for n in held}


def test_drafts_of_a_power_cut_are_removed_at_the_start(
    start: Callable[..., Site], settings: Settings
) -> None:
    left = settings.data_folder / "images" / "drafts" / "half-a-person.draft"
    left.parent.mkdir(parents=True)
    left.write_bytes(picture(1)[:100])
    start()
    assert not left.exists()


def test_metadata_that_is_not_json(site: Site) -> None:
    answer = site.http.post("/images", files={"images": ("a.jpg", picture(1))}, data={"metadata": "[{"})
    assert answer.json()["type"] == "urn:peca:problem:invalid-metadata"


def test_a_batch_has_its_size(start: Callable[..., Site]) -> None:
    answer = start(max_batch_images=2).people(3)
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:peca:problem:batch-too-large")


def test_reads_a_record(site: Site) -> None:
    site.people(1, source="cam3/0001.jpg")
    assert site.http.get("/images/p0").json() == {
        "image_id": "p0",
        "modality": "infrared",
        "camera_id": "cam3",
        "captured_at": "2026-03-01T22:15:00Z",
        "person_id": None,
        "track_id": None,
        "source": "cam3/0001.jpg",
        "thumbnail_url": "/images/p0/thumbnail",
    }


def test_a_thumbnail_is_small_upright_and_says_nothing_else(site: Site) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera maker"
    buffer = io.BytesIO()
    Image.new("RGB", (800, 400), "teal").save(buffer, "JPEG", exif=exif)
    site.ingest({"big.jpg": buffer.getvalue()}, [about("big.jpg", image_id="big")])
    answer = site.http.get("/images/big/thumbnail")
    assert answer.headers["content-type"] == "image/jpeg"
    thumbnail = Image.open(io.BytesIO(answer.content))
    assert thumbnail.size == (128, 256)
    assert not thumbnail.getexif()
    assert b"a camera maker" not in answer.content


@pytest.mark.parametrize(
    ("form", "media_type"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("WEBP", "image/webp"),
        ("BMP", "image/tiff"),  # as which it is stored, compressed
        ("TIFF", "image/tiff"),
    ],
)
def test_the_file_of_an_image_is_whole_clean_and_safe_to_open(
    site: Site, settings: Settings, form: str, media_type: str
) -> None:
    name = "a.b:c@d=e+f"
    exif = Image.Exif()
    exif[0x010F] = "a camera maker"
    buffer = io.BytesIO()
    Image.new("RGB", (40, 300), "teal").save(buffer, form, exif=exif)
    data = picture(0, form, (80, 400))
    assert site.ingest({"a": data}, [about("a", image_id=name)]).status_code == 201
    path = f"/images/{quote(name, safe='')}/file"
    answer = site.http.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert Image.open(io.BytesIO(answer.content)).size == (80, 400)
    kind = media_type.rpartition("/")[2].replace("jpeg", "jpg").replace("tiff", "tif")
    assert answer.headers["content-disposition"] == f'inline; filename="a_b_c_d_e_f.{kind}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    # A version before the cleaning at ingest stored the maker too.
    stored_files(settings)[0].write_bytes(buffer.getvalue())
    assert b"a camera maker" not in site.http.get(path).content
    stored_files(settings)[0].unlink()
    assert site.http.get(path).json()["type"] == "urn:peca:problem:image-file-missing"


def test_delete_removes_record_file_and_hit(start: Callable[..., Site], settings: Settings) -> None:
    site = start()
    site.people(2)
    answer = site.http.delete("/images/p0")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-type" not in answer.headers
    assert [item["image_id"] for item in site.search(picture(0)).json()["items"]] == ["p1"]
    assert len(stored_files(settings)) == 1
    for call in (site.http.delete, site.http.get):
        gone = call("/images/p0")
        assert (gone.status_code, gone.json()["type"]) == (404, "urn:peca:problem:image-unknown")


def test_cameras_are_listed(site: Site) -> None:
    said = [
        about("a", camera_id="cam6", captured_at="2026-03-01T10:00:00Z"),
        about("b", camera_id="cam6", captured_at="2026-03-02T10:00:00Z"),
        about("c", camera_id="cam1", modality="visible"),
    ]
    site.ingest({"a": picture(1), "b": picture(2), "c": picture(3)}, said)
    cameras = site.http.get("/cameras").json()["items"]
    assert [(camera["camera_id"], camera["modality"], camera["count"]) for camera in cameras] == [
        ("cam1", "visible", 1),
        ("cam6", "infrared", 2),
    ]
    assert cameras[1]["first_captured_at"] == "2026-03-01T10:00:00Z"
    assert cameras[1]["last_captured_at"] == "2026-03-02T10:00:00Z"


def test_the_log_has_whose_key_brought_an_image(
    site: Site, as_holder: Callable[..., Site], settings: Settings
) -> None:
    gate = as_holder(site, "gate 1", Role.CAMERA)
    assert gate.people(2).status_code == 201
    assert gate.people(3).status_code == 201
    assert gate.people(3).status_code == 200
    log = [json.loads(line) for line in (settings.data_folder / "audit.jsonl").read_text().splitlines()]
    told = [(one["key"], one["camera_ids"], one["image_ids"]) for one in log if one["action"] == "ingest"]
    assert told == [("gate 1", ["cam3"], ["p0", "p1"]), ("gate 1", ["cam3"], ["p2"])]


def test_no_image_is_taken_that_could_not_be_recorded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", refuse)
        assert site.people(2).status_code == 503
    assert site.http.get("/images").json()["items"] == []
