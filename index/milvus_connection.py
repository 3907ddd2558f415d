"""One connection to Milvus: opened when needed, given up when it fails, opened again."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from index.errors import GalleryUnavailable, GalleryUnreachable, MissingExtra
from index.milvus_address import MilvusAddress

try:
    import grpc
    from pymilvus import MilvusClient, MilvusException
    from pymilvus.exceptions import ConnectionConfigException
except ImportError as error:
    raise MissingExtra(
        "a gallery in Milvus needs pymilvus; install it: pip install '.[milvus]' in PECA's checkout"
    ) from error

CONNECT_S = 3.0
CALL_S = 30.0
READ_S = 15.0
"""Of a search or a query: half of what a client, and the server's own deadline, wait for a whole answer."""

_READS = ("search", "query")
_NOT_FOUND = 100
# What Milvus says while it starts, loads, moves a channel or limits a rate; asking again may do.
_PASSING = {1, 2, 3, 5, 8, 9, 101, 103, 106, *range(500, 505), *range(901, 905)}
_PASSING_STATUS = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_PASSING_WORDS = ("Retry timeout", "Fail connecting", "not loaded", "closed channel", "channel_state=")

_lite_lock = Lock()
_lite_users: Counter[str] = Counter()

# pymilvus logs each failed call with its trace; here every failure becomes an error that says more.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


class Connection:
    """Calls of ``MilvusClient`` whose failures are this project's errors; for use by several threads.

    A connection that failed is given up; the next call opens another, so a server that was away is found
    again without a restart here.
    """

    def __init__(self, address: MilvusAddress) -> None:
        self._address = address
        self._lock = Lock()
        self._client: MilvusClient | None = None

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """``MilvusClient.method(*args, **options)``, with a time limit.

        Raises:
            GalleryUnreachable: Milvus does not answer, or not now; asking again may do.
            GalleryUnavailable: Milvus refused.
        """
        client, limit_s = self._open(), READ_S if method in _READS else CALL_S
        with self._explained(client):
            return getattr(client, method)(*args, timeout=limit_s, **options)

    @property
    def is_file(self) -> bool:
        """Whether it is milvus-lite, in this process, and no server."""
        return self._address.file is not None

    def describe(self, collection: str) -> dict[str, Any] | None:
        """What Milvus knows of a collection or of the one behind an alias; ``None`` where there is none."""
        client = self._open()
        with self._explained(client):
            try:
                return dict(client.describe_collection(collection, timeout=CALL_S))
            except MilvusException as error:
                if error.code == _NOT_FOUND:
                    return None
                raise

    def close(self) -> None:
        """Give the connection up; a later call would open another."""
        with self._lock:
            self._drop()

    def _open(self) -> MilvusClient:
        with self._lock:
            if self._client is None:
                with self._explained(None):
                    self._client = self._connect()
            return self._client

    def _connect(self) -> MilvusClient:
        file = self._address.file
        if file is None:
            return MilvusClient(
                self._address.uri,
                token=self._address.token,
                db_name=self._address.database,
                dedicated=True,
                timeout=CONNECT_S,
            )
        path = str(file.absolute())
        with _lite_lock:
            file.parent.mkdir(parents=True, exist_ok=True)
            client = MilvusClient(path, dedicated=True, timeout=CONNECT_S)
            _lite_users[path] += 1
        return client

    def _drop(self) -> None:
        if self._client is None:
            return
        self._client.close()
        self._client = None
        file = self._address.file
        if file is not None:
            _release_lite(str(file.absolute()))

    @contextmanager
    def _explained(self, client: MilvusClient | None) -> Iterator[None]:
        """Say which gallery it was that pymilvus could not reach or use."""
        try:
            yield
        except ConnectionConfigException as error:
            raise self._unavailable(error) from error
        except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError, ValueError) as error:
            # ValueError: what grpc says of a channel that another thread has given up.
            if isinstance(error, ValueError) and "closed channel" not in str(error):
                raise
            if not _passes(error):
                raise self._unavailable(error) from error
            with self._lock_unless(client):
                if client is not None and client is self._client:
                    self._drop()
            raise GalleryUnreachable(
                f"Milvus does not answer at {self._address}: {_words(error)}; the same request may be made "
                "again once the server is back"
            ) from error

    @contextmanager
    def _lock_unless(self, client: MilvusClient | None) -> Iterator[None]:
        """The lock, but where ``_open`` holds it, having no client yet."""
        if client is None:
            yield
            return
        with self._lock:
            yield

    def _unavailable(self, error: Exception) -> GalleryUnavailable:
        hint = "; another process may hold the file" if self._address.file else ""
        return GalleryUnavailable(f"Milvus refused at {self._address}: {_words(error)}{hint}")


def _release_lite(path: str) -> None:
    """End milvus-lite's server of a file when its last user has closed."""
    from milvus_lite.server_manager import server_manager_instance

    with _lite_lock:
        _lite_users[path] -= 1
        if _lite_users[path] == 0:
            server_manager_instance.release_server(path)


def _passes(error: Exception) -> bool:
    """Whether asking again may do."""
    if isinstance(error, MilvusException):
        said = any(word in str(error.message) for word in _PASSING_WORDS)
        return said or error.code in _PASSING or error.code in _PASSING_STATUS
    if isinstance(error, grpc.RpcError):
        return error.code() in _PASSING_STATUS
    return True


def _words(error: Exception) -> str:
    """What an error says, on one line."""
    if isinstance(error, MilvusException):
        said = str(error.message)
    elif isinstance(error, grpc.Call):
        said = str(error.details())
    else:
        said = str(error) or type(error).__name__
    return " ".join(said.split()) or "no answer in time"
