"""The search view where people do what they do: drop twice, change their mind, press keys too fast."""

import hashlib
import io
import itertools
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from web_site import DESK, TABLET, Desk, WebSite

# A busy machine takes its time; the waits within are the limit.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
Window = Callable[..., AbstractContextManager[Desk]]

DROP = """([bytes, selector]) => {
  const given = new DataTransfer();
  given.items.add(new File([new Uint8Array(bytes)], "a.jpg", { type: "image/jpeg" }));
  const about = { bubbles: true, cancelable: true, dataTransfer: given };
  const target = document.querySelector(selector);
  return ["dragover", "drop"].map((kind) => !target.dispatchEvent(new DragEvent(kind, about)));
}"""
# The page's own timeline of sightings at these instants, drawn beside the page: what stands where.
DRAW = """async ([instants, width]) => {
  const { timeline } = await import(location.origin + "/web/search/timeline.js");
  const items = instants.map((captured_at, at) => (
    { image_id: `i${at}`, rank: at + 1, score: 0.2, captured_at, camera_id: `cam${at % 2}` }));
  const place = document.body.appendChild(timeline(items, () => {}));
  place.style.width = `${width}px`;
  await new Promise((done) => new MutationObserver(done).observe(place, { childList: true, subtree: true }));
  const read = (selector, name) =>
    [...place.querySelectorAll(selector)].map((one) => Number(one.getAttribute(name)));
  const texts = [...place.querySelectorAll("text")].map(
    (one) => [one.getBoundingClientRect(), one.textContent]);
  texts.sort(([one], [other]) => one.left - other.left);
  const told = {
    marks: read("circle", "cx").reverse(),
    words: texts.map(([, words]) => words),
    begins: read(".begin", "x"),
    folds: place.querySelectorAll(".fold").length,
    touching: texts.filter(([one], at) => at > 0 && one.left < texts[at - 1][0].right).length,
    scrolls: place.scrollWidth > place.clientWidth,
  };
  place.remove();
  return told;
}"""


def dropped(desk: Desk, picture: Path, selector: str = "#view") -> bool:
    """Drop an image file on an element; whether the browser is kept from opening it."""
    kept: list[bool] = desk.page.evaluate(DROP, [list(picture.read_bytes()), selector])
    return kept == [True, True]


@contextmanager
def held(desk: Desk, pattern: str) -> Iterator[list[Any]]:
    """Requests to an address, as they wait on a slow network until they are let go."""
    waiting: list[Any] = []
    desk.page.route(pattern, lambda route: waiting.append(route))
    yield waiting
    desk.page.unroute(pattern)


def until(desk: Desk, met: Callable[[], bool]) -> None:
    """Wait, while the browser goes on."""
    for _ in range(600):
        if met():
            return
        desk.page.wait_for_timeout(50)
    raise AssertionError("it never came to that")


def test_a_drop_is_one_query_in_this_view_and_the_page_stays_in_every_view(
    window: Window, site: WebSite
) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        for _ in range(3):
            desk.go("galleries")
            desk.go("search")
        assert dropped(desk, site.picture())
        page.wait_for_selector(".query")
        assert dropped(desk, site.picture(at=1), ".rail")
        page.wait_for_selector(".query >> nth=1")
        page.keyboard.press("?")
        assert dropped(desk, site.picture(), "dialog")
        page.keyboard.press("Escape")
        desk.go("galleries")
        assert dropped(desk, site.picture())
        desk.go("search")
        page.wait_for_timeout(300)
        assert page.locator(".query").count() == 2
        assert page.locator(".dropping").count() == 0


