"""The engines that benchmarks/gallery.py compares, behind one small interface.

hnswlib, usearch and FAISS hold vectors in memory and lose them with the process; they are given the set of
images that pass a filter for nothing, where a program of one's own would have to find it in each search.
"""

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import NDArray
from site_of_people import FILTERS, passing

from index.gallery import Device, Gallery, open_gallery
from index.records import ANY, ImageRecord, Where
from index.space import EmbeddingSpec
from server.heap import give_memory_back
from server.processors import share_processors

if TYPE_CHECKING:  # FAISS in each process would be counted as the memory of others
    from index.embedded.engine import EmbeddedGallery

BATCH = 256
M = 32
EF_BUILD = 200
EFFORTS = (32, 64, 128, 256, 512, 1024, 2048)


class Missing(Exception):
    """The engine is not installed, or its server is not there."""


class Engine(ABC):
    """An engine under measurement.

    Attributes:
        efforts: What ``search`` takes, from the quickest on; the first that reaches the recall is reported.
        durable: Whether what ``add`` took survives the end of the process.
        busy_s: Seconds that building took so far.
    """

    efforts: tuple[int, ...] = EFFORTS
    durable = False

    def __init__(self, dim: int, folder: Path) -> None:
        self.dim, self.folder, self.busy_s = dim, folder, 0.0
        folder.mkdir(parents=True, exist_ok=True)

    def add_many(self, records: list[ImageRecord], rows: NDArray[np.float32]) -> None:
        """Take in a chunk, and count the time."""
        began = time.perf_counter()
        for start in range(0, len(records), BATCH):
            self.add(records[start : start + BATCH], rows[start : start + BATCH])
        self.busy_s += time.perf_counter() - began

    def finish(self) -> None:
        """Build what is built at the end, and count the time."""
        began = time.perf_counter()
        self.built()
        self.busy_s += time.perf_counter() - began

    @abstractmethod
    def add(self, records: list[ImageRecord], rows: NDArray[np.float32]) -> None:
        """Take in images."""

    @abstractmethod
    def built(self) -> None:
        """Do whatever is left to do before searching."""

    @abstractmethod
    def search(self, query: NDArray[np.float32], k: int, where: Where, effort: int) -> list[int]:
        """The numbers of the images found."""

    def remove(self, numbers: list[int]) -> None:  # noqa: ARG002
        """Remove these images."""
        raise Missing("removal is measured of peca alone")

    def restarted(self) -> tuple[Self, float] | None:
        """The engine opened again, and the seconds this took; ``None`` where only building makes it."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Let go of everything."""


class Peca(Engine):
    """This project's: durable, its effort its own choice."""

    efforts = (0,)
    durable = True

    def __init__(self, dim: int, folder: Path) -> None:
        super().__init__(dim, folder)
        give_memory_back()  # as a server does, and
        share_processors()
        spec, device = EmbeddingSpec(dim, "benchmark"), Device(os.environ.get("PECA_DEVICE", "cpu"))
        self._gallery: Gallery = open_gallery(f"embedded:{folder}", spec, device=device)

    def add(self, records: list[ImageRecord], rows: NDArray[np.float32]) -> None:
        """See ``Engine``."""
        self._gallery.add(records, rows)

    def built(self) -> None:
        """Wait for the coding of what came, and close, which writes the index file."""
        while not cast("EmbeddedGallery", self._gallery).settled:
            time.sleep(0.05)
        self._gallery.close()

    def search(self, query: NDArray[np.float32], k: int, where: Where, effort: int) -> list[int]:  # noqa: ARG002
        """See ``Engine``."""
        return [_number(hit.record) for hit in self._gallery.search(query[np.newaxis], k, where)[0]]

    def remove(self, numbers: list[int]) -> None:
        """See ``Engine``."""
        self._gallery.remove(Where(image_ids=[str(number) for number in numbers]))

    def restarted(self) -> tuple[Self, float]:
        """See ``Engine``."""
        del self._gallery  # or both would be in memory at once
        began = time.perf_counter()
        return type(self)(self.dim, self.folder), round(time.perf_counter() - began, 2)

    def close(self) -> None:
        """See ``Engine``."""
        self._gallery.close()


class _Library(Engine):
    """A library that knows numbers only; which of them pass each filter is kept beside it."""

    def __init__(self, dim: int, folder: Path) -> None:
        super().__init__(dim, folder)
        self._masks: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in FILTERS}
        self._allowed: dict[Where, NDArray[np.bool_]] = {}

    def add(self, records: list[ImageRecord], rows: NDArray[np.float32]) -> None:
        """See ``Engine``."""
        began = time.perf_counter()
        for name, where in FILTERS.items():
            self._masks[name].append(passing(where, records))
        self.busy_s -= time.perf_counter() - began  # a filter's mask is a gift
        self.take(rows)

    def built(self) -> None:
        """See ``Engine``; a graph is ready as it is."""

    def close(self) -> None:
        """See ``Engine``; it goes with the process."""

    def allowed(self, where: Where) -> NDArray[np.bool_]:
        """(n,) which images pass."""
        if where not in self._allowed:
            name = next(name for name, one in FILTERS.items() if one == where)
            self._allowed[where] = np.concatenate(self._masks[name])
        return self._allowed[where]

    @abstractmethod
    def take(self, rows: NDArray[np.float32]) -> None:
        """Take in vectors."""


