import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pytest
import web_site
from client_site import Server, start_server

from clients.cli import main
from peca_client import AsyncPecaClient, PecaClient


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that look only at what they stored."""
    started = start_server(tmp_path_factory.mktemp("server"))
    yield started
    started.end()


@pytest.fixture
def fresh_server(tmp_path) -> Iterator[Server]:
    """A server whose gallery is empty."""
    folder = tmp_path / "fresh"
    folder.mkdir()
    started = start_server(folder)
    yield started
    started.end()


@pytest.fixture
def client(server: Server) -> Iterator[PecaClient]:
    with PecaClient(server.url, server.key) as opened:
        yield opened


def blocking(server: Server, method: str, *args: object, **options: object) -> object:
    with PecaClient(server.url, server.key) as client:
        return getattr(client, method)(*args, **options)


def asynchronous(server: Server, method: str, *args: object, **options: object) -> object:
    async def call() -> object:
        async with AsyncPecaClient(server.url, server.key) as client:
            return await getattr(client, method)(*args, **options)

    return asyncio.run(call())


@pytest.fixture(params=[blocking, asynchronous])
def call(request: pytest.FixtureRequest, server: Server) -> Callable[..., object]:
    def bound(method: str, *args: object, **options: object) -> object:
        return request.param(server, method, *args, **options)

    bound.name = request.param.__name__
    return bound


@pytest.fixture
def peca(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process; returns exit code, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return run


@pytest.fixture
def run(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command line of `peca-client`: its exit code, and what it printed."""
    from peca_client.__main__ import main

    monkeypatch.setenv("PECA_URL", server.url)
    monkeypatch.setenv("PECA_API_KEY", server.key)

    def ended(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as left:
            code = int(left.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return ended


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[web_site.WebSite]:
    """A server with the encoder that ships, and six people before four cameras."""
    folder = tmp_path_factory.mktemp("web")
    server = start_server(folder, web_site.SERVE)
    yield web_site.WebSite.fill(server, folder / "site", identities=6)
    server.end()


# Of each module, since Playwright's loop would be in the way of other modules' asyncio.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; tests are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
    path = web_site.chromium()
    if path is None:
        pytest.skip("needs Chromium, as by `apt-get install chromium`")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=path, args=web_site.FLAGS)
        yield started
        started.close()


@pytest.fixture
def window(browser: Any, site: web_site.WebSite) -> Callable[..., AbstractContextManager[web_site.Desk]]:
    """Opens windows before the site: ``with window(language="zh") as desk``."""
    return partial(web_site.opened, browser, site)
