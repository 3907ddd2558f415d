"""Hits of watchlists: the newest of all of them, and what people found of them."""

import json
from collections.abc import Callable

import httpx
import pytest
from server_site import Site, about, picture, sighting, watch

from server.access import Role
from server.settings import Settings

AsHolder = Callable[..., Site]


def judge(site: Site, watchlist_id: str, event_id: object, **given: object) -> httpx.Response:
    body = {"verdict": "confirmed", **given}
    return site.http.post(f"/watchlists/{watchlist_id}/hits/{event_id}/verdicts", json=body)


def listed(site: Site, path: str = "/hits", **query: object) -> list[dict[str, object]]:
    answer = site.http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, object]] = answer.json()["items"]
    return items


def records(settings: Settings, action: str) -> list[dict[str, object]]:
    lines = (settings.data_folder / "audit.jsonl").read_text().splitlines()
    return [record for line in lines if (record := json.loads(line))["action"] == action]


def slug(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def test_a_verdict_on_a_hit_is_recorded_and_the_one_before_it_stays(
    site: Site, as_holder: AsHolder, settings: Settings
) -> None:
    ada = as_holder(site, "Ada", Role.OPERATOR)
    watchlist_id = watch(ada, case="2026-17")
    sighting(site, "a")
    first = judge(ada, watchlist_id, 1, verdict="unsure", note="dark")
    assert first.status_code == 201, first.text
    assert first.json() == {
        "image_id": "a",
        "verdict": "unsure",
        "note": "dark",
        "key": "Ada",
        "at": first.json()["at"],
        "superseded": False,
    }
    assert judge(site, watchlist_id, 1, verdict="rejected").status_code == 201
    assert judge(ada, watchlist_id, 1).status_code == 201
    for path in ("/hits", f"/watchlists/{watchlist_id}/hits"):
        (hit,) = listed(ada, path)
        assert [
            (one["key"], one["verdict"], one["superseded"])
            for one in hit["verdicts"]  # type: ignore[attr-defined]
        ] == [("Ada", "unsure", True), ("admin", "rejected", False), ("Ada", "confirmed", False)]
    told = records(settings, "verdict")
    assert [(one["key"], one["verdict"], one["note"]) for one in told] == [
        ("Ada", "unsure", "dark"),
        ("admin", "rejected", None),
        ("Ada", "confirmed", None),
    ]
    assert {name: told[0][name] for name in ("watchlist_id", "event_id", "image_id", "case")} == {
        "watchlist_id": watchlist_id,
        "event_id": 1,
        "image_id": "a",
        "case": "2026-17",
    }


@pytest.mark.parametrize("given", [{"verdict": "maybe"}, {"note": "a\nb"}, {"image_id": "a"}])
def test_a_verdict_that_is_none_is_refused(site: Site, settings: Settings, given: dict[str, object]) -> None:
    watchlist_id = watch(site)
    sighting(site, "a")
    assert judge(site, watchlist_id, 1, **given).status_code == 422
    assert records(settings, "verdict") == []


def test_verdicts_are_on_hits_that_one_knows(site: Site, as_holder: AsHolder, settings: Settings) -> None:
    for camera_id in ("cam1", "cam2"):
        site.ingest({"x": picture(9)}, [about("x", camera_id=camera_id)])
    watchlist_id, other = watch(as_holder(site, "Ada", Role.OPERATOR)), watch(site)
    eve = as_holder(site, "Eve", Role.OPERATOR)
    sighting(site, "a", "cam1")
    assert slug(judge(eve, watchlist_id, 1)) == (404, "watchlist-unknown")
    numbers = [hit["event_id"] for hit in listed(site, f"/watchlists/{watchlist_id}/hits")]
    assert slug(judge(site, other, numbers[0])) == (404, "hit-unknown")
    assert slug(judge(site, watchlist_id, 99)) == (404, "hit-unknown")
    # Of the same holder, whose key is for one camera now.
    keys = settings.data_folder / "keys.json"
    keys.write_text(json.dumps(narrowed(json.loads(keys.read_text()), "Eve", "cam1")))
    own = watch(eve)
    sighting(site, "b", "cam1")
    (number,) = [hit["event_id"] for hit in listed(eve)]
    keys.write_text(json.dumps(narrowed(json.loads(keys.read_text()), "Eve", "cam2")))
    assert slug(judge(eve, own, number)) == (404, "hit-unknown")
    assert listed(eve) == []
    assert records(settings, "verdict") == []


def narrowed(stored: object, name: str, camera_id: str) -> object:
    """The keys of a file, those of one holder for one camera."""
    keys = stored["keys"] if isinstance(stored, dict) else stored
    for key in keys:  # type: ignore[attr-defined]
        if key["name"] == name:
            key["camera_ids"] = [camera_id]
    return stored


def test_the_newest_hits_are_those_of_all_watchlists_that_one_may_see(
    site: Site, as_holder: AsHolder, settings: Settings
) -> None:
    ada, eve = as_holder(site, "Ada", Role.OPERATOR), as_holder(site, "Eve", Role.OPERATOR)
    lists = {watch(ada), watch(ada)}
    watch(eve)
    for name in ("a", "b"):
        sighting(site, name)
    shown = listed(ada)
    assert [hit["image_id"] for hit in shown] == ["b", "b", "a", "a"]
    assert {hit["watchlist_id"] for hit in shown} == lists
    assert len(listed(eve)) == 2
    assert len(listed(site)) == 6
    assert listed(as_holder(site, "Bo", Role.OPERATOR)) == []
    told = records(settings, "read")
    assert [(one["key"], one["listed"]) for one in told] == [
        (name, "hits") for name in ("Ada", "Eve", "admin", "Bo")
    ]


def test_the_newest_hits_come_in_pages(site: Site) -> None:
    watch(site)
    watch(site)
    for name in "abc":
        sighting(site, name)
    seen, cursor = [], None
    while cursor is not None or not seen:
        page = site.http.get("/hits", params={"limit": 4, **({"cursor": cursor} if cursor else {})}).json()
        seen += [hit["event_id"] for hit in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [6, 5, 4, 3, 2, 1]
    assert slug(site.http.get("/hits?limits=4")) == (422, "invalid-request")


def test_a_list_of_hits_holds_the_newest_verdicts_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.watch_store.MOST_VERDICTS", 2)
    watchlist_id = watch(site)
    sighting(site, "a")
    sighting(site, "b")
    for number in (1, 1, 2, 1):
        judge(site, watchlist_id, number, note=f"of {number}")
    second, first = listed(site)
    assert [one["superseded"] for one in first["verdicts"]] == [True, False]  # type: ignore[attr-defined]
    assert [one["note"] for one in second["verdicts"]] == ["of 2"]  # type: ignore[attr-defined]


def test_verdicts_go_with_their_watchlist(site: Site, settings: Settings) -> None:
    watchlist_id = watch(site)
    sighting(site, "a")
    judge(site, watchlist_id, 1, note="seen at the gate")
    assert b"seen at the gate" in stored_bytes(settings)
    assert site.http.delete(f"/watchlists/{watchlist_id}").status_code == 204
    assert b"seen at the gate" not in stored_bytes(settings)
    assert listed(site) == []


def stored_bytes(settings: Settings) -> bytes:
    return b"".join(path.read_bytes() for path in settings.data_folder.glob("watchlists.sqlite3*"))
