"""Addresses of this server that its answers name."""

from urllib.parse import quote


def thumbnail_url(image_id: str) -> str:
    """The path of an image's thumbnail."""
    return f"/images/{quote(image_id, safe='')}/thumbnail"
