import os
import shutil
from collections.abc import Iterator

import pytest
from milvus_process import ADDRESS_VARIABLE, MilvusProcess, missing


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
