"""A real Milvus server of the tests: the one that the PyPI package ``milvus`` carries."""

import os
import socket
import subprocess
import time
import urllib.request
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

ADDRESS_VARIABLE = "PECA_TEST_MILVUS"
_START_S = 120
_PARTS = ("rootCoord", "proxy", "queryCoord", "queryNode", "indexNode", "dataCoord", "dataNode")


def missing() -> str | None:
    """Why there can be no server here, ``None`` where there can."""
    if find_spec("pymilvus") is None:
        return "pymilvus is not installed: pip install '.[milvus]'"
    if find_spec("milvus") is None:
        return "the package milvus, which carries a server, is not installed: pip install '.[bench]'"
    return None


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        return [
            held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)
        ]


class MilvusProcess:
    """One server with its data in ``folder``; ``start`` after ``kill`` finds them again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"milvus:127.0.0.1:{self.port}"

    def start(self) -> None:
        import milvus

        if not self.port:
            config = milvus.MilvusServerConfig(data_dir=str(self._folder))
            for part in _PARTS:
                config.set(f"{part}.ip", "127.0.0.1")
            # A vector that is not indexed yet is compared with, not guessed at (docs/scale.md).
            config.set("queryNode.segcore.interimIndex.enableIndex", False)
            # Free ones; the package would look for them itself, and leave sockets open where one is taken.
            ports = [key for key in config.configurable_items if key.endswith("_port")]
            config.update(**dict(zip(ports, free_ports(len(ports)), strict=True)))
            config.resolve()
            milvus._initialize_data_files(str(self._folder))
            self.port = config.get("proxy_port")
            (self._health,) = free_ports(1)
        binary = self._folder / "bin" / "milvus"
        environment = {
            **os.environ,
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._health),
            "MILVUS_RUN_DIR": str(self._folder / "run"),
            "LD_LIBRARY_PATH": str(binary.parent),
        }
        with (self._folder / "logs" / "output.log").open("ab") as log:
            self._process = subprocess.Popen(
                [binary, "run", "standalone"],
                cwd=self._folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait()

    def kill(self) -> None:
        """SIGKILL, as an end of power would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _wait(self) -> None:
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._health}/healthz", timeout=5) as answer:
                    if b"OK" in answer.read():
                        return
            except OSError:
                time.sleep(0.2)
        self.kill()
        raise RuntimeError(f"Milvus did not start; see {self._folder}/logs")


def forget(url: str) -> None:
    """Drop every generation of the gallery at ``url``."""
    from pymilvus import MilvusClient

    from index.milvus_address import MilvusAddress

    address = MilvusAddress.parse(url)
    client = MilvusClient(address.uri, dedicated=True, timeout=5)
    try:
        if client.has_collection(address.collection):
            client.drop_alias(address.collection)
        for name in client.list_collections():
            if name.startswith(f"{address.collection}_"):
                client.drop_collection(name)
    finally:
        client.close()
