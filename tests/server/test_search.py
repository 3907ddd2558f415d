"""POST /search."""

import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from server_site import Site, about, picture

from server.access import Role
from server.settings import Settings


def test_finds_the_same_person_in_the_other_modality(site: Site) -> None:
    site.people(5, person_id="0042", track_id="t7")
    answer = site.search(picture(3, "PNG"))
    assert answer.status_code == 200
    body = answer.json()
    assert [item["rank"] for item in body["items"]] == [1, 2, 3, 4, 5]
    best = body["items"][0]
    assert best["score"] > 0.95
    assert best == {
        "rank": 1,
        "image_id": "p3",
        "score": best["score"],
        "camera_id": "cam3",
        "captured_at": "2026-03-01T22:15:00Z",
        "modality": "infrared",
        "person_id": "0042",
        "track_id": "t7",
        "group_size": 1,
        "thumbnail_url": "/images/p3/thumbnail",
    }
    assert body["encoder"] == "grey-pixels-32x16"
    assert set(body["timings_ms"]) == {"decode", "encode", "search", "total"}
    assert all(value >= 0 for value in body["timings_ms"].values())
    assert site.http.get(best["thumbnail_url"]).status_code == 200


def test_gallery_modality_defaults_to_the_opposite_and_can_be_named(site: Site) -> None:
    site.people(2)
    site.ingest({"v.jpg": picture(0)}, [about("v.jpg", image_id="v", modality="visible", camera_id="cam1")])
    assert [
        item["image_id"] for item in site.search(picture(0), query_modality="infrared").json()["items"]
    ] == ["v"]
    same = site.search(picture(0), query_modality="infrared", gallery_modality="infrared").json()["items"]
    assert [item["image_id"] for item in same] == ["p0", "p1"]


def test_filters_by_camera_time_score_and_limit(site: Site) -> None:
    said = [
        about("a", image_id="a", camera_id="cam3", captured_at="2026-03-01T10:00:00Z"),
        about("b", image_id="b", camera_id="cam6", captured_at="2026-03-01T11:00:00+00:00"),
        about("c", image_id="c", camera_id="gate 7", captured_at="2026-03-01T13:00:00+01:00"),
    ]
    site.ingest({"a": picture(1), "b": picture(2), "c": picture(3)}, said)

    def found(**fields: object) -> list[str]:
        answer = site.search(picture(1), **fields)
        assert answer.status_code == 200, answer.text
        return sorted(item["image_id"] for item in answer.json()["items"])

    assert found() == ["a", "b", "c"]
    assert found(limit=1) == ["a"]
    assert found(camera_ids="cam3, gate 7") == ["a", "c"]
    assert found(camera_ids=["cam3", "cam6"]) == ["a", "b"]
    assert found(exclude_camera_ids="cam3") == ["b", "c"]
    assert found(after="2026-03-01T11:00:00Z") == ["b", "c"]
    assert found(before="2026-03-01T13:00:00+02:00") == ["a"]
    assert found(score_threshold=0.99) == ["a"]


def test_an_empty_gallery_answers_no_items(site: Site) -> None:
    assert site.search(picture(0)).json()["items"] == []


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 0},
        {"limit": 501},
        {"limit": "many"},
        {"after": "2026-03-01T11:00:00"},
        {"before": "yesterday"},
        {"after": "0001-01-01T00:00:00+14:00"},
        {"score_threshold": 1.5},
        {"score_threshold": "nan"},
        {"reason": "x" * 1001},
        {"group_by": "camera_id"},
        {"rerank": "perhaps"},
        {"exact": "2"},
        {"rerank": ["true", "true"]},
        {"camera_ids": ""},
        {"exclude_camera_ids": " , "},
        {"camera_ids": ["cam3", ""]},
    ],
)
def test_a_bad_field_is_an_invalid_request(site: Site, fields: dict[str, object]) -> None:
    answer = site.search(picture(0), **fields)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:peca:problem:invalid-request"


