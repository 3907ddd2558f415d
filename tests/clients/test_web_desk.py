"""A desk that is used for a whole night: what it must not lose, and what it must say, in a real browser."""

import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from client_site import start_server
from PIL import Image
from web_site import SERVE, Desk, WebSite, opened

# A busy machine takes its time; the waits within are the limit.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
Window = Callable[..., AbstractContextManager[Desk]]


def forgive(desk: Desk) -> None:
    """The browser's own lines on requests that were refused."""
    desk.wrong[:] = [said for said in desk.wrong if not said.startswith("Failed to load resource")]


def revoke(site: WebSite, name: str) -> None:
    """Refuse the key of ``name`` from now on."""
    (key,) = [one for one in site.call("GET", "/keys")["items"] if one["name"] == name]
    site.call("DELETE", f"/keys/{key['key_id']}")


def test_a_watch_whose_session_ended_says_so(window: Window, site: WebSite) -> None:
    with window() as desk:
        desk.sign_in(site.new_key("Nora"))
        desk.go("watch")
        desk.page.wait_for_selector("#stream.live")
        revoke(site, "Nora")
        desk.page.wait_for_selector(".signin [role=alert]:has-text('no hits are shown')")
        assert desk.page.title().startswith("⚠")
        desk.page.click("#language")
        desk.page.wait_for_selector(".signin [role=alert]:has-text('重新登录')")
        forgive(desk)


def test_a_stream_that_was_refused_is_opened_again(window: Window, site: WebSite) -> None:
    refused: list[str] = []

    def refuse(route: Any) -> None:
        refused.append(route.request.url)
        route.fulfill(status=503, body="a proxy is starting")

    with window() as desk:
        desk.page.route("**/events*", refuse)
        desk.sign_in()
        desk.go("watch")
        desk.page.wait_for_selector("#stream.waiting")
        desk.page.wait_for_timeout(1500)
        assert refused
        desk.page.unroute("**/events*")
        desk.page.wait_for_selector("#stream.live")
        forgive(desk)


def test_signing_out_of_a_session_that_has_ended_is_done(window: Window, site: WebSite) -> None:
    with window() as desk:
        desk.sign_in(site.new_key("Oscar"))
        revoke(site, "Oscar")
        desk.page.click(".rail-end .icon-out")
        desk.page.wait_for_selector("#key")
        assert desk.page.locator("dialog").count() == 0
        forgive(desk)


def test_all_records_of_the_log_can_be_read(window: Window, site: WebSite) -> None:
    for _ in range(60):
        site.call("GET", "/audit?limit=1")
    with window() as desk:
        page = desk.page
        desk.sign_in()
        desk.go("audit")
        assert page.locator("tbody tr").count() == 50
        page.click(".more-rows button")
        page.wait_for_function("() => document.querySelectorAll('tbody tr').length > 60")
        numbers = [int(re.sub(r"\D", "", told)) for told in desk.texts("tbody td:first-child")]
        assert numbers == sorted(set(numbers), reverse=True)


def test_a_record_that_was_changed_is_named_so_in_the_log_and_among_the_cases(
    window: Window, site: WebSite
) -> None:
    files = [("image", ("a.jpg", site.picture().read_bytes()))]
    said = {"case": "2026-71", "reason": "theft", "query_modality": "visible"}
    site.call("POST", "/search", files=files, data=said)
    log = site.server.data / "audit.jsonl"
    at = log.read_bytes().index(b'"2026-71"')
    with log.open("r+b") as file, window() as desk:
        desk.sign_in()
        file.seek(at)
        file.write(b'"2026-17"')
        file.flush()
        try:
            for view in ("audit", "cases"):
                desk.go(view)
                row = desk.page.locator("tbody tr", has_text="Broken record: ")
                assert "its content does not match its SHA-256" in row.inner_text()
                assert "2026-17" not in desk.page.locator("tbody").inner_text()
        finally:
            file.seek(at)
            file.write(b'"2026-71"')
            file.flush()
        desk.go("audit")
        desk.page.wait_for_selector("tbody tr:has-text('2026-71')")


