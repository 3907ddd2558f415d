"""POST /search."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from server_site import Site, about, picture

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
    assert found(camera_ids="") == ["a", "b", "c"]
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
    ],
)
def test_a_bad_field_is_an_invalid_request(site: Site, fields: dict[str, object]) -> None:
    answer = site.search(picture(0), **fields)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:peca:problem:invalid-request"


def test_each_search_and_delete_is_audited(start: Callable[..., Site], settings: Settings) -> None:
    site = start()
    site.people(2)
    search_id = site.search(picture(1), case="2026-17", reason="lost child", camera_ids="cam3").json()[
        "search_id"
    ]
    site.http.delete("/images/p1")
    log = settings.data_folder / "audit.jsonl"
    began, searched, deleted = [json.loads(line) for line in log.read_text().splitlines()]
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_what_is_not_audited_is_not_shown(start: Callable[..., Site], settings: Settings) -> None:
    site = start()
    site.people(1)
    with Path("/dev/full").open("wb") as full:
        os.dup2(full.fileno(), site.app.state.parts.review._audit._file)
    answer = site.search(picture(0))
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:storage-unavailable")
    assert "items" not in answer.json()
