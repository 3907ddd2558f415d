"""Verdicts, reading searches and reading the audit log, over HTTP and through the SDK."""

import asyncio
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import httpx
import pytest
from server_site import Site, about, picture

from peca_client import AsyncPecaClient, AuthenticationError, InvalidArgument, NotFound, PecaClient, Verdict
from server.access import Role
from server.chain import read_record
from server.settings import Settings

AsHolder = Callable[..., Site]


def records(settings: Settings) -> list[dict[str, object]]:
    lines = (settings.data_folder / "audit.jsonl").read_bytes().splitlines()
    return [read_record(line)[0] for line in lines]


def judge(site: Site, search_id: str, **said: object) -> httpx.Response:
    return site.http.post(f"/searches/{search_id}/verdicts", json=said)


def test_a_later_verdict_of_the_same_holder_supersedes_and_both_stay(
    site: Site, as_holder: AsHolder, settings: Settings
) -> None:
    site.people(2)
    ada, eve = (as_holder(site, name, Role.OPERATOR) for name in ("Ada", "Eve"))
    found = ada.search(picture(1), case="17", reason="lost child").json()
    search_id = found["search_id"]
    answer = judge(ada, search_id, image_id="p1", verdict="unsure", note="from behind")
    assert answer.status_code == 201
    assert {**answer.json(), "at": None} == {
        "image_id": "p1",
        "verdict": "unsure",
        "note": "from behind",
        "key": "Ada",
        "at": None,
        "superseded": False,
    }
    judge(eve, search_id, image_id="p1", verdict="rejected")
    judge(ada, search_id, image_id="p1", verdict="confirmed")
    judge(ada, search_id, image_id="p0", verdict="rejected")
    record = eve.http.get(f"/searches/{search_id}").json()
    assert (record["key"], record["case"], record["reason"]) == ("Ada", "17", "lost child")
    assert [result["image_id"] for result in record["results"]] == ["p1", "p0"]
    assert [result["score"] for result in record["results"]] == [
        round(item["score"], 6) for item in found["items"]
    ]
    first = found["items"][0]
    assert [record["results"][0][name] for name in ("camera_id", "captured_at")] == [
        first["camera_id"],
        first["captured_at"],
    ]
    told = [(one["key"], one["verdict"], one["superseded"]) for one in record["results"][0]["verdicts"]]
    assert told == [("Ada", "unsure", True), ("Eve", "rejected", False), ("Ada", "confirmed", False)]
    assert [one["verdict"] for one in record["results"][1]["verdicts"]] == ["rejected"]
    verdicts = [one for one in records(settings) if one["action"] == "verdict"]
    assert [(one["key"], one["verdict"], one["case"]) for one in verdicts] == [
        ("Ada", "unsure", "17"),
        ("Eve", "rejected", "17"),
        ("Ada", "confirmed", "17"),
        ("Ada", "rejected", "17"),
    ]
    assert records(settings)[-1]["action"] == "read"
    assert (records(settings)[-1]["key"], records(settings)[-1]["search_id"]) == ("Eve", search_id)