def test_a_further_page_of_the_gallery_that_failed_can_be_had_again(window: Window, site: WebSite) -> None:
    for at in range(70):
        site.ingest(site.picture("infrared", at % 6), camera_id="attic", image_id=f"attic-{at}")
    try:
        with window() as desk:
            page = desk.page
            desk.sign_in()
            page.route("**/images?*cursor=*", lambda route: route.abort())
            desk.go("galleries")
            page.select_option(".sieve select >> nth=0", "attic")
            page.locator(".more-rows").last.scroll_into_view_if_needed()
            page.wait_for_selector(".more-rows .failed")
            page.unroute("**/images?*cursor=*")
            page.click(".more-rows .failed button")
            page.wait_for_function("() => document.querySelectorAll('.wall li').length === 70")
            forgive(desk)
    finally:
        site.call("DELETE", "/images?camera_ids=attic&dry_run=false")


def test_a_form_is_not_lost_by_a_click_beside_it(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        desk.go("keys")
        page.click("#key-new")
        page.fill("dialog input[type=text] >> nth=0", "Peter")
        page.mouse.click(5, 5)
        assert page.input_value("dialog input[type=text] >> nth=0") == "Peter"
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="detached")
        page.click(".rail-end .icon-help")
        inside = page.locator("dialog").bounding_box()
        page.mouse.click(inside["x"] + 6, inside["y"] + 6)
        page.mouse.move(inside["x"] + 40, inside["y"] + 40)
        page.mouse.down()
        page.mouse.move(5, 5)
        page.mouse.up()
        assert page.locator("dialog[open]").count() == 1
        page.mouse.click(5, 5)
        page.wait_for_selector("dialog", state="detached")


def test_a_key_for_a_camera_that_sent_nothing_yet_is_limited_and_copied(
    window: Window, site: WebSite
) -> None:
    with window() as desk:
        page = desk.page
        # As over plain http, where scripts have no clipboard.
        page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        desk.sign_in()
        desk.go("keys")
        page.click("#key-new")
        page.fill("dialog input[type=text] >> nth=0", "roof camera")
        page.click("dialog .segments label:has-text('Camera')")
        page.wait_for_selector("dialog .error:has-text('as any camera')")
        page.fill("dialog input[type=text] >> nth=1", "roof-1, roof-2")
        assert page.locator("dialog .error:has-text('as any camera')").count() == 0
        page.click("dialog button[type=submit]")
        key = page.inner_text("#new-key")
        page.click(".secret button")
        page.wait_for_selector(".secret button:has-text('Copied')")
        page.keyboard.press("Escape")
        page.click("#key-new")
        page.focus("dialog input[type=text] >> nth=0")
        page.keyboard.press("Control+v")
        assert page.input_value("dialog input[type=text] >> nth=0") == key
        page.keyboard.press("Escape")

        page.click("tr:has-text('roof camera') button:has-text('Replace')")
        page.fill("dialog input[type=number]", "2")
        page.click("dialog footer .danger")
        page.wait_for_selector("#new-key")
    mine = [one for one in site.call("GET", "/keys")["items"] if one["name"] == "roof camera"]
    assert [one["camera_ids"] for one in mine] == [["roof-1", "roof-2"]] * 2
    assert sorted(one["expires_at"] is None for one in mine) == [False, True]
    assert all(one["revoked_at"] is None for one in mine)


def test_single_keys_can_be_turned_off(window: Window) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        page.keyboard.press("?")
        page.uncheck("#single-keys")
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="detached")
        page.reload()
        page.wait_for_selector("#search-go")
        page.keyboard.press("3")
        page.keyboard.press("?")
        page.wait_for_timeout(300)
        assert page.locator(".view-search").count() == 1
        assert page.locator("dialog").count() == 0
        page.click(".rail-end .icon-help")
        page.check("#single-keys")
        page.keyboard.press("Escape")
        page.keyboard.press("3")
        page.wait_for_selector(".view-galleries")


def test_a_slow_answer_does_not_replace_a_newer_one(window: Window, site: WebSite) -> None:
    held: list[Any] = []
    with window() as desk:
        page = desk.page
        desk.sign_in()
        desk.go("galleries")
        page.route("**/images?*camera_ids=cam1*", lambda route: held.append(route))
        page.select_option(".sieve select >> nth=0", "cam1")
        page.wait_for_timeout(100)
        page.select_option(".sieve select >> nth=0", "cam2")
        page.wait_for_selector(".wall .camera:has-text('cam2')")
        with page.expect_response("**/images?*camera_ids=cam1*"):
            held[0].continue_()
        page.wait_for_timeout(300)
        assert {told.split()[-1] for told in desk.texts(".wall .camera")} == {"cam2"}


