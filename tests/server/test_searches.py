"""GET /searches, and the export of a search."""

import hashlib
import io
import json
import threading
import time
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from server_site import Site, about, picture

from index.images import image_path
from server.access import Role
from server.chain import canonical
from server.clean_copy import clean_copy
from server.settings import Settings

AsHolder = Callable[..., Site]


def listed(site: Site, **query: object) -> list[str]:
    answer = site.http.get("/searches", params=query)
    assert answer.status_code == 200, answer.text
    return [item["search_id"] for item in answer.json()["items"]]


def test_an_operator_lists_their_own_and_an_auditor_all(
    site: Site, as_holder: AsHolder, settings: Settings
) -> None:
    site.people(2)
    ada, eve = (as_holder(site, name, Role.OPERATOR) for name in ("Ada", "Eve"))
    olga = as_holder(site, "Olga", Role.AUDITOR)
    made = [
        who.search(picture(1), case=case, limit=1).json()["search_id"]
        for who, case in ((ada, "17"), (eve, "17"), (ada, "18"), (ada, "17"))
    ]
    assert listed(ada) == [made[3], made[2], made[0]]
    assert listed(ada, case="17") == [made[3], made[0]]
    assert listed(eve) == [made[1]]
    assert listed(olga) == listed(site) == made[::-1]
    first = ada.http.get("/searches", params={"limit": 2}).json()
    second = ada.http.get("/searches", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [one["search_id"] for one in second["items"]] == [made[0]]
    assert second["next_cursor"] is None
    newest = first["items"][0]
    assert (newest["key"], newest["case"], newest["reason"], newest["query_modality"]) == (
        "Ada",
        "17",
        None,
        "visible",
    )
    assert (newest["query_images"], newest["results"]) == (1, 1)
    last = json.loads((settings.data_folder / "audit.jsonl").read_text().splitlines()[-1])
    assert (last["action"], last["key"]) == ("read", "Ada")
    assert last["filters"] == {"key": "Ada", "action": "search"}


def test_a_limited_key_lists_what_it_may_know(site: Site, as_holder: AsHolder, settings: Settings) -> None:
    site.ingest({"a": picture(1)}, [about("a", camera_id="cam1")])
    ada = as_holder(site, "Ada", Role.OPERATOR, camera_ids=["cam1"])
    own = ada.search(picture(1)).json()["search_id"]
    assert listed(ada) == [own]
    # Her key was limited further since, so that what she searched then is beyond it now.
    path = settings.data_folder / "keys.json"
    path.write_text(path.read_text().replace('"cam1"', '"cam2"'))
    assert listed(ada) == []


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "cursor=x", "key=Ada", "limit=1&limit=1"])
def test_what_would_be_passed_over_is_refused(site: Site, query: str) -> None:
    assert site.http.get(f"/searches?{query}").json()["type"] == "urn:peca:problem:invalid-request"


def exported(site: Site, search_id: str) -> zipfile.ZipFile:
    answer = site.http.get(f"/searches/{search_id}/export")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="search-{search_id}.zip"'
    return zipfile.ZipFile(io.BytesIO(answer.content))


def test_an_export_holds_what_was_shown_and_found(
    site: Site, as_holder: AsHolder, settings: Settings
) -> None:
    site.people(3, track_id="<b>t</b>")
    ada = as_holder(site, "Ada <i>", Role.OPERATOR)
    searched = ada.search(picture(1), case="17 & 18", reason="<script>alert(1)</script>").json()
    search_id = searched["search_id"]
    for verdict in ("unsure", "confirmed"):
        said = {"image_id": "p1", "verdict": verdict, "note": f"<u>{verdict}</u>"}
        ada.http.post(f"/searches/{search_id}/verdicts", json=said)
    site.http.delete("/images/p2")
    folder = exported(ada, search_id)
    assert folder.testzip() is None
    shown = [item["image_id"] for item in searched["items"]]
    ranks = sorted(shown.index(image_id) + 1 for image_id in ("p0", "p1"))
    pictures = [f"{kind}/{rank:03}.jpg" for kind in ("images", "thumbnails") for rank in ranks]
    assert sorted(folder.namelist()) == sorted(["record.json", "report.html", *pictures])
    told = json.loads(folder.read("record.json"))
    lines = (settings.data_folder / "audit.jsonl").read_bytes().splitlines()
    assert [canonical(one) for one in told["searches"]] == [line for line in lines if b'"results"' in line]
    assert [canonical(one) for one in told["verdicts"]] == [line for line in lines if b'"verdict"' in line]
    assert (told["exported_by"], sorted(told["images"])) == ("Ada <i>", ["p0", "p1"])
    first = told["images"]["p1"]
    assert folder.read(first["file"]) == picture(1)
    assert first["sha256"] == hashlib.sha256(picture(1)).hexdigest()
    with Image.open(io.BytesIO(folder.read(first["thumbnail"]))) as small:
        assert small.format == "JPEG"
    page = folder.read("report.html").decode()
    for shown in (
        search_id,
        "17 &amp; 18",
        "confirmed",
        "removed from the gallery since",
        told["searches"][0]["sha256"],
        "2026-03-01 22:15:00",
    ):
        assert shown in page
    for markup in ("<script", "<u>", "<i>", "<b>"):
        assert markup not in page
    assert f'src="{first["thumbnail"]}"' in page
    last = json.loads(lines[-1])
    assert (last["action"], last["search_id"], last["export"]) == ("read", search_id, "zip")