def test_a_verdict_that_fits_nothing_is_refused(site: Site, settings: Settings) -> None:
    site.people(1)
    search_id = site.search(picture(0)).json()["search_id"]
    for path_id, said, status, slug in [
        (search_id, {"image_id": "other", "verdict": "confirmed"}, 404, "result-unknown"),
        ("none", {"image_id": "p0", "verdict": "confirmed"}, 404, "search-unknown"),
        (search_id, {"image_id": "p0", "verdict": "maybe"}, 422, "invalid-request"),
        (search_id, {"image_id": "p0"}, 422, "invalid-request"),
        (search_id, {"image_id": "p0", "verdict": "unsure", "notes": "x"}, 422, "invalid-request"),
        (search_id, {"image_id": "p0", "verdict": "unsure", "note": "two\nlines"}, 422, "invalid-request"),
        (search_id, {"image_id": "p0", "verdict": "unsure", "note": "\ud800"}, 422, "invalid-request"),
    ]:
        body = json.dumps(said)
        headers = {"content-type": "application/json"}
        answer = site.http.post(f"/searches/{path_id}/verdicts", content=body, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (status, f"urn:peca:problem:{slug}"), said
    assert site.http.get("/searches/none").json()["type"] == "urn:peca:problem:search-unknown"
    assert "verdict" not in {one["action"] for one in records(settings)}


def test_a_search_is_known_only_within_the_cameras_of_a_key(site: Site, as_holder: AsHolder) -> None:
    said = [about("a", image_id="a", camera_id="cam1"), about("b", image_id="b", camera_id="cam2")]
    site.ingest({"a": picture(1), "b": picture(2)}, said)
    ada, eve = (as_holder(site, name, Role.OPERATOR, camera_ids=["cam1"]) for name in ("Ada", "Eve"))
    own = ada.search(picture(1)).json()["search_id"]
    assert eve.http.get(f"/searches/{own}").json()["filters"]["camera_ids"] == ["cam1"]
    assert judge(eve, own, image_id="a", verdict="confirmed").status_code == 201
    for fields in ({}, {"camera_ids": "cam2"}, {"camera_ids": "cam1", "exclude_camera_ids": "cam2"}):
        wide = site.search(picture(1), **fields).json()["search_id"]
        assert site.http.get(f"/searches/{wide}").status_code == 200
        assert ada.http.get(f"/searches/{wide}").json()["type"] == "urn:peca:problem:search-unknown"
        assert judge(ada, wide, image_id="a", verdict="confirmed").status_code == 404


@pytest.mark.parametrize("fields", [{}, {"case": "17"}, {"reason": "lost"}, {"case": " ", "reason": "lost"}])
def test_a_case_is_asked_where_the_setting_says_so(
    start: Callable[..., Site], settings: Settings, fields: dict[str, str]
) -> None:
    site = start(require_case=True)
    answer = site.search(picture(0), **fields)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:peca:problem:case-missing")
    missing = [name for name in ("case", "reason") if not fields.get(name, "").strip()]
    assert answer.json()["detail"].endswith(f"{' and '.join(missing)} missing")
    assert [one["action"] for one in records(settings)] == ["start"]
    assert site.search(picture(0), case="17", reason="lost").status_code == 200


def test_a_case_of_blanks_is_none(site: Site, settings: Settings) -> None:
    blank = {"case": "  ", "reason": " "}
    search_id = site.search(picture(0), **blank).json()["search_id"]
    site.people(1)
    assert site.http.post("/images/p0/search", data=blank).status_code == 200
    watchlist = site.http.post(
        "/watchlists",
        data={"name": "n", "threshold": "0.5", "query_modality": "visible", **blank},
        files={"image": picture(0)},
    )
    assert [watchlist.json()[name] for name in blank] == [None, None]
    searches = [one for one in records(settings) if one["action"] == "search"]
    assert searches[0]["search_id"] == search_id
    assert [(one["case"], one["reason"]) for one in searches] == [(None, None)] * 2


def test_reading_the_audit_log_is_audited(site: Site, as_holder: AsHolder, settings: Settings) -> None:
    auditor = as_holder(site, "Olga", Role.AUDITOR)
    for case in ("17", "18", "17"):
        site.search(picture(0), case=case)
    first = auditor.http.get("/audit", params={"case": "17", "limit": 1}).json()
    second = auditor.http.get("/audit", params={"case": "17", "cursor": first["next_cursor"]}).json()
    stored = records(settings)
    searches = [one for one in stored if one["action"] == "search" and one["case"] == "17"]
    # The very lines of the log, so that their hashes can be computed from the answer.
    assert [*first["items"], *second["items"]] == searches[::-1]
    assert second["next_cursor"] is None
    assert [(one["key"], one["filters"]) for one in stored[-2:]] == [("Olga", {"case": "17"})] * 2
    assert second["head"] == {"sequence": stored[-1]["sequence"], "sha256": stored[-1]["sha256"]}
    newest = auditor.http.get("/audit", params={"limit": 1, "action": "read", "key": "Olga"}).json()["items"]
    assert newest == [records(settings)[-1]]
    in_future = {"after": "2099-01-01T00:00:00Z"}
    assert auditor.http.get("/audit", params=in_future).json()["items"] == []


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "cursor=x", "cases=17", "after=yesterday", "action=look", "case=17&case=18"],
)
def test_a_query_that_would_be_passed_over_is_refused(site: Site, settings: Settings, query: str) -> None:
    answer = site.http.get(f"/audit?{query}")
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:peca:problem:invalid-request")
    assert [one["action"] for one in records(settings)] == ["start"]