def test_a_watchlist_is_made_once_with_the_threshold_that_was_chosen(window: Window, site: WebSite) -> None:
    held: list[Any] = []
    with window() as desk:
        page = desk.page
        desk.sign_in()
        desk.go("watch")
        page.route("**/quality", lambda route: held.append(route))
        page.click("#watch-new")
        page.set_input_files("#watch-pick", str(site.picture()))
        page.fill("dialog input[type=text] >> nth=0", "Quentin")
        page.focus("dialog input[type=range]")
        page.keyboard.press("Home")
        with page.expect_response("**/quality"):
            held[0].continue_()
        page.wait_for_function("() => document.querySelector('dialog small').textContent.includes('1,000')")
        assert page.input_value("dialog input[type=range]") == "0"
        page.evaluate(
            "() => { const go = document.querySelector('dialog [type=submit]'); go.click(); go.click() }"
        )
        page.wait_for_selector(".watchlist:has-text('Quentin')")
        desk.settle()
    made = [one for one in site.call("GET", "/watchlists")["items"] if one["name"] == "Quentin"]
    for one in made:
        site.call("DELETE", f"/watchlists/{one['watchlist_id']}")
    assert [one["threshold"] for one in made] == [0]


def test_hits_that_came_overnight_are_shown(window: Window, site: WebSite) -> None:
    made = site.watch_for_all("Rosa")
    site.ingest(site.picture("infrared"), image_id="overnight")
    try:
        with window() as desk:
            desk.sign_in()
            desk.go("watch")
            desk.page.wait_for_selector(".hit:has-text('Rosa')")
            assert len(desk.texts(".hit")) == 1
            assert desk.page.locator(".hit .gauge-bar").bounding_box()["width"] > 0
    finally:
        site.call("DELETE", f"/watchlists/{made}")
        site.call("DELETE", "/images/overnight")


def test_hits_are_judged_by_one_key(window: Window, site: WebSite) -> None:
    made = site.watch_for_all("Theo")
    for at in range(2):
        site.ingest(site.picture("infrared", at), image_id=f"theo-{at}")
    try:
        with window() as desk:
            page = desk.page
            desk.sign_in()
            desk.go("watch")
            page.keyboard.press("ArrowRight")
            with page.expect_response("**/hits/*/verdicts") as given:
                page.keyboard.press("c")
            assert given.value.status == 201
            page.wait_for_selector('.hit[data-verdict="confirmed"] .stamp svg')
            # On to the next one, which the dialog judges, and judges anew.
            page.keyboard.press("Enter")
            for key, verdict in (("r", "rejected"), ("u", "unsure")):
                with page.expect_response("**/hits/*/verdicts"):
                    page.keyboard.press(key)
                page.wait_for_selector(f'.judged[data-verdict="{verdict}"]')
            assert desk.texts(".judged .said-by li") == ["admin (superseded)", "admin"]
            page.keyboard.press("Escape")
            page.click("#language")
            page.wait_for_selector(".hit[data-verdict]")
            marks = [page.locator(".hit").nth(at).get_attribute("data-verdict") for at in (0, 1)]
            assert marks == ["confirmed", "unsure"]
        items = site.call("GET", f"/watchlists/{made}/hits")["items"]
        told = [[(one["verdict"], one["superseded"]) for one in item["verdicts"]] for item in items]
        assert told == [[("confirmed", False)], [("rejected", True), ("unsure", False)]]
    finally:
        site.call("DELETE", f"/watchlists/{made}")
        for at in range(2):
            site.call("DELETE", f"/images/theo-{at}")