def test_what_was_found_for_a_person_never_stands_beside_another(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        desk.search(site.picture())
        with page.expect_response("**/verdicts"):
            page.keyboard.press("c")
        page.wait_for_selector('.card[data-verdict="confirmed"]')
        first = page.get_attribute(".query img", "src")

        # One image more of the person: the results stay, and say that they are of the first alone.
        page.set_input_files("#pick", str(site.picture(at=1)))
        page.wait_for_selector(".stale")
        page.click(".card-open >> nth=0")
        assert page.get_attribute(".asked img", "src") == first
        assert page.locator(".choices button").count() == 0
        page.keyboard.press("Escape")
        page.click(".query >> nth=1 >> button >> nth=1")
        page.wait_for_selector(".stale", state="detached")

        # Another image in its place: nothing of the person before is left, until it is brought back.
        page.click(".query >> nth=0 >> button >> nth=1")
        page.wait_for_selector(".card", state="detached")
        page.set_input_files("#pick", str(site.picture(at=5)))
        page.wait_for_selector("#undo")
        page.click("#search-go")
        page.wait_for_selector(".card")
        assert page.locator('.card:not([data-verdict=""])').count() == 0
        assert page.locator("#refine").is_disabled()


def test_a_search_that_was_put_away_is_brought_back(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        desk.search(site.picture())
        with page.expect_response("**/verdicts"):
            page.keyboard.press("r")
        before = [page.get_attribute(".query img", "src"), *desk.texts(".card")]
        page.keyboard.press("n")
        page.wait_for_selector(".welcome")
        page.keyboard.press("n")
        page.keyboard.press("z")
        page.wait_for_selector('.card[data-verdict="rejected"]')
        assert [page.get_attribute(".query img", "src"), *desk.texts(".card")] == before
        page.click(".query button >> nth=1")
        page.wait_for_selector(".welcome")
        page.click("#undo")
        page.wait_for_selector('.card[data-verdict="rejected"]')
        assert page.evaluate("document.querySelector('.query img').decode().then(() => true)")

        # A search from a result goes to another query, and back to this one under its case, and there again.
        page.keyboard.press("Enter")
        with page.expect_response("**/images/*/search"):
            page.click(".found .more button >> nth=1")
        page.wait_for_selector("#grid")
        page.fill("#search-case", "another")
        followed = desk.texts(".card")
        assert page.locator('.card:not([data-verdict=""])').count() == 0
        page.focus(".card-open >> nth=0")
        page.keyboard.press("z")
        page.wait_for_selector('.card[data-verdict="rejected"]')
        assert desk.texts(".card") == before[1:]
        assert page.input_value("#search-case") == "2026-17"
        page.click("#undo")
        page.wait_for_selector('.card[data-verdict="rejected"]', state="detached")
        assert desk.texts(".card") == followed
        assert page.input_value("#search-case") == "another"


def test_a_search_from_the_gallery_leaves_nothing_of_the_person_before(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        desk.search(site.picture())
        with page.expect_response("**/verdicts"):
            page.keyboard.press("c")
        desk.go("galleries")
        page.click(".wall button >> nth=0")
        page.wait_for_function("() => document.querySelector('.look img').src.endsWith('/file')")
        image = page.inner_text("dialog .facts-list div:last-child dd")
        page.click("dialog footer .primary")
        page.wait_for_selector("#case-kept")
        assert page.locator(".query").count() == 1
        assert page.locator(".card").count() == 0
        light = site.call("GET", f"/images/{image}")["modality"]
        wanted = {"visible": "infrared", "infrared": "visible"}[light]
        assert page.locator(".filters select >> nth=1").input_value() == wanted
        with page.expect_response(f"**/images/{image}/search") as asked:
            page.keyboard.press("Control+Enter")
        assert asked.value.json()["gallery_modality"] == wanted
        page.wait_for_selector(".card")
        assert page.locator('.card:not([data-verdict=""])').count() == 0


def test_an_export_has_every_search_for_the_person_and_all_verdicts(
    window: Window, site: WebSite, tmp_path: Path
) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        desk.search(site.picture(at=2), case="other")
        page.keyboard.press("n")
        desk.search(site.picture(), case="whole")
        with page.expect_response("**/verdicts"):
            page.keyboard.press("c")
        with page.expect_response("**/search"):
            page.keyboard.press("g")
        page.wait_for_selector("#grid")
        with held(desk, "**/verdicts") as verdicts:
            page.keyboard.press("u")
            until(desk, lambda: len(verdicts) == 1)
            # What was said just now is waited for.
            page.keyboard.press("e")
            with page.expect_download() as taken:
                verdicts[0].continue_()
        taken.value.save_as(tmp_path / "case.zip")
        with zipfile.ZipFile(tmp_path / "case.zip") as folder:
            record = json.loads(folder.read("record.json"))
            report = folder.read("report.html").decode()
        assert [one["case"] for one in record["searches"]] == ["whole", "whole"]
        assert [one["group_by"] for one in record["searches"]] == [None, "track_id"]
        assert [one["verdict"] for one in record["verdicts"]] == ["confirmed", "unsure"]
        assert "Confirmed: where and when" in report
        captured = record["searches"][0]["results"][0]["captured_at"]
        assert captured[:19].replace("T", " ") in report

        desk.go("cases")
        page.fill(".sieve input", "whole")
        page.keyboard.press("Enter")
        link = page.wait_for_selector("a.button:has-text('Export these')").get_attribute("href")
        shown = [one["search_id"] for one in record["searches"]]
        assert link == f"/searches/{shown[0]}/export?also={shown[1]}"
        page.click("tbody a.button >> nth=1")
        page.wait_for_selector(".card .clock")
        assert desk.texts(".card .camera")[0] == record["searches"][0]["results"][0]["camera_id"]
        assert "2026" in desk.texts(".card .clock small")[0]


def test_a_search_begun_again_is_waited_for_and_not_what_it_replaced(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        page.set_input_files("#pick", str(site.picture()))
        page.wait_for_selector(".query")
        with held(desk, "**/search") as asked:
            page.keyboard.press("Control+Enter")
            until(desk, lambda: len(asked) == 1)
            page.keyboard.press("Control+Enter")
            until(desk, lambda: len(asked) == 2)
            page.wait_for_timeout(200)
            assert page.locator(".progress").count() == 1
            # Neither a change of the language nor one of the view loses it.
            page.click("#language")
            page.wait_for_function("() => document.documentElement.lang === 'zh-CN'")
            page.wait_for_selector(".progress")
            desk.go("galleries")
            asked[1].continue_()
            page.wait_for_timeout(500)
            desk.go("search")
            page.wait_for_selector(".card")
            # What is ended shows again what stood before, as it was asked for.
            page.keyboard.press("k")
            until(desk, lambda: len(asked) == 3)
            page.keyboard.press("Escape")
            page.wait_for_selector("#toggle-rerank[aria-pressed=false]")
            assert page.locator(".card").count() > 0


def test_verdicts_on_one_image_are_recorded_in_the_order_in_which_they_were_given(
    window: Window, site: WebSite
) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        with page.expect_response("**/search") as searched:
            desk.search(site.picture())
        first = ".card[data-at='0']"
        with held(desk, "**/verdicts") as sent:
            for verdict in ("confirmed", "unsure", "rejected"):
                page.click(f"{first} .verdict.{verdict}")
            for count, verdict in enumerate(("confirmed", "unsure"), start=1):
                until(desk, lambda count=count: len(sent) == count)  # type: ignore[misc]
                page.wait_for_timeout(200)
                assert json.loads(sent[-1].request.post_data)["verdict"] == verdict
                assert len(sent) == count
                sent[-1].continue_()
            until(desk, lambda: len(sent) == 3)
            sent[2].abort()
            # The last one was not recorded: what is shown is what was.
            page.wait_for_selector("#said.error")
            page.wait_for_selector(f'{first}[data-verdict="unsure"]')
        record = site.call("GET", f"/searches/{searched.value.json()['search_id']}")
        told = [(one["verdict"], one["superseded"]) for one in record["results"][0]["verdicts"]]
        assert told == [("confirmed", True), ("unsure", False)]
        desk.wrong[:] = [said for said in desk.wrong if not said.startswith("Failed to load resource")]


def test_the_form_shows_what_will_be_searched(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        light = page.locator(".filters select >> nth=1")
        page.click(".segments span:has-text('Visible')")
        desk.search(site.picture(), case="first case")
        with page.expect_response("**/verdicts"):
            page.keyboard.press("c")
        page.wait_for_selector("#refine:enabled")
        with page.expect_response("**/search") as asked:
            page.keyboard.press("a")
        # What the operator said of the image stands; of the confirmed one the gallery says it.
        assert [(one["modality"], one["detected"]) for one in asked.value.json()["query_modalities"]] == [
            ("visible", False),
            ("infrared", False),
        ]
        assert page.is_checked(".segments input[value=visible]")
        assert light.input_value() == "infrared"
        assert page.inner_text("#narrowed") == "1 set"

        # The image that was confirmed is found again, as itself: it is no measure of the others.
        page.wait_for_selector(".card .own")
        scores = {one["score"] for one in asked.value.json()["items"]}
        second = sorted(scores)[-2]
        assert f"bars full at {second:.2f}" in page.inner_text(".told")
        assert page.locator(".card .own").count() == 1
        page.click("#restart")
        assert light.input_value() == ""
        assert page.inner_text("#narrowed") == ""
        assert page.is_checked(".segments input[value=auto]")
        # The case stays, and asks whether it is the same.
        assert page.input_value("#search-case") == "first case"
        page.click("#case-kept button")
        assert page.input_value("#search-case") == page.input_value("#search-reason") == ""
        assert page.locator("#case-kept").count() == 0
        desk.search(site.picture(), case="second case")
        page.keyboard.press("n")
        page.wait_for_selector("#case-kept")
        page.set_input_files("#pick", str(site.picture()))
        page.click("#search-go")
        page.wait_for_selector(".card")
        assert page.locator("#case-kept").count() == 0


def test_a_box_is_drawn_by_two_clicks_and_given_up_for_the_whole_frame(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        frame = io.BytesIO()
        Image.linear_gradient("L").resize((640, 480)).save(frame, "PNG")
        page.set_input_files(
            "#pick", {"name": "frame.png", "mimeType": "image/png", "buffer": frame.getvalue()}
        )
        area = page.locator(".box-field").bounding_box()
        scale = area["width"] / 640
        for x, y in ((280, 260), (200, 100)):
            page.mouse.click(area["x"] + x * scale, area["y"] + y * scale)
        page.click("dialog .primary")
        assert _size(desk) == pytest.approx((80, 160), abs=3)
        page.click(".query-tools button >> nth=0")
        page.click("dialog footer button >> nth=0")
        page.wait_for_function("() => document.querySelector('.query img').naturalWidth === 640")
        page.click(".query-tools button >> nth=0")
        page.keyboard.press("Escape")
        assert _size(desk) == (640, 480)


def _size(desk: Desk) -> tuple[int, int]:
    page = desk.page
    page.wait_for_selector(".query img")
    width, height = page.evaluate(
        "async () => { const i = document.querySelector('.query img'); await i.decode();"
        " return [i.naturalWidth, i.naturalHeight]; }"
    )
    return width, height


def test_people_judge_and_search_by_the_stored_file_and_not_by_its_thumbnail(
    window: Window, site: WebSite, tmp_path: Path
) -> None:
    with Image.open(site.picture("infrared")) as small:
        small.resize((300, 600)).save(tmp_path / "large.jpg", quality=95)
    site.ingest(tmp_path / "large.jpg", image_id="large", camera_id="far-1")
    try:
        with window() as desk:
            page = desk.page
            desk.sign_in()
            page.click(".chip:has-text('far-1')")
            desk.search(site.picture())
            page.keyboard.press("Enter")
            page.wait_for_function("() => document.querySelector('.found img').naturalHeight === 600")
            with page.expect_response("**/verdicts"):
                page.keyboard.press("c")
            page.keyboard.press("Escape")
            page.wait_for_selector("#refine:enabled")
            with page.expect_response("**/search") as asked:
                page.keyboard.press("a")
            record = site.call("GET", f"/searches/{asked.value.json()['search_id']}")
            stored = (tmp_path / "large.jpg").read_bytes()
            assert record["queries"][1]["sha256"] == hashlib.sha256(stored).hexdigest()
    finally:
        site.call("DELETE", "/images/large")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_timeline_dates_what_it_shows_and_never_folds_time_over(window: Window, language: str) -> None:
    def night(day: int, hour: int = 20) -> str:
        return f"2026-{3 + day // 30:02}-{1 + day % 30:02}T{hour:02}:00:00Z"

    with window(language=language) as desk:
        desk.sign_in()

        def drawn(instants: list[str], width: int = 800) -> dict[str, Any]:
            told: dict[str, Any] = desk.page.evaluate(DRAW, [instants, width])
            # Each mark stands right of what was seen before it, and no two words lie over each other.
            assert told["marks"] == sorted(set(told["marks"]))
            assert told["touching"] == 0
            # A time is that of the date before it, and stands there once.
            dates = [word for word in told["words"] if ":" not in word]
            assert told["words"][0] == dates[0]
            assert len(dates) == len(set(dates))
            starts = [told["words"].index(date) for date in dates] + [len(told["words"])]
            for start, end in itertools.pairwise(starts):
                assert len(told["words"][start:end]) == len(set(told["words"][start:end]))
            return told

        two_days = drawn([night(day, hour) for day in (0, 1) for hour in range(0, 24, 4)])
        assert [":" in word for word in two_days["words"]] == [False, True, False, True]
        week = drawn([night(day, hour) for day in range(7) for hour in range(1, 24, 3)])
        assert len(week["words"]) >= 4
        for nights in (30, 60):
            many = drawn([night(day) for day in range(nights)])
            assert (many["folds"], len(many["begins"])) == (nights - 1, nights)
            assert min(late - early for early, late in itertools.pairwise(many["begins"])) > 90
            assert many["scrolls"]
            assert len(set(many["words"])) == nights
        one = drawn([night(0)])
        assert not one["scrolls"]
        assert one["begins"] == [14]
        years = drawn(["2025-12-31T20:00:00Z", "2026-12-31T20:00:00Z"])
        dates = [word for word in years["words"] if ":" not in word]
        assert ["2025" in dates[0], "2026" in dates[-1]] == [True, True]


def test_all_that_narrows_a_search_is_seen_and_on_a_tablet_makes_room_for_the_results(
    window: Window, site: WebSite
) -> None:
    with window(size=DESK) as desk:
        desk.sign_in()
        desk.search(site.picture())
        slider = desk.page.locator(".filters input[type=range]").bounding_box()
        go = desk.page.locator(".go").bounding_box()
        assert slider["y"] + slider["height"] <= go["y"]
        bars = desk.page.evaluate(
            "() => [...document.querySelectorAll('.gauge-bar')].map((one) => parseFloat(one.style.width))"
        )
        scores = [float(text.replace("−", "-")) for text in desk.texts(".gauge strong")]
        assert bars[0] == max(bars) == 100
        assert bars[5] == pytest.approx(100 * scores[5] / scores[0], abs=4)
        assert f"bars full at {scores[0]:.2f}" in desk.page.inner_text(".told")
    with window(size=TABLET) as desk:
        desk.sign_in()
        assert desk.page.locator("#unfold").is_hidden()
        desk.search(site.picture())
        assert desk.page.locator(".query-form").bounding_box()["height"] < 0.1 * TABLET[1]
        assert "2026" in desk.texts(".card .clock small")[0]
        desk.page.click("#unfold")
        assert desk.page.locator("#search-go").is_visible()
        desk.page.click("#search-go")
        desk.page.wait_for_selector("#unfold:visible")