def test_an_empty_field_counts_as_not_given(site: Site) -> None:
    site.people(3)
    answer = site.search(picture(0), limit="", after="", group_by="", rerank="")
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["items"]) == 3
    assert site.search(picture(0), query_modality="").json()["errors"] == [
        {"at": "body.query_modality.0", "message": "expected 'visible', 'infrared' or 'auto'"}
    ]


def test_an_image_that_is_larger_than_a_form_keeps_in_memory_is_read_whole(
    site: Site, settings: Settings
) -> None:
    site.people(3)
    noise = np.random.default_rng(0).integers(0, 255, (800, 600, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    assert len(file.getvalue()) > 1 << 20
    answer = site.search(file.getvalue())
    assert answer.status_code == 200, answer.text
    last = (settings.data_folder / "audit.jsonl").read_bytes().splitlines()[-1]
    assert json.loads(last)["query_sha256"] == hashlib.sha256(file.getvalue()).hexdigest()


def test_each_search_and_delete_is_audited(start: Callable[..., Site], settings: Settings) -> None:
    site = start()
    site.people(2)
    search_id = site.search(picture(1), case="2026-17", reason="lost child", camera_ids="cam3").json()[
        "search_id"
    ]
    site.http.delete("/images/p1")
    log = settings.data_folder / "audit.jsonl"
    began, _, searched, deleted = [json.loads(line) for line in log.read_text().splitlines()]
    assert (began["action"], began["keys"][0]["name"]) == ("start", "admin")
    assert log.stat().st_mode & 0o777 == 0o600
    assert searched["search_id"] == search_id
    assert (searched["action"], searched["key"], searched["role"]) == ("search", "admin", "admin")
    assert searched["key_id"] == began["keys"][0]["key_id"]
    assert began["ended_at"] < searched["began_at"] < searched["ended_at"] < deleted["began_at"]
    assert (searched["case"], searched["reason"]) == ("2026-17", "lost child")
    assert searched["filters"] == {"modality": "infrared", "camera_ids": ["cam3"]}
    assert [result["image_id"] for result in searched["results"]] == ["p1", "p0"]
    assert len(searched["query_sha256"]) == 64
    assert (deleted["action"], deleted["image_id"]) == ("delete", "p1")


def grey(person: int) -> bytes:
    """The picture of a person without colour."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture(person))).convert("L").save(buffer, "PNG")
    return buffer.getvalue()


def blended(one: int, other: int) -> bytes:
    """A picture half of one person, half of another."""
    images = [Image.open(io.BytesIO(picture(person))) for person in (one, other)]
    buffer = io.BytesIO()
    Image.blend(*images, 0.5).save(buffer, "PNG")
    return buffer.getvalue()


def test_several_images_are_searched_as_one(site: Site, settings: Settings) -> None:
    site.people(5)
    files = [("image", (f"{person}.jpg", picture(person))) for person in (1, 3)]
    answer = site.http.post("/search", files=files, data={"query_modality": "visible", "rerank": "true"})
    body = answer.json()
    assert {item["image_id"] for item in body["items"][:2]} == {"p1", "p3"}
    scores = [site.search(picture(person)).json()["items"] for person in (1, 3)]
    alone = {item["image_id"]: item["score"] for item in scores[0]}
    fused = {item["image_id"]: item["score"] for item in body["items"]}
    assert fused["p1"] < alone["p1"]
    assert fused["p3"] > alone["p3"]
    assert body["query_modalities"] == [{"modality": "visible", "detected": False, "confidence": None}] * 2
    assert (body["gallery_modality"], body["reranked"]) == ("infrared", True)
    recorded = json.loads((settings.data_folder / "audit.jsonl").read_text().splitlines()[2])
    digests = [hashlib.sha256(picture(person)).hexdigest() for person in (1, 3)]
    assert [query["sha256"] for query in recorded["queries"]] == digests
    assert (recorded["query_sha256"], recorded["rerank"], recorded["exact"]) == (digests[0], True, False)
    record = site.http.get(f"/searches/{body['search_id']}").json()
    assert [query["sha256"] for query in record["queries"]] == digests
    assert (record["rerank"], record["group_by"]) == (True, None)
    many = [("image", ("a.jpg", picture(1)))] * 17
    refused = site.http.post("/search", files=many, data={"query_modality": "visible"})
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:peca:problem:invalid-request")
    assert "at most 16" in refused.json()["detail"]


def test_of_several_images_the_refused_one_is_named(site: Site) -> None:
    site.people(2)
    for bad, told in ((b"no image", "image 2 of 2: "), (picture(1)[:300], "image 2 of 2: ")):
        files = [("image", ("a.jpg", picture(1))), ("image", ("b.jpg", bad))]
        refused = site.http.post("/search", files=files, data={"query_modality": "visible"})
        assert refused.status_code in (415, 422)
        assert refused.json()["detail"].startswith(told)
    alone = site.http.post(
        "/search", files={"image": ("b.jpg", b"no image")}, data={"query_modality": "visible"}
    )
    assert not alone.json()["detail"].startswith("image 1")


def test_of_each_image_its_own_light_may_be_said(site: Site) -> None:
    site.people(3)
    files = [("image", (f"{person}.jpg", picture(person))) for person in (0, 1, 2)]

    def asked(*lights: str) -> httpx.Response:
        data = {"query_modality": list(lights), "gallery_modality": "infrared"}
        return site.http.post("/search", files=files, data=data)

    told = asked("infrared", "auto", "visible").json()["query_modalities"]
    assert [(one["modality"], one["detected"]) for one in told] == [
        ("infrared", False),
        ("visible", True),
        ("visible", False),
    ]
    for lights, slug in (
        (("visible", "infrared"), "invalid-request"),
        ((), "invalid-request"),
        (("visible", "night", "auto"), "unknown-modality"),
    ):
        refused = asked(*lights)
        assert (refused.status_code, refused.json()["type"]) == (422, f"urn:peca:problem:{slug}")
    assert "one of each of 3 images" in asked("visible", "infrared").json()["detail"]


def test_the_modality_is_judged_by_content_and_told(site: Site, settings: Settings) -> None:
    site.people(2)
    site.ingest({"v.jpg": picture(0)}, [about("v.jpg", image_id="v", modality="visible", camera_id="cam1")])

    def found(*images: bytes, **fields: object) -> dict[str, Any]:
        files = [("image", ("query", data)) for data in images]
        return site.http.post("/search", files=files, data={"query_modality": "auto", **fields}).json()

    day, night = found(picture(0)), found(grey(0))
    assert [item["image_id"] for item in day["items"]] == ["p0", "p1"]
    assert [item["image_id"] for item in night["items"]] == ["v"]
    for body, modality in ((day, "visible"), (night, "infrared")):
        (told,) = body["query_modalities"]
        assert (told["modality"], told["detected"]) == (modality, True)
        assert 0.5 < told["confidence"] <= 1
    assert (day["gallery_modality"], night["gallery_modality"]) == ("infrared", "visible")
    both = found(picture(0), grey(0))
    assert both["type"] == "urn:peca:problem:invalid-request"
    assert "say which to search: gallery_modality" in both["detail"]
    mixed = found(picture(0), grey(0), gallery_modality="visible")
    assert [one["modality"] for one in mixed["query_modalities"]] == ["visible", "infrared"]
    assert [item["image_id"] for item in mixed["items"]] == ["v"]
    record = site.http.get(f"/searches/{mixed['search_id']}").json()
    assert [one["detected"] for one in record["queries"]] == [True, True]


def test_one_result_a_track_and_how_many_stand_behind_it(site: Site) -> None:
    said = [
        about(f"{person}-{shot}", image_id=f"{person}-{shot}", camera_id=camera, track_id=track)
        for person, camera, track in (
            (1, "cam3", "t1"),
            (2, "cam3", "t2"),
            (3, "cam6", "t1"),
            (4, "cam6", None),
        )
        for shot in range(12)
    ]
    files = {one["filename"]: picture(int(str(one["filename"])[0])) for one in said}
    for start in range(0, len(said), 16):
        part = said[start : start + 16]
        site.ingest({one["filename"]: files[one["filename"]] for one in part}, part)
    plain = site.search(picture(1), limit=3).json()["items"]
    assert [item["image_id"][0] for item in plain] == ["1", "1", "1"]
    items = site.search(picture(1), limit=3, group_by="track_id", camera_ids=["cam3", "cam6"]).json()["items"]
    # Images without a track stand alone, so that those of person 4 come one by one.
    assert items[0]["image_id"].startswith("1-")
    assert items[0]["group_size"] == 12
    tracks = site.search(picture(1), limit=40, group_by="track_id").json()["items"]
    kinds = sorted((item["camera_id"], item["track_id"] or "", item["group_size"]) for item in tracks)
    assert kinds == [("cam3", "t1", 12), ("cam3", "t2", 12), *[("cam6", "", 1)] * 12, ("cam6", "t1", 12)]
    scores = [item["score"] for item in tracks]
    assert scores == sorted(scores, reverse=True)
    assert [item["rank"] for item in tracks] == list(range(1, 16))
    only = site.search(picture(1), group_by="track_id", camera_ids="cam3", score_threshold=0.99).json()[
        "items"
    ]
    assert [(item["track_id"], item["group_size"]) for item in only] == [("t1", 12)]


def test_a_reranked_answer_says_so_and_keeps_cosines(site: Site) -> None:
    for person in range(3):
        files = {f"{person}-{shot}.jpg": blended(person, 40 + shot) for shot in range(6)}
        site.ingest(files, [about(name, image_id=name[:-4]) for name in files])
    plain = site.search(picture(0), limit=18).json()
    again = site.search(picture(0), limit=18, rerank="true").json()
    assert (plain["reranked"], again["reranked"]) == (False, True)
    by_id = {item["image_id"]: item["score"] for item in plain["items"]}
    assert {item["image_id"]: item["score"] for item in again["items"]} == by_id
    assert [item["image_id"][0] for item in again["items"][:6]] == ["0"] * 6
    assert site.search(picture(0), limit=18, exact="true").json()["items"] == plain["items"]


def test_a_stored_image_is_a_query_and_not_its_own_result(
    site: Site, settings: Settings, as_holder: Callable[..., Site]
) -> None:
    site.people(3)
    site.ingest({"v.jpg": picture(1)}, [about("v.jpg", image_id="v", modality="visible", camera_id="cam1")])
    body = site.http.post("/images/v/search", data={"limit": 2, "case": "17"}).json()
    assert body["items"][0]["image_id"] == "p1"
    assert len(body["items"]) == 2
    assert body["query_modalities"] == [{"modality": "visible", "detected": False, "confidence": None}]
    same = site.http.post("/images/p1/search", data={"gallery_modality": "infrared"}).json()
    assert {item["image_id"] for item in same["items"]} == {"p0", "p2"}
    record = site.http.get(f"/searches/{body['search_id']}").json()
    digest = hashlib.sha256(picture(1)).hexdigest()
    assert (record["queries"][0]["image_id"], record["queries"][0]["sha256"]) == ("v", digest)
    assert record["case"] == "17"
    for path, fields, slug in (
        ("/images/none/search", {}, "image-unknown"),
        ("/images/v/search", {"query_modality": "visible"}, "invalid-request"),
        ("/images/v/search", {"limit": "0"}, "invalid-request"),
        ("/images/v/search", {"camera_ids": "cam9"}, "unknown-camera"),
    ):
        assert site.http.post(path, data=fields).json()["type"] == f"urn:peca:problem:{slug}"
    limited = as_holder(site, "Ada", Role.OPERATOR, camera_ids=["cam1"])
    assert limited.http.post("/images/p1/search").json()["type"] == "urn:peca:problem:image-unknown"
    assert limited.http.post("/images/v/search").json()["items"] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_what_is_not_audited_is_not_shown(start: Callable[..., Site], settings: Settings) -> None:
    site = start()
    site.people(1)
    with Path("/dev/full").open("wb") as full:
        os.dup2(full.fileno(), site.app.state.parts.review._audit._file)
    answer = site.search(picture(0))
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:storage-unavailable")
    assert "items" not in answer.json()
