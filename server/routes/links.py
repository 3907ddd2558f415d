"""Addresses of this server that its answers name."""

import re
from urllib.parse import quote


def thumbnail_url(image_id: str) -> str:
    """The path of an image's thumbnail."""
    return f"/images/{quote(image_id, safe='')}/thumbnail"


def file_name(name: str) -> str:
    """``name`` as that of a file, for a header and any file system: what is odd in it becomes ``_``."""
    return re.sub("[^A-Za-z0-9-]", "_", name)
