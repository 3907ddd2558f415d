"""What the dashboard looks like and how quick it is, on the demonstration's gallery.

Takes minutes, so it runs by its own command:

    PECA_SCREENSHOTS=docs/images pytest -m slow -s tests/clients/test_web_report.py

The pictures of the guide go to ``PECA_SCREENSHOTS``, all others beside the test; the times are printed.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from client_site import start_server
from PIL import Image
from web_site import DESK, SERVE, TABLET, Desk, WebSite, opened

from clients.demo import IDENTITIES, SEED

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1800)]
GUIDE = {
    "web-results-en-1280",
    "web-results-zh-1280",
    "web-results-en-820",
    "web-compare-en-1280",
    "web-galleries-en-1280",
    "web-watch-en-1280",
    "web-quality-en-1280",
    "web-signin-en-1280",
}
_RUNS = 7
_MOST_PAGE_MS, _MOST_RESULT_MS = 300, 2000
# From about a tenth of a second on, a person sees that a page stands still.
_STALL_MS = 100
# Notes when the form stands, when the first result is seen, and the gaps between frames.
CLOCK = """
window.clock = {};
(function look() {
  const picture = document.querySelector(".card img");
  if (!clock.form && document.getElementById("search-go")) clock.form = performance.now();
  if (!clock.result && picture?.complete && picture.naturalWidth) clock.result = performance.now();
  if (!clock.result) requestAnimationFrame(look);
})();
"""
SCROLL = """async () => {
  const place = document.querySelector(".scroller");
  const gaps = [];
  let last = performance.now();
  for (let frame = 0; frame < 120; frame++) {
    place.scrollTop += place.scrollHeight / 120;
    const now = await new Promise(requestAnimationFrame);
    gaps.push(now - last);
    last = now;
  }
  const at_end = place.scrollTop + place.clientHeight >= place.scrollHeight - 2;
  return { at_end, gaps: gaps.sort((a, b) => a - b) };
}"""
SEEN = """() => [...document.images].every((one) => one.complete
  || !one.checkVisibility({ contentVisibilityAuto: true })
  || one.getBoundingClientRect().top > innerHeight)"""
WEIGHT = """() => {
  const files = performance.getEntriesByType("resource").filter((one) => one.name.includes("/web/"));
  const sum = (name) => files.reduce((total, one) => total + one[name], 0);
  return { files: files.length, sent: sum("transferSize"), unpacked: sum("decodedBodySize") };
}"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    """The demonstration's gallery."""
    folder = tmp_path_factory.mktemp("shown")
    server = start_server(folder, SERVE)
    yield WebSite.fill(server, folder / "site", IDENTITIES, SEED)
    server.end()


