"""A small site for the tests of the server; its pictures and calls stand in server_site."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest
from server_site import Process, Site, served

from exporter.runtime import Encoder, GreyPixelEncoder
from index.gallery import open_gallery
from server.access import Role
from server.app import create_app
from server.keyring import KeyRing
from server.keys import open_keys
from server.settings import Settings


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A server that is started in this process has its logs written anew, to the output of one test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(gallery="memory:", data_dir=tmp_path / "data")


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[..., Site]]:
    """Starts applications over a memory gallery, on changed settings where wanted."""
    with ExitStack() as stack:

        def start_app(encoder: Encoder | None = None, **changed: object) -> Site:
            its = settings.model_copy(update=changed)
            _, key = open_keys(its.data_folder)
            used = encoder or GreyPixelEncoder()
            gallery = stack.enter_context(closing(open_gallery("memory:", used.spec)))
            app = create_app(its, encoder=used, gallery=gallery)
            address = stack.enter_context(served(app))
            http = httpx.Client(base_url=address, headers={"X-API-Key": key or ""}, timeout=30)
            return Site(stack.enter_context(http), app)

        yield start_app


@pytest.fixture
def site(start: Callable[..., Site]) -> Site:
    return start()


@pytest.fixture
def as_holder(settings: Settings) -> Iterator[Callable[..., Site]]:
    """Makes keys, each for calls to a site that runs already: ``as_holder(site, name, role, **limits)``."""
    with ExitStack() as stack:

        def make(site: Site, name: str, role: Role, **limits: object) -> Site:
            key, _ = KeyRing(settings.data_folder).create(name, role, **limits)
            http = httpx.Client(base_url=site.http.base_url, headers={"X-API-Key": key}, timeout=30)
            return Site(stack.enter_context(http), site.app)

        yield make


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[[], Process]]:
    """Starts server processes on one data folder."""
    started: list[Process] = []

    def launch_process() -> Process:
        started.append(Process(tmp_path / "peca-data", tmp_path / "server.log"))
        started[-1].wait_until_serving()
        return started[-1]

    yield launch_process
    for process in started:
        process.end(signal.SIGKILL)