def test_a_verdict_on_a_hit_that_was_not_recorded_is_said(window: Window, site: WebSite) -> None:
    made = site.watch_for_all("Uma")
    site.ingest(site.picture("infrared"), image_id="uma")
    try:
        with window() as desk:
            page = desk.page
            desk.sign_in()
            desk.go("watch")
            page.route("**/verdicts", lambda route: route.abort())
            page.click(".hit .verdict.confirmed")
            page.wait_for_selector("#said.error:has-text('Uma: The verdict was not recorded')")
            assert page.locator('.hit[data-verdict="confirmed"]').count() == 0
            forgive(desk)
    finally:
        site.call("DELETE", f"/watchlists/{made}")
        site.call("DELETE", "/images/uma")


def test_of_a_frame_only_the_person_is_watched_for(window: Window, site: WebSite) -> None:
    data = io.BytesIO()
    frame = Image.new("RGB", (640, 480))
    with Image.open(site.picture()) as picture:
        frame.paste(picture, (200, 100))
    frame.save(data, "PNG")
    with window() as desk:
        page = desk.page
        desk.sign_in()
        desk.go("watch")
        page.click("#watch-new")
        page.fill("dialog input[type=text] >> nth=0", "Vera")
        page.click("dialog button[type=submit]")
        page.wait_for_selector("#said.error")
        page.set_input_files(
            "#watch-pick", {"name": "a.png", "mimeType": "image/png", "buffer": data.getvalue()}
        )
        page.wait_for_selector(".box-field")
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog .query img")
        page.click("dialog button[type=submit]")
        page.wait_for_selector(".watchlist:has-text('Vera')")
        page.wait_for_function("() => document.querySelector('.asked-for').naturalWidth > 0")
        width, height = page.evaluate(
            "() => ['naturalWidth', 'naturalHeight'].map((one) => document.querySelector('.asked-for')[one])"
        )
        assert width < height
    (made,) = [one for one in site.call("GET", "/watchlists")["items"] if one["name"] == "Vera"]
    site.call("DELETE", f"/watchlists/{made['watchlist_id']}")


def test_a_view_that_the_network_kept_back_comes_by_itself(window: Window) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        desk.go("audit")
        desk.go("search")
        page.context.set_offline(True)
        page.click('.rail a[data-view="audit"]')
        page.wait_for_selector(".failed.offline")
        page.context.set_offline(False)
        page.wait_for_selector("tbody tr")
        forgive(desk)


def test_the_log_is_told_in_the_language_of_the_page(window: Window, site: WebSite) -> None:
    with window(language="zh") as desk:
        desk.sign_in(site.new_key("Wu", role="auditor"))
        desk.go("audit")
        told = set(desk.texts("tbody summary"))
        assert {"日志记录", "登录", "新建 · Wu"} <= told
        assert not {"open", "create", "noticed"} & told


def test_a_case_that_nobody_searched_for_is_no_empty_log(window: Window, site: WebSite) -> None:
    with window() as desk:
        desk.sign_in()
        desk.search(site.picture())
        desk.go("cases")
        desk.page.fill(".sieve input", "no such case")
        desk.page.keyboard.press("Enter")
        desk.page.wait_for_selector(".notice:has-text('No search of this case')")


def test_cameras_whose_names_begin_alike_are_told_apart(window: Window, site: WebSite) -> None:
    for at in range(12):
        site.ingest(
            site.picture("infrared", at),
            camera_id=f"Central station north platform {at}",
            image_id=f"platform-{at}",
        )
    try:
        with window() as desk:
            page = desk.page
            desk.sign_in()
            page.fill(".filters input[type=search]", "platform")
            for chip in page.locator(".chip:visible").all():
                chip.click()
            desk.search(site.picture())
            page.wait_for_selector(".lanes")
            for names in (desk.texts(".lanes li"), desk.texts(".card .camera > span:last-child")):
                assert len(set(names)) == len(names) == 12
            # The dates are seen beside the first lane, however many there are.
            place, first = (
                page.locator(one).first.bounding_box() for one in (".timeline", ".timeline .begin")
            )
            assert place["y"] < first["y"] < place["y"] + place["height"]
    finally:
        site.call("DELETE", "/images?after=2026-03-04T00:59:00Z&before=2026-03-04T01:01:00Z&dry_run=false")