def test_searches_for_one_person_are_exported_together_with_all_verdicts(
    site: Site, as_holder: AsHolder, settings: Settings
) -> None:
    site.ingest(
        {"a": picture(1), "b": picture(2), "c": picture(3)},
        [
            about("a", image_id="a", captured_at="2026-03-02T01:00:00Z"),
            about("b", image_id="b", captured_at="2026-03-01T23:00:00Z"),
            about("c", image_id="c"),
        ],
    )
    ada = as_holder(site, "Ada", Role.OPERATOR)
    made = [ada.search(picture(1)).json()["search_id"] for _ in range(2)]
    for search_id, image_id, verdict in [
        (made[0], "a", "confirmed"),
        (made[0], "c", "rejected"),
        (made[1], "b", "confirmed"),
        (made[1], "a", "unsure"),
    ]:
        said = {"image_id": image_id, "verdict": verdict}
        assert ada.http.post(f"/searches/{search_id}/verdicts", json=said).status_code == 201
    query = {"also": [made[1], made[0], made[1]]}
    answer = ada.http.get(f"/searches/{made[0]}/export", params=query)
    folder = zipfile.ZipFile(io.BytesIO(answer.content))
    told = json.loads(folder.read("record.json"))
    assert [one["search_id"] for one in told["searches"]] == made
    assert [(one["image_id"], one["verdict"]) for one in told["verdicts"]] == [
        ("a", "confirmed"),
        ("c", "rejected"),
        ("b", "confirmed"),
        ("a", "unsure"),
    ]
    assert sorted(told["images"]) == ["a", "b", "c"]
    assert len({one["file"] for one in told["images"].values()}) == 3
    page = folder.read("report.html").decode()
    way = page.partition("Confirmed: where and when")[2].partition("Search 1")[0]
    # In the order of time; a verdict that another search was given on the same image stands beside.
    assert way.index("2026-03-01 23:00:00") < way.index("2026-03-02 01:00:00")
    assert way.index("confirmed by Ada") < way.index("unsure by Ada")
    assert "rejected" not in way
    second = page[page.index("Search 2") :]
    assert "<td>confirmed</td>" in second
    lines = (settings.data_folder / "audit.jsonl").read_text().splitlines()
    assert [json.loads(line)["search_id"] for line in lines[-2:]] == made
    for also, slug in ((["none"], "search-unknown"), ([made[1]] * 101, "invalid-request")):
        refused = ada.http.get(f"/searches/{made[0]}/export", params={"also": also})
        assert refused.json()["type"] == f"urn:peca:problem:{slug}"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_file_of_an_earlier_version_leaves_without_place_and_owner(
    site: Site, settings: Settings, form: str
) -> None:
    exif = Image.Exif()
    exif[0x013B] = "the owner"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
    buffer = io.BytesIO()
    Image.new("RGB", (40, 80), "teal").save(buffer, form, exif=exif)
    site.people(1)
    image_path(settings.data_folder / "images", "p0").write_bytes(buffer.getvalue())
    folder = exported(site, site.search(picture(0)).json()["search_id"])
    told = json.loads(folder.read("record.json"))["images"]["p0"]
    data = folder.read(told["file"])
    assert told["sha256"] == hashlib.sha256(data).hexdigest()
    assert b"the owner" in buffer.getvalue()
    assert b"the owner" not in data
    with Image.open(io.BytesIO(data)) as picture_out:
        assert not picture_out.getexif().get_ifd(0x8825)
        assert picture_out.size == (40, 80)


def test_who_may_not_know_of_a_search_may_not_export_it(site: Site, as_holder: AsHolder) -> None:
    site.ingest({"a": picture(1)}, [about("a", camera_id="cam1")])
    wide = site.search(picture(1)).json()["search_id"]
    ada = as_holder(site, "Ada", Role.OPERATOR, camera_ids=["cam1"])
    for search_id in (wide, "none"):
        answer = ada.http.get(f"/searches/{search_id}/export")
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:peca:problem:search-unknown")
    olga = as_holder(site, "Olga", Role.AUDITOR)
    assert olga.http.get(f"/searches/{wide}/export").status_code == 403
    own = ada.search(picture(1)).json()["search_id"]
    assert "images/001.jpg" in exported(ada, own).namelist()