class Hnswlib(_Library):
    """hnswlib, cosine as an inner product of unit vectors."""

    def __init__(self, dim: int, folder: Path) -> None:
        super().__init__(dim, folder)
        self._index = imported("hnswlib").Index("ip", dim)
        self._index.init_index(4096, M=M // 2, ef_construction=EF_BUILD)

    def take(self, rows: NDArray[np.float32]) -> None:
        """See ``Engine``."""
        count = self._index.get_current_count()
        if count + len(rows) > self._index.get_max_elements():
            self._index.resize_index(2 * self._index.get_max_elements())
        self._index.add_items(rows, np.arange(count, count + len(rows)))

    def search(self, query: NDArray[np.float32], k: int, where: Where, effort: int) -> list[int]:
        """See ``Engine``."""
        self._index.set_ef(max(effort, k))
        allowed = None if where == ANY else self.allowed(where).tolist().__getitem__
        try:
            found, _ = self._index.knn_query(query, k, filter=allowed)
        except RuntimeError:  # it refuses to give fewer than k
            return []
        return [int(number) for number in found[0]]


class Usearch(_Library):
    """usearch; it filters nothing in Python, so more is asked for and filtered after."""

    def __init__(self, dim: int, folder: Path) -> None:
        super().__init__(dim, folder)
        index = imported("usearch.index").Index
        self._index = index(ndim=dim, metric="ip", dtype="f32", connectivity=M // 2, expansion_add=EF_BUILD)

    def take(self, rows: NDArray[np.float32]) -> None:
        """See ``Engine``."""
        count = len(self._index)
        self._index.add(np.arange(count, count + len(rows)), rows)

    def search(self, query: NDArray[np.float32], k: int, where: Where, effort: int) -> list[int]:
        """See ``Engine``."""
        share = 1.0 if where == ANY else float(self.allowed(where).mean())
        asked = min(int(k / max(share, 1e-4)) + (k if share < 1 else 0), len(self._index))
        self._index.expansion_search = max(effort, asked)
        found = self._index.search(query, asked).keys.astype(np.int64)
        kept = found if where == ANY else found[self.allowed(where)[found]]
        return [int(number) for number in kept[:k]]


class FaissHnsw(_Library):
    """FAISS's HNSW over full vectors, with its own selector as a filter."""

    def __init__(self, dim: int, folder: Path) -> None:
        super().__init__(dim, folder)
        self._faiss = imported("faiss")
        self._index = self._faiss.IndexHNSWFlat(dim, M // 2, self._faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = EF_BUILD

    def take(self, rows: NDArray[np.float32]) -> None:
        """See ``Engine``."""
        self._index.add(rows)

    def search(self, query: NDArray[np.float32], k: int, where: Where, effort: int) -> list[int]:
        """See ``Engine``."""
        options = self._faiss.SearchParametersHNSW(efSearch=max(effort, k))
        if where != ANY:
            bits = np.packbits(self.allowed(where), bitorder="little")
            selector = self._faiss.IDSelectorBitmap(bits)
            options = self._faiss.SearchParametersHNSW(efSearch=max(effort, k), sel=selector)
        _, found = self._index.search(query[np.newaxis], k, params=options)
        return [int(number) for number in found[0] if number >= 0]


class LanceDb(Engine):
    """LanceDB with its index of HNSW over scalar codes, refined by full vectors, filtered first."""

    durable = True
    efforts = (1, 2, 4, 8, 16, 32)

    def __init__(self, dim: int, folder: Path) -> None:
        super().__init__(dim, folder)
        self._arrow = imported("pyarrow")
        self._database = imported("lancedb").connect(folder)
        self._table: Any = None

    def add(self, records: list[ImageRecord], rows: NDArray[np.float32]) -> None:
        """See ``Engine``."""
        flat = self._arrow.array(rows.reshape(-1))
        table = self._arrow.table(
            {
                "number": [_number(record) for record in records],
                "modality": [str(record.modality) for record in records],
                "camera": [record.camera_id for record in records],
                "vector": self._arrow.FixedSizeListArray.from_arrays(flat, self.dim),
            }
        )
        if self._table is None:
            self._table = self._database.create_table("images", table)
        else:
            self._table.add(table)

    def add_many(self, records: list[ImageRecord], rows: NDArray[np.float32]) -> None:
        """In one piece a chunk: it writes a file a call, and would be slower by far in batches of 256."""
        began = time.perf_counter()
        self.add(records, rows)
        self.busy_s += time.perf_counter() - began

    def built(self) -> None:
        """See ``Engine``."""
        self._table.create_index(
            metric="dot", index_type="IVF_HNSW_SQ", num_partitions=1, m=M // 2, ef_construction=EF_BUILD
        )
        self._table.create_scalar_index("camera")
        self._table.create_scalar_index("modality", index_type="BITMAP")

    def search(self, query: NDArray[np.float32], k: int, where: Where, effort: int) -> list[int]:
        """See ``Engine``."""
        asked = self._table.search(query).distance_type("dot").select(["number", "_distance"]).limit(k)
        asked = asked.refine_factor(effort).ef(max(2 * k * effort, 64))
        if where != ANY:
            asked = asked.where(_condition(where, "IN ({})", "'", ", "), prefilter=True)
        return [int(number) for number in asked.to_arrow()["number"].to_pylist()]

    def close(self) -> None:
        """See ``Engine``; its files are closed as they are."""


class Milvus(Engine):
    """A Milvus server, its address in MILVUS_ADDRESS, with its HNSW index."""

    durable = True

    def __init__(self, dim: int, folder: Path) -> None:
        super().__init__(dim, folder)
        self._milvus = imported("pymilvus")
        self._client = self._milvus.MilvusClient(uri=self._address())
        self._name = f"bench_{os.getpid()}"
        kind = self._milvus.DataType
        schema = self._client.create_schema(auto_id=False)
        schema.add_field("number", kind.INT64, is_primary=True)
        schema.add_field("modality", kind.VARCHAR, max_length=16)
        schema.add_field("camera", kind.VARCHAR, max_length=64)
        schema.add_field("vector", kind.FLOAT_VECTOR, dim=dim)
        index = self._client.prepare_index_params()
        index.add_index(
            "vector", index_type="HNSW", metric_type="IP", params={"M": M // 2, "efConstruction": EF_BUILD}
        )
        self._client.create_collection(self._name, schema=schema, index_params=index)

    def _address(self) -> str:
        if "MILVUS_ADDRESS" not in os.environ:
            raise Missing("set MILVUS_ADDRESS to a server's, such as http://127.0.0.1:19530")
        return os.environ["MILVUS_ADDRESS"]

    def add(self, records: list[ImageRecord], rows: NDArray[np.float32]) -> None:
        """See ``Engine``."""
        self._client.insert(
            self._name,
            [
                {
                    "number": _number(record),
                    "modality": str(record.modality),
                    "camera": record.camera_id,
                    "vector": row,
                }
                for record, row in zip(records, rows, strict=True)
            ],
        )

    def built(self) -> None:
        """See ``Engine``."""
        self._client.flush(self._name)
        self._client.load_collection(self._name)
        waited = time.monotonic()
        while time.monotonic() - waited < 1800:
            told = self._client.describe_index(self._name, "vector")
            if told.get("pending_index_rows", 0) == 0:
                return
            time.sleep(0.5)
        raise Missing("the server did not finish its index in 30 minutes")

    def search(self, query: NDArray[np.float32], k: int, where: Where, effort: int) -> list[int]:
        """See ``Engine``."""
        condition = "" if where == ANY else _condition(where, "in [{}]", '"', ", ")
        (found,) = self._client.search(
            self._name,
            data=[query],
            limit=k,
            filter=condition,
            search_params={"metric_type": "IP", "params": {"ef": max(effort, k)}},
        )
        return [int(hit.id) for hit in found]  # of a server it is called `id`, of milvus-lite by its field

    def close(self) -> None:
        """See ``Engine``."""
        self._client.drop_collection(self._name)
        self._client.close()


class MilvusLite(Milvus):
    """milvus-lite: Milvus's interface over a local file."""

    def _address(self) -> str:
        imported("milvus_lite")
        return str(self.folder / "lite.db")


ENGINES: dict[str, Callable[[int, Path], Engine]] = {
    "peca": Peca,
    "hnswlib": Hnswlib,
    "usearch": Usearch,
    "faiss-hnsw": FaissHnsw,
    "lancedb": LanceDb,
    "milvus-lite": MilvusLite,
    "milvus": Milvus,
}


def _number(record: ImageRecord) -> int:
    """Of an image of the site; those that are added later follow them."""
    name = record.image_id.removeprefix("new-")
    return int(name) + (10**9 if name != record.image_id else 0)


def _condition(where: Where, form: str, quote: str, comma: str) -> str:
    """The filter in the words of an engine: ``form`` takes a list of names."""
    if where.modality is not None:
        return f"modality {form.format(quote + where.modality + quote)}"
    names = comma.join(f"{quote}{name}{quote}" for name in sorted(where.camera_ids or ()))
    return f"camera {form.format(names)}"


def imported(name: str) -> Any:
    """A package that only benchmarks need, or the one in use here.

    Raises:
        Missing: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise Missing(f"not installed ({error}); pip install '.[bench]'") from error
