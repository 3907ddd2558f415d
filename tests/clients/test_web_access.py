"""The dashboard for everybody: axe finds nothing serious in any view, dark or light, in both languages."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from web_site import DESK, TABLET, Desk, WebSite

# A busy machine takes its time; the waits within are the limit.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
Window = Callable[..., AbstractContextManager[Desk]]
RUN = """async () => {
  const told = await axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] });
  const where = (node) => node.target + ": " + node.failureSummary;
  return told.violations.map((one) => [one.id, one.impact, one.nodes.map(where)]);
}"""


@pytest.mark.parametrize(
    ("theme", "language", "size"),
    [("dark", "en", DESK), pytest.param("light", "zh", TABLET, marks=pytest.mark.slow)],
    ids=["dark", "light"],
)
def test_axe_finds_nothing(
    window: Window, site: WebSite, theme: str, language: str, size: tuple[int, int]
) -> None:
    pytest.importorskip("axe_playwright_python", reason="needs `pip install axe-playwright-python`")
    import axe_playwright_python

    axe = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    found: dict[str, Any] = {}
    with window(language=language, size=size, theme=theme) as desk:
        page = desk.page

        def check(name: str) -> None:
            desk.settle()
            page.evaluate(axe)
            if violations := page.evaluate(RUN):
                found[name] = violations

        page.goto(site.server.url)
        page.wait_for_selector("#key")
        check("signin")
        desk.sign_in()
        check("welcome")
        desk.search(site.picture())
        for key in "cru":
            with page.expect_response("**/verdicts"):
                page.keyboard.press(key)
        check("results")
        page.keyboard.press("Enter")
        check("compare")
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
            check(view)
            if dialog:
                page.click(f"{dialog} >> nth=0")
                page.wait_for_selector("dialog[open]")
                check(f"{view}, its dialog")
                page.keyboard.press("Escape")
    assert found == {}
