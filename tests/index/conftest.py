import os
import shutil
from collections.abc import Iterator

import pytest
from milvus_process import ADDRESS_VARIABLE, MilvusProcess, missing

from index.embedded import segments


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusProcess]:
    """A Milvus server of this run alone, ended with it."""
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("milvus")
    server = MilvusProcess(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def milvus_url(request: pytest.FixtureRequest) -> str:
    """The address of a Milvus server: the one that the environment names, else one of this run."""
    if given := os.environ.get(ADDRESS_VARIABLE):
        return f"milvus:{given}"
    server: MilvusProcess = request.getfixturevalue("milvus_server")
    return server.url


@pytest.fixture(autouse=True)
def small_segments_are_searched_as_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of these tests are of some hundred images, which would all be compared one by one."""
    monkeypatch.setattr(segments, "_ONE_BY_ONE", 256)
