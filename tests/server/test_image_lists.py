"""GET /images page by page, and DELETE /images by a filter."""

import json
import os
from collections.abc import Callable, Iterator

import pytest
from server_site import Site, about, picture

from index.images import image_path
from server.access import Role
from server.settings import Settings


@pytest.fixture
def twelve(site: Site) -> Site:
    """Images i00 to i11, an hour apart, of cam0 to cam2 in turns, the odd ones visible."""
    said = [
        about(
            f"{n}.jpg",
            image_id=f"i{n:02}",
            camera_id=f"cam{n % 3}",
            modality="visible" if n % 2 else "infrared",
            captured_at=f"2026-03-01T{n:02}:00:00Z",
            person_id=f"p{n % 4}",
            track_id=f"t{n % 6}",
        )
        for n in range(12)
    ]
    assert site.ingest({one["filename"]: picture(n) for n, one in enumerate(said)}, said).status_code == 201
    return site


def pages(site: Site, **query: object) -> Iterator[list[str]]:
    cursor = None
    while True:
        params = {**query, **({} if cursor is None else {"cursor": cursor})}
        answer = site.http.get("/images", params=params)
        assert answer.status_code == 200, answer.text
        yield [item["image_id"] for item in answer.json()["items"]]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return


def names(numbers: list[int]) -> list[str]:
    return [f"i{n:02}" for n in numbers]


def test_pages_are_newest_first_and_end(twelve: Site) -> None:
    assert list(pages(twelve, limit=5)) == [
        names([11, 10, 9, 8, 7]),
        names([6, 5, 4, 3, 2]),
        names([1, 0]),
    ]
    assert list(pages(twelve, limit=12)) == [names(list(range(11, -1, -1)))]
    first = twelve.http.get("/images", params={"limit": 1}).json()["items"][0]
    assert first == twelve.http.get("/images/i11").json()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"modality": "visible", "camera_ids": "cam1"}, [7, 1]),
        ({"camera_ids": ["cam0", "cam1"], "exclude_camera_ids": "cam1"}, [9, 6, 3, 0]),
        ({"camera_ids": "cam0,cam1", "after": "2026-03-01T09:00:00Z"}, [10, 9]),
        ({"before": "2026-03-01T03:00:00+01:00"}, [1, 0]),
        ({"person_ids": "p3", "track_ids": ["t5", "t3"]}, [11, 3]),
        ({"track_ids": "nothing"}, []),
    ],
)
def test_filters(twelve: Site, query: dict[str, object], expected: list[int]) -> None:
    assert list(pages(twelve, **query)) == [names(expected)]


def test_pages_are_stable_while_images_come_and_go(twelve: Site) -> None:
    walk = pages(twelve, limit=4)
    assert next(walk) == names([11, 10, 9, 8])
    for gone in ("i09", "i08", "i06"):
        assert twelve.http.delete(f"/images/{gone}").status_code == 204
    said = [
        about("new.jpg", image_id="new", captured_at="2026-03-02T00:00:00Z"),
        about("twin.jpg", image_id="i07b", captured_at="2026-03-01T05:00:00Z"),
    ]
    twelve.ingest({"new.jpg": picture(50), "twin.jpg": picture(51)}, said)
    assert list(walk) == [["i07", "i07b", "i05", "i04"], names([3, 2, 1, 0])]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "cursor=x",
        "cursor=MjAyNi0wMy0wMQ",
        "cursor=bm90aGluZyBpMDE",
        "colour=red",
        "after=yesterday",
        "limit=1&limit=2",
        "camera_ids=",
        "exclude_camera_ids=,",
        "person_ids=a,,b",
        "track_ids=t&track_ids=",
    ],
)
def test_what_would_be_passed_over_is_refused(twelve: Site, query: str) -> None:
    answer = twelve.http.get(f"/images?{query}")
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:peca:problem:invalid-request")


def test_an_empty_name_is_not_taken_for_all(twelve: Site) -> None:
    answer = twelve.http.get("/images?camera_ids=")
    assert answer.json()["detail"] == (
        "camera_ids: expected a name, got an empty one; leave camera_ids out to mean all"
    )
    assert len(twelve.http.get("/images").json()["items"]) == 12


def test_a_camera_never_seen_is_said(twelve: Site) -> None:
    for call in (twelve.http.get, twelve.http.delete):
        answer = call("/images", params={"camera_ids": "cam9"})
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:peca:problem:unknown-camera")


def test_a_limited_key_lists_its_cameras(twelve: Site, as_holder: Callable[..., Site]) -> None:
    limited = as_holder(twelve, "Ada", Role.OPERATOR, camera_ids=["cam1"])
    assert list(pages(limited, limit=3)) == [names([10, 7, 4]), names([1])]
    assert list(pages(limited, camera_ids="cam1", limit=9)) == [names([10, 7, 4, 1])]
    other = limited.http.get("/images", params={"camera_ids": "cam0"})
    assert other.json()["type"] == "urn:peca:problem:unknown-camera"
    # A cursor is a place in the order, and opens nothing.
    theirs = twelve.http.get("/images", params={"limit": 2}).json()["next_cursor"]
    (left,) = pages(limited, cursor=theirs, limit=9)
    assert left == names([7, 4, 1])


