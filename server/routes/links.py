"""Addresses of this server that its answers name."""

import re
from urllib.parse import quote

_PLAIN = re.compile(r"[\w.~-]+", re.ASCII)


def thumbnail_url(image_id: str) -> str:
    """The path of an image's thumbnail."""
    # A search tells of twenty or more, and most ids have nothing to quote.
    quoted = image_id if _PLAIN.fullmatch(image_id) else quote(image_id, safe="")
    return f"/images/{quoted}/thumbnail"


def file_name(name: str) -> str:
    """``name`` as that of a file, for a header and any file system: what is odd in it becomes ``_``."""
    return re.sub("[^A-Za-z0-9-]", "_", name)
