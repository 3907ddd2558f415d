"""A synthetic site behind a server with the encoder that ships, and Chromium before its page."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from client_site import Server

from clients.uploads import manifest_uploads
from peca_client import ImageUpload, PecaClient
from training.datasets.synthetic import write_site

SERVE = """
import sys
from server.app import serve
from server.settings import Settings
serve(Settings(gallery="embedded:" + sys.argv[1], port=0, sign_ins_per_minute=1000))
"""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
DESK, TABLET = (1280, 800), (820, 1180)
# A busy machine is slow; a page that is right is only waited for.
_WAIT_MS = 60_000


def chromium() -> str | None:
    """The path of the system's Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


@dataclass
class WebSite:
    """A server whose gallery shows some people at four cameras."""

    server: Server
    uploads: list[ImageUpload]

    @classmethod
    def fill(cls, server: Server, folder: Path, identities: int, seed: int = 20_260_401) -> "WebSite":
        """Draw a site into ``folder`` and ingest it."""
        uploads = list(manifest_uploads(write_site(folder, identities, 2, seed)).ready)
        with PecaClient(server.url, server.key) as client:
            assert client.ingest(uploads).stored == len(uploads)
        return cls(server, uploads)

    def picture(self, modality: str = "visible", at: int = 0) -> Path:
        """A picture of the site by its light."""
        found = [upload for upload in self.uploads if upload.modality == modality]
        return Path(str(found[at].image))

    def call(self, method: str, path: str, **options: Any) -> Any:
        """What the server answers to its first admin, as JSON."""
        headers = {"X-API-Key": self.server.key}
        answer = httpx.request(method, self.server.url + path, headers=headers, timeout=60, **options)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def ingest(self, picture: Path, **said: object) -> None:
        """Store one picture as said."""
        about = {"filename": "a.jpg", "camera_id": "cam3", "modality": "infrared"}
        metadata = [{**about, "captured_at": "2026-03-04T01:00:00Z", **said}]
        files = [("images", ("a.jpg", picture.read_bytes()))]
        self.call("POST", "/images", files=files, data={"metadata": json.dumps(metadata)})

    def watch_for_all(self, name: str) -> str:
        """A watchlist that everything is a hit of; its id."""
        said = {"name": name, "threshold": "0", "query_modality": "visible"}
        files = [("image", ("a.jpg", self.picture().read_bytes()))]
        return str(self.call("POST", "/watchlists", files=files, data=said)["watchlist_id"])

    def new_key(self, name: str, **said: object) -> str:
        """A key made for this test."""
        made: str = self.call("POST", "/keys", json={"name": name, "role": "operator", **said})["key"]
        return made


@dataclass
class Desk:
    """An operator's browser window: Playwright's page, and what went wrong in it."""

    page: Any
    site: WebSite
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(_WAIT_MS)
        self.page.on("console", lambda said: said.type == "error" and self.wrong.append(said.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))

    def sign_in(self, key: str | None = None) -> None:
        """By a key, as a person does."""
        self.page.goto(self.site.server.url)
        self.page.fill("#key", key or self.site.server.key)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector(".view > *, .signin .icon-out", state="attached")

    def go(self, view: str) -> None:
        """To a view, and wait until all that it asks for has come."""
        self.page.click(f'.rail a[data-view="{view}"]')
        self.page.wait_for_selector(f".view-{view} > *")
        self.settle()

    def settle(self) -> None:
        """Until nothing is asked for any more."""
        self.page.wait_for_selector("[aria-busy]", state="detached")
        self.page.wait_for_load_state("load")

    def search(self, *pictures: Path, case: str = "2026-17", reason: str = "missing child") -> None:
        """Bring pictures in and search."""
        self.page.set_input_files("#pick", [str(picture) for picture in pictures])
        self.page.wait_for_selector(f".query >> nth={len(pictures) - 1}")
        self.page.fill("#search-case", case)
        self.page.fill("#search-reason", reason)
        self.page.click("#search-go")
        self.page.wait_for_selector(".card")

    def texts(self, selector: str) -> list[str]:
        """The texts of all that fits."""
        found: list[str] = self.page.locator(selector).all_inner_texts()
        return found


@contextmanager
def opened(
    browser: Any,
    site: WebSite,
    language: str = "en",
    size: tuple[int, int] = DESK,
    theme: str = "dark",
) -> Iterator[Desk]:
    """A window of its own; that nothing went wrong in it is checked at its end."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        locale="en-GB",
        timezone_id="Europe/Berlin",
        permissions=["camera", "clipboard-read", "clipboard-write"],
    )
    context.add_init_script(
        f"localStorage['peca.language'] ??= '{language}'; localStorage['peca.theme'] ??= '{theme}'"
    )
    desk = Desk(context.new_page(), site)
    try:
        yield desk
        assert desk.wrong == []
    finally:
        context.close()
