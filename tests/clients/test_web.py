"""The dashboard in a real browser, before a real server with the encoder that ships."""

import io
import json
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from PIL import Image
from web_site import Desk, WebSite

# A busy machine takes its time; the waits within are the limit.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
Window = Callable[..., AbstractContextManager[Desk]]

LOADED = """() => {
  const kinds = ["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind));
  const files = kinds.filter((one) => one.name.includes("/web/") || one.entryType === "navigation");
  return Object.fromEntries(files.map((one) => [one.name, one.decodedBodySize]));
}"""
WORDS = {
    "en": {"title": "Search · PECA", "found": "20 results", "compare": "Side by side", "other": "zh-CN"},
    "zh": {"title": "检索 · PECA", "found": "20 个结果", "compare": "并排对比", "other": "en-GB"},
}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_operator_finds_judges_and_takes_out_a_person(
    window: Window, site: WebSite, language: str, tmp_path: Path
) -> None:
    words = WORDS[language]
    with window(language=language) as desk:
        page = desk.page
        desk.sign_in(site.new_key(f"Ada {language}"))
        assert page.title() == words["title"]
        page.select_option(".filters select >> nth=2", "20")
        desk.search(site.picture(), case=f"case-{language}")
        assert words["found"] in page.inner_text(".told")
        assert page.locator(".card").count() == 20
        page.wait_for_selector(".detected")
        first, second = (page.locator(".card").nth(at).get_attribute("data-image") for at in (0, 1))

        for key in ("c", "r"):
            with page.expect_response("**/verdicts") as given:
                page.keyboard.press(key)
            assert given.value.status == 201
        page.wait_for_selector(f'.card[data-image="{first}"][data-verdict="confirmed"]')
        page.wait_for_selector(f'.card[data-image="{second}"][data-verdict="rejected"]')
        assert len(desk.texts(".stops li")) == 1

        page.keyboard.press("Enter")
        assert page.inner_text("dialog h2") == words["compare"]
        page.keyboard.press("ArrowRight")
        with page.expect_response("**/verdicts"):
            page.keyboard.press("u")
        page.wait_for_selector('.found[data-verdict="unsure"]')
        page.keyboard.press("Escape")
        page.wait_for_selector('.card[data-at="3"]:focus-within')

        with page.expect_download() as taken:
            page.keyboard.press("e")
        taken.value.save_as(tmp_path / "case.zip")
        with zipfile.ZipFile(tmp_path / "case.zip") as case:
            record = json.loads(case.read("record.json"))
            assert "report.html" in case.namelist()
        assert f"case-{language}" in json.dumps(record)
        assert first in json.dumps(record)

        page.click("#language")
        page.wait_for_function(f"() => document.documentElement.lang === '{words['other']}'")
        page.wait_for_selector('.card[data-verdict="confirmed"]')  # the results outlive the language
        assert page.locator('.card[data-verdict="confirmed"]').count() == 1
        page.reload()
        page.wait_for_selector(".rail")
        assert page.evaluate("document.documentElement.lang") == words["other"]


@pytest.mark.parametrize(("language", "other"), [("en", "zh"), ("zh", "en")])
def test_only_what_the_first_view_needs_is_loaded_for_it(
    window: Window, site: WebSite, language: str, other: str
) -> None:
    """Counted unpacked, fonts too; other views and the other language come when they are asked for."""
    with window(language=language) as desk:
        desk.sign_in(site.new_key(f"Light {language}", role="admin"))
        desk.settle()
        files = loaded(desk)
        assert all(files.values())
        assert 100_000 < sum(files.values()) < 150_000
        assert f"lang/{language}.js" in files
        assert f"lang/{other}.js" not in files
        assert [name for name in files if name.startswith("views/")] == ["views/search.js"]
        for view in ("cases", "galleries", "watch", "quality", "audit", "keys"):
            desk.go(view)
            assert f"views/{view}.js" in loaded(desk)
        desk.page.click("#language")
        desk.page.wait_for_function(f"() => document.documentElement.lang.startsWith('{other}')")
        assert f"lang/{other}.js" in loaded(desk)


def loaded(desk: Desk) -> dict[str, int]:
    """The files of the page that were loaded, and how many bytes each is unpacked."""
    told: dict[str, int] = desk.page.evaluate(LOADED)
    return {name.rpartition("/web/")[2]: size for name, size in told.items()}


