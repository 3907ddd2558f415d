from collections.abc import Callable, Iterator

import pytest
from client_site import Server, start_server

from clients.cli import main
from peca_client import PecaClient


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
