"""The address of a gallery in Milvus, and the token that never shows."""

import os
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

from index.errors import InvalidInput

SCHEME = "milvus:"
TOKEN_VARIABLE = "PECA_MILVUS_TOKEN"  # noqa: S105 - the name of a variable, not a token
DEFAULT_COLLECTION = "peca_gallery"
FORM = (
    "milvus:HOST:PORT, milvus:https://HOST:PORT/DATABASE or milvus:FILE.db, each with ?collection=NAME and "
    "?index=FLAT|IVF_FLAT where needed"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")
_HOST_AND_PORT = re.compile(r"[^/@:\s]+:\d+(/.*)?")


class MilvusIndex(StrEnum):
    """The index that Milvus builds over the vectors of a segment."""

    FLAT = "FLAT"
    IVF_FLAT = "IVF_FLAT"


@dataclass(frozen=True, slots=True)
class MilvusAddress:
    """Where a gallery lies in Milvus.

    Attributes:
        uri: What pymilvus connects to, without a token: ``http(s)://HOST:PORT``, or a file of milvus-lite.
        database: The database's name; empty for Milvus's default.
        collection: The alias under which the gallery's collection is found.
        index: Of a gallery that is begun; one that is there keeps its own.
        token: ``user:password`` or an API key; empty for none. Left out of ``repr``.
    """

    uri: str
    database: str = ""
    collection: str = DEFAULT_COLLECTION
    index: MilvusIndex = MilvusIndex.FLAT
    token: str = field(default="", repr=False)

    @property
    def file(self) -> Path | None:
        """The file of milvus-lite, ``None`` for a server."""
        return None if "://" in self.uri else Path(self.uri)

    def __str__(self) -> str:
        """The address as it may be logged."""
        database = f"/{self.database}" if self.database else ""
        return f"{SCHEME}{self.uri}{database}?collection={self.collection}"

    @classmethod
    def parse(cls, url: str) -> Self:
        """What ``url`` says; a token that it does not carry comes from ``PECA_MILVUS_TOKEN``.

        Raises:
            InvalidInput: ``url`` is of no form that Milvus's galleries have.
        """
        place, _, options = url.removeprefix(SCHEME).partition("?")
        if _HOST_AND_PORT.fullmatch(place):
            place = f"http://{place}"
        if place.startswith(("http://", "https://")):
            uri, database, token = _server(place)
        elif place.endswith(".db") and "://" not in place:
            uri, database, token = place, "", ""
        else:
            raise _refused()
        collection, index = _options(options)
        return cls(uri, database, collection, index, token or os.environ.get(TOKEN_VARIABLE, ""))


def _server(place: str) -> tuple[str, str, str]:
    """``uri``, ``database`` and ``token`` of an http(s) address."""
    parts = urlsplit(place)
    database = parts.path.strip("/")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 19530)
    except ValueError:
        raise _refused() from None
    if not parts.hostname or (database and not _NAME.fullmatch(database)):
        raise _refused()
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    secret = [unquote(part) for part in (parts.username, parts.password) if part]
    return f"{parts.scheme}://{host}:{port}", database, ":".join(secret)


def _options(options: str) -> tuple[str, MilvusIndex]:
    """The collection and the index, where the address names them."""
    given = dict(parse_qsl(options, keep_blank_values=True))
    collection = given.pop("collection", DEFAULT_COLLECTION)
    index = given.pop("index", MilvusIndex.FLAT.value)
    if given or not _NAME.fullmatch(collection) or index not in set(MilvusIndex):
        raise _refused()
    return collection, MilvusIndex(index)


def _refused() -> InvalidInput:
    # The address is not repeated, since it may carry a token.
    return InvalidInput(
        f"the address of a gallery in Milvus must be {FORM}; a collection's name is of letters, digits and _"
    )
