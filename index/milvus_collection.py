"""The collection of a gallery in Milvus: its schema, its encoder, and the alias it is found under."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from index.errors import GalleryUnavailable
from index.milvus_address import MilvusAddress, MilvusIndex
from index.milvus_connection import Connection
from index.milvus_rows import LONGEST_TEXT, SCALARS, VECTOR
from index.space import EmbeddingSpec, Modality

CELLS = 1024
"""Cells of an IVF index (``nlist``), in each segment."""

SESSION = "Session"

_INTEGERS = ("position", "captured_at")
_DIM, _ENCODER, _INDEX = "peca.dim", "peca.encoder", "peca.index"


@dataclass(frozen=True, slots=True)
class Generation:
    """One collection: the vectors of one encoder.

    Attributes:
        name: The collection's own name.
        spec: Of the encoder.
        index: Built over the vectors.
    """

    name: str
    spec: EmbeddingSpec
    index: MilvusIndex


def generation_name(address: MilvusAddress, spec: EmbeddingSpec) -> str:
    """The name of the collection that holds the vectors of one encoder: the same for every process."""
    digest = hashlib.sha256(f"{spec.dim} {spec.encoder}".encode()).hexdigest()
    return f"{address.collection}_{digest[:12]}"


def current(connection: Connection, address: MilvusAddress) -> Generation | None:
    """The collection behind the gallery's alias, ``None`` where no gallery has been begun.

    Raises:
        GalleryUnavailable: The name is taken by a collection that is no gallery.
    """
    described = connection.describe(address.collection)
    return None if described is None else _generation(described, address)


def prepare(connection: Connection, address: MilvusAddress, spec: EmbeddingSpec) -> Generation:
    """The collection of ``spec``, made where it is not, loaded, and under no alias yet.

    Several processes may run this at once: each step is one that another may have taken already.
    """
    name = generation_name(address, spec)
    if connection.describe(name) is None:
        _once(
            connection,
            "create_collection",
            name,
            schema=_schema(spec),
            num_shards=1,  # of one shard, an upsert is seen whole or not at all
            consistency_level=SESSION,
            properties={_DIM: str(spec.dim), _ENCODER: spec.encoder, _INDEX: address.index.value},
        )
    described = connection.describe(name)
    if described is None:
        raise GalleryUnavailable(f"the collection {name} at {address} was dropped while it was being made")
    generation = _generation(described, address)
    for modality in Modality:
        _once(connection, "create_partition", name, modality.value)
    if not connection.call("list_indexes", name):
        _once(connection, "create_index", name, _index(generation.index))
    load(connection, generation)
    return generation


def load(connection: Connection, generation: Generation) -> None:
    """Take a collection into the memory of Milvus; does nothing where it is."""
    connection.call("load_collection", generation.name)


def publish(connection: Connection, address: MilvusAddress, used: Generation, next_one: Generation) -> None:
    """Let the gallery's alias name ``next_one``, at once for all who open the gallery from now on.

    ``used`` is being left until ``settle``: a second alias says so, whatever becomes of this process.
    """
    _once(connection, "create_alias", used.name, _leaving_name(address))
    connection.call("alter_alias", used.name, _leaving_name(address))
    connection.call("alter_alias", next_one.name, address.collection)


def leaving(connection: Connection, address: MilvusAddress) -> Generation | None:
    """The generation whose last images are still to be brought over; ``None`` where none is being left."""
    described = connection.describe(_leaving_name(address))
    left, used = (
        None if described is None else _generation(described, address),
        current(connection, address),
    )
    # Named before the gallery's alias is moved: until then nothing is left.
    return None if left is None or used is None or left.name == used.name else left


def settle(connection: Connection, address: MilvusAddress) -> None:
    """Say that all has been brought over."""
    connection.call("drop_alias", _leaving_name(address))


def unsettled(address: MilvusAddress, spec: EmbeddingSpec) -> GalleryUnavailable:
    """What to say to all who would write a gallery, or drop generations of it, while one is being left."""
    return GalleryUnavailable(
        f"the gallery {address} is being moved to encoder {spec.encoder}, and what was stored last is still "
        "to be brought over: wait for peca gallery reindex to end, or run the same command again if it "
        "was broken off"
    )


def _leaving_name(address: MilvusAddress) -> str:
    return f"{address.collection}_leaving"


def begin(connection: Connection, address: MilvusAddress, spec: EmbeddingSpec) -> Generation:
    """Begin the gallery, or find that another process has just begun it."""
    generation = prepare(connection, address, spec)
    _once(connection, "create_alias", generation.name, address.collection)
    return current(connection, address) or generation


def drop_others(connection: Connection, address: MilvusAddress) -> list[str]:
    """Remove every generation but the one in use; returns the names of their collections.

    Raises:
        GalleryUnavailable: One of them holds images that are still to be brought over.
    """
    used = current(connection, address)
    if used is not None and leaving(connection, address) is not None:
        raise unsettled(address, used.spec)
    pattern = re.compile(re.escape(address.collection) + r"_[0-9a-f]{12}")
    others = [name for name in connection.call("list_collections") if pattern.fullmatch(name)]
    others = sorted(name for name in others if used is not None and name != used.name)
    for name in others:
        connection.call("drop_collection", name)
    return others


def _generation(described: Mapping[str, Any], address: MilvusAddress) -> Generation:
    properties = described["properties"]
    try:
        spec = EmbeddingSpec(int(properties[_DIM]), properties[_ENCODER])
        index = MilvusIndex(properties[_INDEX])
    except (KeyError, ValueError) as error:
        raise GalleryUnavailable(
            f"the collection {described['collection_name']} at {address} is no gallery of this program: its "
            "properties name no encoder; choose another name with ?collection=NAME"
        ) from error
    return Generation(described["collection_name"], spec, index)


def _once(connection: Connection, method: str, *args: Any, **options: Any) -> None:
    """Make what another process may be making, too: a refusal counts only where it is still missing."""
    try:
        connection.call(method, *args, **options)
    except GalleryUnavailable:
        if not _made(connection, method, *args):
            raise


def _made(connection: Connection, method: str, name: str, *args: Any) -> bool:
    match method:
        case "create_collection":
            return connection.describe(name) is not None
        case "create_partition":
            return bool(connection.call("has_partition", name, *args))
        case "create_index":
            return bool(connection.call("list_indexes", name))
        case _:
            return connection.describe(args[0]) is not None


def _schema(spec: EmbeddingSpec) -> Any:
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, description="a gallery of PECA")
    for name in SCALARS:
        if name in _INTEGERS:
            schema.add_field(name, DataType.INT64)
        else:
            schema.add_field(name, DataType.VARCHAR, is_primary=name == "image_id", max_length=LONGEST_TEXT)
    schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=spec.dim)
    return schema


def _index(kind: MilvusIndex) -> Any:
    from pymilvus import MilvusClient

    parameters = MilvusClient.prepare_index_params()
    cells = {"nlist": CELLS} if kind is MilvusIndex.IVF_FLAT else {}
    parameters.add_index(VECTOR, index_type=kind.value, metric_type="IP", params=cells)
    return parameters