def test_a_record_changed_on_the_disk_is_never_told_as_true(site: Site, settings: Settings) -> None:
    site.people(2)
    good, bad, judged = (
        site.search(picture(1), case=case).json()["search_id"] for case in ("17", "18", "19")
    )
    assert judge(site, judged, image_id="p1", verdict="confirmed").status_code == 201
    before = site.http.get("/audit").json()["items"]
    path = settings.data_folder / "audit.jsonl"
    written = path.read_bytes()
    forged = written.replace(b'"case":"18"', b'"case":"81"').replace(
        b'"image_id":"p1","key', b'"image_id":"p0","key'
    )
    assert sum(a != b for a, b in zip(written, forged, strict=True)) == 3
    path.write_bytes(forged)
    items = site.http.get("/audit").json()["items"][1:]
    assert [set(item) == {"broken", "line"} for item in items] == [
        item.get("case") == "18" or item["action"] == "verdict" for item in before
    ]
    assert [item for item in items if "broken" not in item] == [item for item in before if item in items]
    assert '"case":"81"' in next(item["line"] for item in items if bad in item.get("line", ""))
    searches = site.http.get("/searches").json()
    assert [one["search_id"] for one in searches["items"]] == [judged, good]
    (told,) = searches["broken"]
    start = forged.rindex(b"\n", 0, forged.index(b'"case":"81"')) + 1
    assert told.startswith(f"the record at byte {start} of audit.jsonl: its content does not match")
    with PecaClient(str(site.http.base_url), site.http.headers["X-API-Key"]) as client:
        assert client.searches(case="18").broken == (told,)
        assert client.searches(case="17").broken == ()
    for search_id in (bad, judged):
        for answer in (
            site.http.get(f"/searches/{search_id}"),
            site.http.get(f"/searches/{search_id}/export"),
            site.http.get(f"/searches/{good}/export", params={"also": search_id}),
            judge(site, search_id, image_id="p0", verdict="unsure"),
        ):
            assert (answer.status_code, answer.json()["type"]) == (500, "urn:peca:problem:record-broken")
            assert "changed after it was written; run: peca audit verify" in answer.json()["detail"]
    assert b'"unsure"' not in path.read_bytes()
    assert site.http.get(f"/searches/{good}").json()["case"] == "17"
    assert site.http.get(f"/searches/{good}/export").status_code == 200


def test_lines_of_an_earlier_version_are_read(start: Callable[..., Site], settings: Settings) -> None:
    old = {
        "at": "2026-01-02T03:04:05+00:00",
        "action": "search",
        "key": "admin",
        "search_id": "old",
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
    assert site.http.get("/audit", params={"before": "2026-02-01T00:00:00Z"}).json()["items"] == [old]
    record = site.http.get("/searches/old").json()
    assert (record["began_at"], record["ended_at"]) == (None, "2026-01-02T03:04:05Z")
    assert judge(site, "old", image_id="p0", verdict="rejected").status_code == 201


@pytest.fixture
def client(site: Site) -> Iterator[PecaClient]:
    site.people(2)
    with PecaClient(str(site.http.base_url), site.http.headers["X-API-Key"]) as opened:
        yield opened


def test_the_sdk_judges_and_reads(client: PecaClient, site: Site) -> None:
    result = client.search(picture(1), "visible", case="17", reason="lost")
    given = client.give_verdict(result.search_id, "p1", "confirmed", note="the coat")
    assert (given.verdict, given.key, given.note, given.superseded) == (
        Verdict.CONFIRMED,
        "admin",
        "the coat",
        False,
    )
    record = client.search_record(result.search_id)
    assert (record.case, record.filters, record.results[0].image_id) == ("17", {"modality": "infrared"}, "p1")
    assert record.results[0].verdicts == (given,)
    page = client.audit(case="17", limit=1, before=datetime(2099, 1, 1, tzinfo=UTC))
    assert (page.items[0]["action"], page.head.partition(":")[0].isdecimal()) == ("verdict", True)
    assert client.audit(case="17", cursor=page.next_cursor).items[0]["search_id"] == result.search_id
    with pytest.raises(InvalidArgument, match="verdict must be one of"):
        client.give_verdict(result.search_id, "p1", "perhaps")
    with pytest.raises(InvalidArgument, match="search_id must name a search"):
        client.search_record("")
    with pytest.raises(NotFound):
        client.search_record("none")


def test_the_asynchronous_sdk_does_the_same(client: PecaClient, site: Site, as_holder: AsHolder) -> None:
    operator = as_holder(site, "Ada", Role.OPERATOR).http.headers["X-API-Key"]

    async def use() -> None:
        async with AsyncPecaClient(str(site.http.base_url), operator) as ada:
            result = await ada.search(picture(1), "visible")
            given = await ada.give_verdict(result.search_id, "p1", Verdict.REJECTED)
            assert (await ada.search_record(result.search_id)).results[0].verdicts == (given,)
            with pytest.raises(AuthenticationError):
                await ada.audit()

    asyncio.run(use())
    assert client.audit(key="Ada", action="verdict").items[0]["verdict"] == "rejected"


def test_a_search_says_which_gallery_it_searched(start: Callable[..., Site]) -> None:
    site = start(gallery_name="north hall")
    site.people(1)
    searched = site.search(picture(0)).json()
    items = site.http.get("/audit").json()["items"]
    for action in ("search", "start"):
        (told,) = [one for one in items if one["action"] == action]
        assert (told["gallery_name"], told["encoder"]) == ("north hall", "grey-pixels-32x16")
    folder = site.http.get(f"/searches/{searched['search_id']}/export").content
    with zipfile.ZipFile(io.BytesIO(folder)) as packed:
        assert "north hall" in packed.read("report.html").decode()
