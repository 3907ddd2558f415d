"""The dashboard for everybody: axe finds nothing serious in any view, dark or light, in both languages."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from web_site import DESK, TABLET, Desk, WebSite

axe_playwright_python = pytest.importorskip(
    "axe_playwright_python", reason="needs `pip install axe-playwright-python`"
)
# A busy machine takes its time; the waits within are the limit.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
Window = Callable[..., AbstractContextManager[Desk]]
RUN = """async () => {
  const told = await axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] });
  const where = (node) => node.target + ": " + node.failureSummary;
  return told.violations.map((one) => [one.id, one.impact, one.nodes.map(where)]);
}"""


class Axe:
    """What axe finds in the states of a window."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._code = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
        self.found: dict[str, Any] = {}

    def check(self, name: str) -> None:
        """Look at the window as it stands."""
        self._desk.settle()
        self._desk.page.evaluate(self._code)
        if violations := self._desk.page.evaluate(RUN):
            self.found[name] = violations


@pytest.mark.parametrize(
    ("theme", "language", "size"),
    [("dark", "en", DESK), pytest.param("light", "zh", TABLET, marks=pytest.mark.slow)],
    ids=["dark", "light"],
)
def test_axe_finds_nothing(
    window: Window, site: WebSite, theme: str, language: str, size: tuple[int, int]
) -> None:
    with window(language=language, size=size, theme=theme) as desk:
        page, axe = desk.page, Axe(desk)
        page.goto(site.server.url)
        page.wait_for_selector("#key")
        axe.check("signin")
        desk.sign_in()
        axe.check("welcome")
        desk.search(site.picture())
        for key in "cru":
            with page.expect_response("**/verdicts"):
                page.keyboard.press(key)
        axe.check("results")
        page.keyboard.press("Enter")
        axe.check("compare")
        page.keyboard.press("Escape")
        for view, dialog in (
            ("cases", None),
            ("galleries", ".wall button"),
            ("watch", "#watch-new"),
            ("quality", None),
            ("audit", None),
            ("keys", "#key-new"),
        ):
            desk.go(view)
            axe.check(view)
            if dialog:
                page.click(f"{dialog} >> nth=0")
                page.wait_for_selector("dialog[open]")
                axe.check(f"{view}, its dialog")
                page.keyboard.press("Escape")
    assert axe.found == {}


def test_axe_finds_nothing_in_what_chinese_operators_see_most(window: Window, site: WebSite) -> None:
    with window(language="zh") as desk:
        page, axe = desk.page, Axe(desk)
        page.goto(site.server.url)
        page.wait_for_selector("#key")
        axe.check("signin")
        desk.sign_in()
        page.select_option(".filters select >> nth=0", "own")
        axe.check("times")
        desk.search(site.picture())
        axe.check("results")
        made = site.watch_for_all("Xu")
        site.ingest(site.picture("infrared"), image_id="xu")
        desk.go("watch")
        page.keyboard.press("ArrowRight")
        with page.expect_response("**/verdicts"):
            page.keyboard.press("r")
        axe.check("hits")
        page.click(".hit .card-open")
        page.wait_for_selector("dialog .judged")
        axe.check("hit")
    site.call("DELETE", f"/watchlists/{made}")
    site.call("DELETE", "/images/xu")
    assert axe.found == {}
