"""Times that people type, waits, and the order in which a language is chosen, in a real browser."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import pytest
from web_site import FLAGS, Desk, WebSite, chromium

# A busy machine takes its time; the waits within are the limit.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
Window = Callable[..., AbstractContextManager[Desk]]
# The night between a Tuesday and a Wednesday; Berlin is an hour ahead of UTC.
NOW = datetime(2026, 3, 4, 2, 10, tzinfo=UTC)
TYPED = {
    "": "",
    "22:30": "2026-03-03T21:30:00.000Z",
    "2230": "2026-03-03T21:30:00.000Z",
    "3:05": "2026-03-04T02:05:00.000Z",
    "3:15": "2026-03-03T02:15:00.000Z",
    "２２：３０": None,
    "22：30": "2026-03-03T21:30:00.000Z",
    "2026-03-02 22:30": "2026-03-02T21:30:00.000Z",
    "2026-03-02T22:30:07": "2026-03-02T21:30:07.000Z",
    "2026-03-02": "2026-03-01T23:00:00.000Z",
    "20260302 2230": "2026-03-02T21:30:00.000Z",
    "2026.3.2, 22:30": "2026-03-02T21:30:00.000Z",
    "2026年3月2日 22:30": "2026-03-02T21:30:00.000Z",
    "2026-07-01 22:30": "2026-07-01T20:30:00.000Z",
    "25:00": None,
    "22:60": None,
    "2026-02-30": None,
    "2026-13-01": None,
    "02/03/2026": None,
    "yesterday": None,
    # The hour that is left out in spring.
    "2026-03-29 02:30": None,
}


def test_what_is_typed_as_a_time_is_one_instant_or_none(window: Window) -> None:
    with window() as desk:
        page = desk.page
        page.clock.set_fixed_time(NOW)
        desk.sign_in()
        read = """async ([typed, ahead]) => {
          const { instantIn } = await import("/web/instant.js");
          return typed.map((text) => instantIn(text, ahead));
        }"""
        assert dict(zip(TYPED, page.evaluate(read, [list(TYPED), False]), strict=True)) == TYPED
        ahead = page.evaluate(read, [["22:30", "3:05", "2026-03-02"], True])
        assert ahead == ["2026-03-04T21:30:00.000Z", "2026-03-05T02:05:00.000Z", "2026-03-01T23:00:00.000Z"]


def test_a_search_is_narrowed_by_times_that_are_typed(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        page.clock.set_fixed_time(NOW)
        desk.sign_in()
        desk.search(site.picture())
        page.select_option(".filters select >> nth=0", "own")
        page.wait_for_selector(".instant")
        first, before = page.locator(".instant input[type=text]").all()
        first.fill("2026-03-02 23:00")
        page.wait_for_selector(".field:has(.instant) output:has-text('Mon UTC+1')")
        before.fill("25:00")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("[aria-invalid=true]")
        assert page.locator(".progress").count() == 0
        before.fill("0030")
        # Not left yet: what is typed counts.
        with page.expect_response("**/search") as asked:
            page.keyboard.press("Control+Enter")
        items = asked.value.json()["items"]
        assert items
        begin, end = datetime(2026, 3, 2, 22, tzinfo=UTC), datetime(2026, 3, 3, 23, 30, tzinfo=UTC)
        assert all(begin <= datetime.fromisoformat(one["captured_at"]) < end for one in items)
        before.press("Tab")
        assert before.input_value() == "2026-03-04 00:30"


def test_the_ranges_are_reached_by_keyboard_and_count_back_from_now(window: Window) -> None:
    with window() as desk:
        page = desk.page
        page.clock.set_fixed_time(NOW)
        desk.sign_in()
        read = """async (range) => (await import("/web/when.js")).span({ range, after: "", before: "" })"""
        spans = {range_: page.evaluate(read, range_) for range_ in ("any", "hour", "night", "day")}
        assert spans == {
            "any": {"after": "", "before": ""},
            "hour": {"after": "2026-03-04T01:10:00.000Z", "before": ""},
            "night": {"after": "2026-03-03T17:00:00.000Z", "before": "2026-03-04T07:00:00.000Z"},
            "day": {"after": "2026-03-03T02:10:00.000Z", "before": ""},
        }
        desk.go("galleries")
        page.focus(".sieve .field:has-text('Time') select")
        with page.expect_response("**/images?*after=2026-03-04T01*"):
            page.keyboard.press("ArrowDown")
        page.select_option(".sieve .field:has-text('Time') select", "own")
        page.wait_for_selector(".instant")
        page.keyboard.press("Tab")
        page.keyboard.type("2026-03-03")
        page.keyboard.press("Tab")
        page.wait_for_selector(".instant button:focus")
        assert page.input_value(".instant input >> nth=0") == "2026-03-03 00:00"


def test_nothing_is_deleted_beside_a_time_that_is_none(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        desk.go("galleries")
        page.select_option(".sieve .field:has-text('Time') select", "own")
        page.fill(".instant input >> nth=0", "2026-02-30")
        page.select_option(".sieve select >> nth=0", "cam1")
        page.click("#gallery-delete")
        page.wait_for_timeout(300)
        assert page.locator("dialog").count() == 0
        page.fill(".instant input >> nth=0", "")
        page.click("#gallery-delete")
        page.wait_for_selector("dialog .few")


def test_limits_that_leave_nothing_are_taken_away_at_once(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        page.select_option(".filters select >> nth=0", "hour")
        page.set_input_files("#pick", str(site.picture()))
        page.wait_for_selector(".query")
        page.click("#search-go")
        page.click("#wider")
        page.wait_for_selector(".card")
        assert page.input_value(".filters select >> nth=0") == "any"


def test_a_slow_answer_says_how_long_it_is_waited_for(window: Window, site: WebSite) -> None:
    held: list[Any] = []
    with window() as desk:
        page = desk.page
        page.clock.install()
        desk.sign_in()
        page.route("**/search", lambda route: held.append(route))
        page.set_input_files("#pick", str(site.picture()))
        page.wait_for_selector(".query")
        page.click("#search-go")
        page.wait_for_selector(".progress")
        assert "Still" not in page.inner_text(".progress")
        page.clock.fast_forward(12_000)
        page.wait_for_selector(".progress:has-text('Still waiting, 12 s')")
        held[0].continue_()
        page.wait_for_selector(".card")


def test_a_slow_view_says_that_it_loads(window: Window) -> None:
    held: list[Any] = []
    with window() as desk:
        page = desk.page
        desk.sign_in()
        page.route("**/keys", lambda route: held.append(route))
        page.click('.rail a[data-view="keys"]')
        page.wait_for_selector(".waiting[role=status]:has-text('Loading')")
        held[0].continue_()
        page.wait_for_selector("tbody tr")


@pytest.mark.parametrize(
    ("locale", "kept", "shown"),
    [
        ("zh-CN", None, "zh-CN"),
        ("fr-FR", None, "en-GB"),
        ("zh-TW", "en", "en-GB"),
        ("en-US", "zh", "zh-CN"),
    ],
)
def test_the_language_is_the_kept_one_else_the_browser_s(
    browser: Any, site: WebSite, locale: str, kept: str | None, shown: str
) -> None:
    context = browser.new_context(locale=locale)
    try:
        if kept:
            context.add_init_script(f"localStorage['peca.language'] ??= '{kept}'")
        page = context.new_page()
        page.goto(site.server.url)
        page.wait_for_selector("#key")
        assert page.evaluate("document.documentElement.lang") == shown
    finally:
        context.close()


def test_where_the_browser_lends_no_camera_the_page_says_why(browser: Any, site: WebSite) -> None:
    # Another host by http, as where a site reaches its server by name and without a certificate.
    flags = [*FLAGS, "--host-resolver-rules=MAP peca.test 127.0.0.1"]
    started = browser.browser_type.launch(executable_path=chromium(), args=flags)
    try:
        page = started.new_page()
        page.goto(site.server.url.replace("127.0.0.1", "peca.test"))
        page.fill("#key", site.server.key)
        page.keyboard.press("Enter")
        assert "https" in page.inner_text("#no-photo")
        assert page.locator(".query-sources .icon-photo").count() == 0
    finally:
        started.close()