def test_an_old_record_without_a_chain_is_exported(start: Callable[..., Site], settings: Settings) -> None:
    old = {
        "at": "2026-01-02T03:04:05+00:00",
        "action": "search",
        "key": "admin",
        "search_id": "old one",
        "case": None,
        "reason": None,
        "query_sha256": "0" * 64,
        "query_modality": "visible",
        "filters": {"modality": "infrared"},
        "limit": 20,
        "score_threshold": None,
        "gallery": "memory:",
        "encoder": "grey-pixels-32x16",
        "results": [{"image_id": "p0", "score": 0.5}],
    }
    settings.data_folder.mkdir()
    (settings.data_folder / "audit.jsonl").write_text(json.dumps(old) + "\n")
    site = start()
    site.people(1)
    answer = site.http.get("/searches/old%20one/export")
    assert answer.headers["content-disposition"] == 'attachment; filename="search-old_one.zip"'
    folder = zipfile.ZipFile(io.BytesIO(answer.content))
    page = folder.read("report.html").decode()
    assert "written before the log had a chain" in page
    assert "<dt>Captured (UTC)</dt><dd>not recorded</dd>" in page
    assert folder.read("images/001.jpg") == picture(0)
    record = site.http.get("/searches/old%20one").json()
    assert (record["results"][0]["camera_id"], record["results"][0]["captured_at"]) == (None, None)
    assert record["queries"] == [
        {"sha256": "0" * 64, "modality": "visible", "detected": False, "confidence": None, "image_id": None}
    ]
    assert site.http.get("/searches").json()["items"][0]["query_images"] == 1


def test_an_export_that_has_begun_is_not_cut_by_the_time_limit(
    start: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = start(request_timeout_s=1)
    site.people(4)
    search_id = site.search(picture(1)).json()["search_id"]

    def slow(data: bytes, *, max_pixels: int) -> bytes:
        time.sleep(0.4)
        return clean_copy(data, max_pixels=max_pixels)

    monkeypatch.setattr("server.services.catalogue.clean_copy", slow)
    began = time.monotonic()
    with site.http.stream("GET", f"/searches/{search_id}/export") as answer:
        assert next(answer.iter_raw()).startswith(b"PK")
        assert time.monotonic() - began < 1.6, "it is sent as it is made"
    folder = exported(site, search_id)
    assert time.monotonic() - began > 1.6
    assert (folder.testzip(), len(folder.namelist())) == (None, 10)


def test_one_key_has_not_all_threads_for_its_exports(
    site: Site, as_holder: AsHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.people(2)
    ada = as_holder(site, "Ada", Role.OPERATOR)
    search_id, own = site.search(picture(1)).json()["search_id"], ada.search(picture(1)).json()["search_id"]
    goes_on = threading.Event()

    def slow(data: bytes, *, max_pixels: int) -> bytes:
        goes_on.wait(30)
        return clean_copy(data, max_pixels=max_pixels)

    monkeypatch.setattr("server.services.catalogue.clean_copy", slow)
    monkeypatch.setattr(site.app.state.parts.export.seats, "most", 3)
    path, seats = f"/searches/{search_id}/export", site.app.state.parts.export.seats
    with ExitStack() as stack:
        for one, other in ((site, path), (site, path), (ada, f"/searches/{own}/export")):
            if one is ada:
                refused = site.http.get(path)
                assert refused.json()["detail"].startswith("2 exports of this key are open")
            assert stack.enter_context(one.http.stream("GET", other)).status_code == 200
        refused = ada.http.get(path)
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:peca:problem:server-busy")
        assert refused.headers["retry-after"] == "5"
        goes_on.set()
    end = time.monotonic() + 20
    while seats.taken and time.monotonic() < end:
        time.sleep(0.02)
    assert exported(site, search_id).testzip() is None
    assert site.http.get("/searches/none/export").status_code == 404
    assert seats.taken == 0


def test_an_export_takes_no_room_on_a_disk(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (2400, 2400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "PNG", compress_level=0)
    site.ingest({"n": buffer.getvalue()}, [about("n", image_id="n")])
    search_id = site.search(picture(1)).json()["search_id"]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    assert exported(site, search_id).read("images/001.png") == buffer.getvalue()


def test_an_export_that_fails_on_its_way_looks_like_no_whole_one(site: Site, settings: Settings) -> None:
    site.people(3)
    answer = site.search(picture(1)).json()
    broken = image_path(settings.data_folder / "images", answer["items"][-1]["image_id"])
    broken.unlink()
    broken.mkdir()
    with pytest.raises(httpx.RemoteProtocolError):
        site.http.get(f"/searches/{answer['search_id']}/export")
    assert site.http.get("/healthz").status_code == 200