def test_images_come_in_by_drop_paste_box_and_camera(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        person = site.picture()
        _hand_over(desk, person.read_bytes(), "drop")
        page.wait_for_selector(".query >> nth=0")
        _hand_over(desk, person.read_bytes(), "paste")
        page.wait_for_selector(".query >> nth=1")

        frame = Image.new("RGB", (640, 480))
        with Image.open(person) as picture:
            frame.paste(picture, (200, 100))
        data = io.BytesIO()
        frame.save(data, "PNG")
        page.set_input_files(
            "#pick", {"name": "frame.png", "mimeType": "image/png", "buffer": data.getvalue()}
        )
        area = page.locator(".box-field").bounding_box()
        scale = area["width"] / 640
        page.mouse.move(area["x"] + 200 * scale, area["y"] + 100 * scale)
        page.mouse.down()
        page.mouse.move(area["x"] + 280 * scale, area["y"] + 260 * scale, steps=4)
        page.mouse.up()
        page.keyboard.press("Enter")
        page.wait_for_selector(".query >> nth=2")
        size = "[...document.querySelectorAll('.query img')].at(-1).decode().then(() => { const i = "
        size += (
            "[...document.querySelectorAll('.query img')].at(-1); return [i.naturalWidth, i.naturalHeight] })"
        )
        width, height = page.evaluate(size)
        assert (abs(width - 80), abs(height - 160)) <= (3, 3)

        page.click(".query-sources button >> nth=1")
        page.wait_for_selector("dialog .primary:enabled")
        page.wait_for_function("() => document.querySelector('video').videoWidth > 0")
        page.keyboard.press("Enter")
        page.wait_for_selector(".box-field")
        for key in ("ArrowRight", "Shift+ArrowDown", "Enter"):
            page.keyboard.press(key)
        page.wait_for_selector(".query >> nth=3")

        # The camera's test picture is taken for infrared, so the light to search in must be said.
        page.select_option(".filters select >> nth=1", "infrared")
        with page.expect_response("**/search") as asked:
            page.click("#search-go")
        assert len(asked.value.json()["query_modalities"]) == 4
        page.wait_for_selector(".card")


def _hand_over(desk: Desk, data: bytes, kind: str) -> None:
    """Drop or paste an image file, as the system does."""
    script = """([bytes, kind]) => {
      const given = new DataTransfer();
      given.items.add(new File([new Uint8Array(bytes)], "a.jpg", { type: "image/jpeg" }));
      const target = kind === "drop" ? document.getElementById("view") : document.body;
      const about = { bubbles: true, cancelable: true };
      target.dispatchEvent(kind === "drop" ? new DragEvent("drop", { ...about, dataTransfer: given })
        : new ClipboardEvent("paste", { ...about, clipboardData: given }));
    }"""
    desk.page.evaluate(script, [list(data), kind])


def test_filters_switches_and_the_search_with_what_was_confirmed(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        page.click(".chip:has-text('cam3')")
        page.select_option(".filters select >> nth=0", "own")
        page.fill(".instant input >> nth=0", "2026-03-01T00:00:00")
        desk.search(site.picture())
        assert set(desk.texts(".card .camera > span:last-child")) == {"cam3"}
        alone = page.locator(".card").count()

        with page.expect_response("**/search"):
            page.keyboard.press("g")
        page.wait_for_selector(".group")
        assert page.locator(".card").count() < alone
        with page.expect_response("**/search") as asked:
            page.keyboard.press("k")
        assert asked.value.json()["reranked"] is True

        page.wait_for_selector(".card")
        assert page.locator("#refine").is_disabled()
        with page.expect_response("**/verdicts"):
            page.keyboard.press("c")
        with page.expect_response("**/search") as asked:
            page.keyboard.press("a")
        assert len(asked.value.json()["query_modalities"]) == 2
        assert asked.value.json()["gallery_modality"] == "infrared"
        page.wait_for_selector(".card")
        assert page.locator(".query").count() == 2

        page.keyboard.press("n")
        page.wait_for_selector(".welcome")
        assert page.locator(".query").count() == 0


def test_the_gallery_is_seen_and_deleted_by_filter(window: Window, site: WebSite) -> None:
    for at in range(3):
        site.ingest(site.picture("infrared", at), camera_id="gate-9", image_id=f"gate-{at}")
    with window() as desk:
        page = desk.page
        desk.sign_in()
        desk.go("galleries")
        assert desk.texts(".view-galleries tbody strong") == ["cam1", "cam2", "cam3", "cam4", "gate-9"]
        page.click("#gallery-delete")
        page.wait_for_selector("#said.error")
        page.select_option(".sieve select >> nth=0", "gate-9")
        page.wait_for_function("() => document.querySelectorAll('.wall li').length === 3")
        page.click(".wall button >> nth=0")
        assert "gate-" in page.inner_text("dialog .facts-list")
        page.keyboard.press("Escape")

        page.click("#gallery-delete")
        page.fill("dialog input", "4")
        assert page.locator("dialog .danger").is_disabled()
        page.fill("dialog input", "3")
        page.click("dialog .danger")
        page.wait_for_selector("#said:has-text('3 images deleted')")
        page.wait_for_function("() => document.querySelectorAll('.view-galleries tbody tr').length === 4")
    assert "gate-9" not in {camera["camera_id"] for camera in site.call("GET", "/cameras")["items"]}


def test_a_person_is_listed_with_case_and_reason(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        desk.go("galleries")
        page.fill(".sieve .field:has-text('Case') input", "2026-17")
        page.fill(".sieve .field:has-text('Reason') input", "missing child")
        page.fill(".sieve .field:has-text('Person') input", "nobody")
        with page.expect_response("**/images?*person_ids=nobody*"):
            page.keyboard.press("Tab")
    (read, *_) = site.call("GET", "/audit", params={"action": "read", "case": "2026-17"})["items"]
    told = (read["listed"], read["filters"], read["reason"])
    assert told == ("images", {"person_ids": ["nobody"]}, "missing child")


def test_a_watchlist_tells_of_a_hit_as_it_comes(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        desk.go("watch")
        page.wait_for_selector("#stream.live")
        page.click("#watch-new")
        page.wait_for_selector("dialog .chip")
        page.wait_for_function("() => /0\\.\\d/.test(document.querySelector('dialog small').textContent)")
        page.set_input_files("#watch-pick", str(site.picture()))
        page.fill("dialog input[type=text] >> nth=0", "Missing child")
        page.evaluate(
            "e => { e.value = 0; e.dispatchEvent(new Event('input')) }",
            page.query_selector("dialog input[type=range]"),
        )
        page.click("dialog button[type=submit]")
        page.wait_for_selector(".watchlist")
        desk.go("search")
        same = next(
            one
            for one in site.uploads
            if one.person_id == site.uploads[0].person_id and one.modality == "infrared"
        )
        site.ingest(Path(str(same.image)), image_id="late-1")
        page.wait_for_selector("#unseen:has-text('1')")
        desk.go("watch")
        assert page.locator("#unseen").is_hidden()
        page.wait_for_selector(".hit:has-text('Missing child')")
        page.click(".hit button")
        assert "late-1" in page.inner_text("dialog")
        page.keyboard.press("Escape")
        page.click(".watchlist .danger")
        page.click("dialog footer .danger")
        page.wait_for_selector(".watchlists .notice")
    site.call("DELETE", "/images/late-1")


def test_quality_is_drawn_from_the_labelled_images(window: Window, site: WebSite) -> None:
    with window() as desk:
        desk.sign_in()
        desk.go("quality")
        desk.page.wait_for_selector(".curve.infrared")
        told = site.call("GET", "/quality")["directions"]
        for row, direction in zip(desk.texts(".rates tbody tr"), told, strict=True):
            assert f"{100 * direction['rank1']:.1f}%" in row
            assert f"{100 * direction['mean_inp']:.1f}%" in row
        assert desk.page.locator(".curve").count() == 2
        assert desk.page.locator(".area").count() == 6


def test_keys_are_made_shown_once_and_revoked_and_views_follow_the_role(
    window: Window, site: WebSite, browser: object
) -> None:
    with window() as admin, window() as operator:
        admin.sign_in()
        admin.go("keys")
        admin.page.click("#key-new")
        admin.page.fill("dialog input[type=text]", "Grace")
        admin.page.click("dialog .chip:has-text('cam3')")
        admin.page.click("dialog button[type=submit]")
        key = admin.page.inner_text("#new-key")
        admin.page.keyboard.press("Escape")
        row = admin.page.locator("tr:has-text('Grace')")
        assert "cam3" in row.inner_text()

        operator.sign_in(key)
        assert operator.texts(".rail a[data-view] span") == ["Search", "Cases", "Gallery", "Watch", "Quality"]
        operator.page.wait_for_selector(".chip")
        assert [chip.split()[-1] for chip in operator.texts(".chip")] == ["cam3"]
        operator.search(site.picture())
        operator.go("cases")
        assert operator.texts(".view-cases tbody td:nth-child(2)") == ["Grace"]
        operator.page.click("tbody a.button")
        operator.page.wait_for_selector(".facts-list >> text=missing child")

        row.locator(".danger").click()
        admin.page.click("dialog footer .danger")
        admin.page.wait_for_selector("tr.over:has-text('Grace')")
        operator.page.click('.rail a[data-view="galleries"]')
        operator.page.wait_for_selector(".signin [role=alert]:has-text('session has ended')")
        refused = [said for said in operator.wrong if "401" in said]
        assert refused, "the browser itself logs that the session was refused"
        operator.wrong[:] = [said for said in operator.wrong if said not in refused]


def test_the_audit_log_is_read_by_who_may_and_by_case(window: Window, site: WebSite) -> None:
    key = site.new_key("Audrey", role="auditor")
    with window() as operator:
        operator.sign_in()
        operator.search(site.picture(), case="audit-1", reason="shown in the log")
    with window() as desk:
        desk.sign_in(key)
        assert desk.texts(".rail a[data-view] span") == ["Cases", "Audit"]
        desk.go("audit")
        desk.page.fill(".sieve input >> nth=1", "audit-1")
        desk.page.keyboard.press("Enter")
        desk.page.wait_for_selector("tbody tr:has-text('shown in the log')")
        desk.settle()
        assert len(desk.texts("tbody tr")) == 1
        desk.page.click("tbody summary")
        assert '"query_sha256"' in desk.page.inner_text("tbody pre")
        desk.go("cases")
        desk.page.click("tbody tr:has-text('audit-1') a.button")
        desk.page.wait_for_selector(".card .no-image")
        assert desk.page.locator(".card img").count() == 0, (
            "images are not for auditors, so none is asked for"
        )


def test_a_machine_has_no_views(window: Window, site: WebSite) -> None:
    with window() as desk:
        desk.sign_in(site.new_key("gate camera", role="camera"))
        assert "Camera" in desk.page.inner_text("main")
        assert desk.page.locator(".rail").count() == 0


def test_what_a_server_sends_is_text_and_never_markup(window: Window, site: WebSite) -> None:
    name = "<img src=x onerror=document.title='owned'>"
    site.ingest(
        site.picture("infrared"), camera_id=name, image_id="hostile", track_id="<b>t</b>", source="<i>s"
    )
    try:
        with window() as desk:
            desk.sign_in()
            desk.page.wait_for_selector(f".chip:has-text({json.dumps(name)})")
            desk.search(site.picture())
            desk.page.wait_for_selector(f".card .camera[title={json.dumps(name)}]")
            desk.go("galleries")
            desk.page.select_option(".sieve select >> nth=0", name)
            desk.page.wait_for_function("() => document.querySelectorAll('.wall li').length === 1")
            desk.page.click(".wall button")
            assert "<b>t</b>" in desk.page.inner_text("dialog")
            assert "PECA" in desk.page.title()
    finally:
        site.call("DELETE", "/images/hostile")


def test_errors_are_told_and_the_search_can_be_sent_again(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        desk.sign_in()
        page.set_input_files("#pick", {"name": "a.png", "mimeType": "image/png", "buffer": b"no image"})
        page.wait_for_selector(".query .no-preview")
        page.click("#search-go")
        page.wait_for_selector(".failed:has-text('not an image')")
        page.click("#restart")
        page.set_input_files("#pick", str(site.picture()))
        page.wait_for_selector(".query img")
        page.context.set_offline(True)
        page.click("#search-go")
        page.wait_for_selector(".failed:has-text('cannot be reached')")
        page.wait_for_selector("#connection:has-text('goes on as soon as')")
        page.click(".failed button")
        page.wait_for_selector(".failed:has-text('cannot be reached')")
        page.context.set_offline(False)
        page.wait_for_selector(".card")
        page.wait_for_function("() => document.getElementById('connection').textContent === ''")
        # The browser's own lines on refused and broken requests.
        desk.wrong[:] = [said for said in desk.wrong if not said.startswith("Failed to load resource")]


def test_a_wrong_key_is_told_and_signing_out_ends_the_session(window: Window, site: WebSite) -> None:
    with window() as desk:
        page = desk.page
        page.goto(site.server.url)
        page.fill("#key", "peca_wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector(".error:has-text('not known')")
        desk.wrong.clear()
        desk.sign_in()
        page.click(".rail-end button >> nth=3")
        page.wait_for_selector("#key")
        page.reload()
        page.wait_for_selector("#key")
        assert page.context.cookies() == []


def test_all_keys_of_a_view_are_shown(window: Window) -> None:
    with window() as desk:
        desk.sign_in()
        desk.page.keyboard.press("?")
        shown = desk.texts("dialog dt")
        assert {"C", "U", "R", "G", "K", "T", "A", "E", "?", "1", "Ctrl ↵"} <= set(shown)
        desk.page.keyboard.press("Escape")
        desk.page.keyboard.press("3")
        desk.page.wait_for_selector(".view-galleries")