@pytest.mark.parametrize("cache", ["empty", "kept"])
def test_page_and_first_result_are_measured(browser: Any, shown: WebSite, cache: str) -> None:
    with opened(browser, shown) as desk:
        page = desk.page
        desk.sign_in()
        weight = page.evaluate(WEIGHT)
        page.context.add_init_script(CLOCK)
        network = page.context.new_cdp_session(page)
        cpu_ms = _processor(desk)
        times = []
        for _ in range(_RUNS):
            if cache == "empty":
                network.send("Network.clearBrowserCache")
            page.reload()
            page.wait_for_selector("#search-go")
            desk.search(shown.picture())
            page.wait_for_function("() => clock.result")
            times.append({**page.evaluate("clock"), "cpu": cpu_ms()})
        forms, results, spent = (sorted(one[name] for one in times) for name in ("form", "result", "cpu"))
        told = {
            "form_ms": _span(forms),
            "first_result_ms": _span(results),
            "cpu_ms_of_page_to_result": _span(spent),
            "weight": weight,
        }
        print(json.dumps({"cache": cache, **told}, indent=1))
        assert forms[_RUNS // 2] < _MOST_PAGE_MS
        assert results[_RUNS // 2] < _MOST_RESULT_MS


def _span(ordered: Sequence[float]) -> dict[str, int]:
    """Median and extremes of times."""
    told = {"median": ordered[len(ordered) // 2], "least": ordered[0], "most": ordered[-1]}
    return {name: round(value) for name, value in told.items()}


def test_scrolling_500_results_is_measured(browser: Any, shown: WebSite) -> None:
    for at in range(500 - sum(one.modality == "infrared" for one in shown.uploads)):
        shown.ingest(shown.picture("infrared", at % 192), image_id=f"more-{at}", camera_id="cam5")
    with opened(browser, shown) as desk:
        desk.sign_in()
        desk.page.select_option(".filters select >> nth=2", "500")
        desk.search(shown.picture())
        assert desk.page.locator(".card").count() == 500
        cpu_ms = _processor(desk)
        before = cpu_ms()
        scrolled = desk.page.evaluate(SCROLL)
        cpu = (cpu_ms() - before) / len(scrolled["gaps"])
        assert scrolled["at_end"]
        gaps = scrolled["gaps"]
        told = {"median": gaps[60], "95%": gaps[114], "longest": gaps[-1]}
        print(json.dumps({"frame_gap_ms": told, "cpu_ms_a_frame": cpu}, indent=1))
        assert gaps[-1] < _STALL_MS
    shown.call("DELETE", "/images?camera_ids=cam5&dry_run=false")


def _processor(desk: Desk) -> Callable[[], float]:
    """Tells the processor time of the page's main thread in ms, which a busy machine does not change."""
    tracing = desk.page.context.new_cdp_session(desk.page)
    tracing.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent() -> float:
        told = tracing.send("Performance.getMetrics")["metrics"]
        return 1000 * float(next(one["value"] for one in told if one["name"] == "TaskDuration"))

    return spent


@pytest.mark.parametrize(
    ("language", "size", "theme"),
    [
        ("en", DESK, "dark"),
        ("zh", DESK, "dark"),
        ("en", TABLET, "dark"),
        ("zh", TABLET, "dark"),
        ("en", DESK, "light"),
    ],
)
def test_pictures_of_every_view(
    browser: Any, shown: WebSite, language: str, size: tuple[int, int], theme: str, tmp_path: Path
) -> None:
    with opened(browser, shown, language, size, theme) as desk:
        page = desk.page
        folder = Path(os.environ.get("PECA_SCREENSHOTS", tmp_path))

        def shoot(name: str) -> None:
            full = f"web-{name}-{language}-{size[0]}" + ("" if theme == "dark" else f"-{theme}")
            desk.settle()
            page.wait_for_function(SEEN)
            page.screenshot(path=tmp_path / f"{full}.png", animations="disabled")
            target = folder if full in GUIDE else tmp_path
            Image.open(tmp_path / f"{full}.png").convert("RGB").save(
                target / f"{full}.webp", quality=82, method=6
            )

        page.goto(shown.server.url)
        page.wait_for_selector("#key")
        shoot("signin")
        desk.sign_in()
        shoot("welcome")
        query, verdicts = _telling(shown)
        desk.search(query)
        for key in verdicts:
            with page.expect_response("**/verdicts"):
                page.keyboard.press(key)
        shoot("results")
        page.keyboard.press("Enter")
        shoot("compare")
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        shoot("help")
        page.keyboard.press("Escape")
        _watch(desk, shown, shoot, f"{language}-{size[0]}-{theme}")
        for view in ("cases", "quality", "audit", "keys"):
            desk.go(view)
            shoot(view)
        with _today(shown):
            desk.go("galleries")
            shoot("galleries")


@contextmanager
def _today(shown: WebSite) -> Iterator[None]:
    """Images of the last day at three of the four cameras, most of them of the last hours."""
    now = datetime.now(UTC)
    for at in range(60):
        taken = now - timedelta(minutes=0.4 * at * at + 5)
        camera, modality = (("cam1", "visible"), ("cam2", "visible"), ("cam3", "infrared"))[at % 3]
        shown.ingest(
            shown.picture(modality, at),
            image_id=f"today-{at}",
            camera_id=camera,
            modality=modality,
            captured_at=taken.isoformat(),
        )
    yield
    for at in range(60):
        shown.call("DELETE", f"/images/today-{at}")


def _telling(shown: WebSite) -> tuple[Path, str]:
    """A query with the same person twice among the first four results, and the keys that say so."""
    for upload in (one for one in shown.uploads if one.modality == "visible"):
        picture = Path(str(upload.image))
        form = {"query_modality": "visible", "limit": "4"}
        with picture.open("rb") as file:
            items = shown.call("POST", "/search", files={"image": file}, data=form)["items"]
        verdicts = "".join("c" if item["person_id"] == upload.person_id else "r" for item in items)
        if verdicts.startswith("c") and verdicts.count("c") == 2:
            return picture, verdicts
    raise AssertionError("no query finds its person twice")


def _watch(desk: Desk, shown: WebSite, shoot: Any, name: str) -> None:
    page = desk.page
    desk.go("watch")
    page.click("#watch-new")
    page.wait_for_selector("dialog .chip")
    page.set_input_files("#watch-pick", str(shown.picture()))
    page.fill("dialog input[type=text] >> nth=0", "Missing child" if name.startswith("en") else "走失儿童")
    page.fill("dialog input[type=text] >> nth=1", "2026-17")
    shoot("watch-new")
    threshold = page.query_selector("dialog input[type=range]")
    page.evaluate("e => { e.value = 0.1; e.dispatchEvent(new Event('input')) }", threshold)
    page.click("dialog button[type=submit]")
    page.wait_for_selector(".watchlist")
    for at in range(24):
        shown.ingest(shown.picture("infrared", at), image_id=f"late-{name}-{at}")
    page.wait_for_selector(".hit")
    page.wait_for_selector("#said", state="detached")
    shoot("watch")
    page.click(".watchlist .danger")
    page.click("dialog footer .danger")
    page.wait_for_selector("dialog", state="detached")
    for at in range(24):
        shown.call("DELETE", f"/images/late-{name}-{at}")