def test_an_empty_gallery_asks_for_no_choice(browser: Any, tmp_path: Path) -> None:
    server = start_server(tmp_path, SERVE)
    try:
        with opened(browser, WebSite(server, [])) as desk:
            desk.sign_in()
            desk.go("galleries")
            desk.page.wait_for_selector(".notice:has-text('The gallery is empty')")
            assert desk.page.locator(".sieve:visible, #gallery-delete:visible").count() == 0
    finally:
        server.end()


def test_still_pages_stay_still(window: Window) -> None:
    with window() as desk:
        desk.sign_in()
        desk.page.emulate_media(reduced_motion="reduce")
        moving = desk.page.evaluate(
            """() => {
              const bar = document.createElement("div");
              bar.className = "waiting-answer";
              bar.append(document.createElement("div"));
              bar.firstChild.className = "bar";
              document.body.append(bar);
              const told = getComputedStyle(bar.firstChild).animationName;
              bar.remove();
              return told;
            }"""
        )
        assert moving == "none"


def test_a_view_that_did_not_come_is_asked_for_again(window: Window) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        page.route("**/views/quality.js", lambda route: route.abort())
        page.click('.rail a[data-view="quality"]')
        page.wait_for_selector("#view .failed")
        page.unroute("**/views/quality.js")
        page.click("#view .failed button")
        page.wait_for_selector(".view-quality .chart")
        forgive(desk)


def test_a_camera_that_is_silent_for_longer_than_usual_is_marked(window: Window, site: WebSite) -> None:
    for hours in range(3):
        taken = datetime.now(UTC) - timedelta(hours=hours)
        site.ingest(
            site.picture("infrared", hours),
            camera_id="porch",
            image_id=f"porch-{hours}",
            captured_at=taken.isoformat(),
        )
    try:
        with window() as desk:
            desk.sign_in()
            desk.go("galleries")
            marked = desk.texts("tbody tr:has(.silent) strong")
            assert "porch" not in marked
            assert {"cam1", "cam2", "cam3", "cam4"} <= set(marked)
            assert re.search(r"porch\s+3\s+3\s+3\s", desk.page.inner_text("tr:has-text('porch')"))
            bars = desk.page.locator("tr:has-text('porch') .spark rect")
            assert bars.count() == 24
            assert desk.page.locator("tr:has-text('porch') .spark rect:not(.none)").count() in (3, 4)
            assert desk.page.locator("tr:has-text('cam1') .spark rect:not(.none)").count() == 0
            assert "4 silent" in desk.page.inner_text(".tiles")
    finally:
        site.call("DELETE", "/images?camera_ids=porch&dry_run=false")


def test_that_the_browser_keeps_hits_silent_is_said(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        desk.go("watch")
        assert page.locator("#silence").count() == 0
        page.click("#sound")
        other = page.context.new_page()
        # Looking for something in the page counts as acting in it, so the view must stand before.
        with other.expect_response("**/watchlists"):
            other.goto(f"{site.server.url}/#/watch")
        other.wait_for_selector("#silence")
        other.keyboard.press("Shift")
        other.wait_for_selector("#silence", state="detached")


def test_a_hand_on_the_mouse_keeps_the_session(window: Window) -> None:
    with window() as desk:
        page = desk.page
        page.clock.install()
        desk.sign_in()
        asked: list[str] = []
        page.on("request", lambda request: request.url.endswith("/session") and asked.append(request.method))
        page.mouse.move(300, 300)
        assert asked == []
        page.clock.fast_forward(31_000)
        with page.expect_response("**/session"):
            page.mouse.move(320, 320)
        page.mouse.move(340, 340)
        page.wait_for_timeout(100)
        assert asked == ["GET"]


def test_a_thumbnail_that_did_not_come_is_asked_for_again(window: Window) -> None:
    failed: list[str] = []

    def fail_once(route: Any) -> None:
        if route.request.url in failed:
            route.continue_()
        else:
            failed.append(route.request.url)
            route.abort()

    with window() as desk:
        desk.page.route("**/thumbnail*", fail_once)
        desk.sign_in()
        desk.go("galleries")
        desk.page.wait_for_function(
            "() => [...document.querySelectorAll('.wall img')].slice(0, 4).every((one) => one.naturalWidth)"
        )
        assert failed
        assert desk.page.locator(".wall .no-image").count() == 0
        forgive(desk)