def test_a_removal_is_tried_first_and_then_recorded(twelve: Site, settings: Settings) -> None:
    def remove(**query: object) -> dict[str, object]:
        answer = twelve.http.delete("/images", params={"camera_ids": "cam1", **query})
        assert answer.status_code == 200, answer.text
        return answer.json()

    tried = remove()
    assert (tried["count"], tried["dry_run"]) == (4, True)
    assert [(one["camera_id"], one["modality"], one["count"]) for one in tried["cameras"]] == [
        ("cam1", "infrared", 2),
        ("cam1", "visible", 2),
    ]
    assert remove(dry_run="true") == tried
    assert next(pages(twelve)) == names(list(range(11, -1, -1)))
    done = remove(dry_run="false")
    assert done == {**tried, "dry_run": False}
    left = [n for n in range(11, -1, -1) if n % 3 != 1]
    assert next(pages(twelve)) == names(left)
    assert len([path for path in (settings.data_folder / "images").rglob("*") if path.is_file()]) == 8
    assert all(item["image_id"] != "i04" for item in twelve.search(picture(4)).json()["items"])
    log = [json.loads(line) for line in (settings.data_folder / "audit.jsonl").read_text().splitlines()]
    (record,) = [one for one in log if one["action"] == "delete"]
    assert record["image_ids"] == names([10, 7, 4, 1])
    assert record["filters"] == {"camera_ids": ["cam1"]}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "dry_run=false",
        "dry_run=false&camera_ids=",
        "dry_run=false&camera_ids=&before=2099-01-01T00:00:00Z",
        "dry_run=false&person_ids=,&modality=visible",
        "dry_run=maybe&modality=visible",
    ],
)
def test_a_removal_needs_a_filter(twelve: Site, query: str) -> None:
    answer = twelve.http.delete(f"/images?{query}")
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:peca:problem:invalid-request")
    assert len(next(pages(twelve))) == 12


def test_a_long_removal_is_recorded_in_parts(
    twelve: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.services.removal._CHUNK", 5)
    monkeypatch.setattr("server.services.catalogue._PAGE", 2)
    query = {"before": "2099-01-01T00:00:00Z", "dry_run": "false"}
    assert twelve.http.delete("/images", params=query).json()["count"] == 12
    log = [json.loads(line) for line in (settings.data_folder / "audit.jsonl").read_text().splitlines()]
    removed = [one["image_ids"] for one in log if one["action"] == "delete"]
    assert [len(part) for part in removed] == [5, 5, 2]
    assert sorted(image_id for part in removed for image_id in part) == names(list(range(12)))
    assert twelve.http.get("/cameras").json()["items"] == []


@pytest.mark.parametrize("query", ["/images/i04", "/images?camera_ids=cam1&dry_run=false"])
def test_nothing_is_removed_that_could_not_be_recorded(
    twelve: Site, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", refuse)
        answer = twelve.http.delete(query)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:storage-unavailable")
    assert len(next(pages(twelve))) == 12
    assert twelve.http.get("/images/i04/thumbnail").status_code == 200


@pytest.mark.parametrize("query", ["/images/i04", "/images?camera_ids=cam1&dry_run=false"])
def test_a_removal_that_failed_is_recorded_as_such(twelve: Site, settings: Settings, query: str) -> None:
    file = image_path(settings.data_folder / "images", "i04")
    file.unlink()
    file.mkdir()  # which no unlinking removes
    assert twelve.http.delete(query).status_code == 503
    log = [json.loads(line) for line in (settings.data_folder / "audit.jsonl").read_text().splitlines()]
    told = [
        ("i04" in one.get("image_ids", [one.get("image_id")]), one.get("failed"))
        for one in log
        if one["action"] == "delete"
    ]
    assert told == [(True, None), (True, "StorageUnavailable")]


def reads(settings: Settings) -> list[dict[str, object]]:
    log = [json.loads(line) for line in (settings.data_folder / "audit.jsonl").read_text().splitlines()]
    return [one for one in log if one["action"] == "read"]


def test_a_list_of_a_person_is_recorded_as_a_search_is(twelve: Site, settings: Settings) -> None:
    next(pages(twelve, camera_ids="cam1", limit=2))
    assert reads(settings) == []
    next(pages(twelve, person_ids="p1", case="2026-17", reason="missing child"))
    next(pages(twelve, track_ids="t2,t3"))
    told = [(one["listed"], one["filters"], one["case"], one["reason"]) for one in reads(settings)]
    assert told == [
        ("images", {"person_ids": ["p1"]}, "2026-17", "missing child"),
        ("images", {"track_ids": ["t2", "t3"]}, None, None),
    ]


def test_a_list_of_a_person_needs_a_case_where_a_search_does(
    start: Callable[..., Site], settings: Settings
) -> None:
    site = start(require_case=True)
    site.people(2, person_id="p1", track_id="t1")
    for query in ("person_ids=p1", "track_ids=t1&case=2026-17", "person_ids=p1&case=+&reason=missing"):
        answer = site.http.get(f"/images?{query}")
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:peca:problem:case-missing"), query
    assert reads(settings) == []
    assert site.http.get("/images?camera_ids=cam3").status_code == 200
    assert site.http.get("/images?person_ids=p1&case=2026-17&reason=missing").status_code == 200
