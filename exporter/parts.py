"""Of how many parts an image file is made, counted before a decoder works through each of them.

A picture's size says little of what it takes to decode: each scan of a progressive JPEG goes over the whole
picture, each segment, chunk and strip costs the same whether or not anything is in it, and a tile is decoded
whole however little of it is in the picture. A few thousand bytes could keep a processor busy for an hour.
"""

import re
import struct
from contextlib import suppress

from exporter.errors import ImageTooLarge, ImageTooManyParts, NotAnImage

MAX_SCANS = 100
"""Of a progressive JPEG; encoders write about ten."""
MAX_PARTS = 50_000

# Restarts and TEM, which have no length, are passed by like bytes that are no marker.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_TIFF_ORDERS = {b"II": "<", b"MM": ">"}
_TIFF_BIG = 43
_TIFF_BYTES = {1, 2, 6, 7}
_TIFF_SHORT = 3
_TILE_WIDTH, _TILE_LENGTH = 322, 323


def check_parts(data: bytes, *, max_pixels: int) -> None:
    """Refuse a file of more parts than a picture is made of; one that is damaged is its decoder's to refuse.

    Args:
        data: The bytes of an image file of any format.
        max_pixels: Most of one tile.

    Raises:
        ImageTooManyParts: It has too many.
        ImageTooLarge: A tile has too many pixels.
        NotAnImage: It is a TIFF file in the form of those beyond 4 GB.
    """
    with suppress(struct.error):
        if data.startswith(b"\xff\xd8"):
            _check_jpeg(data)
        elif data.startswith(_PNG_MAGIC):
            _check_png(data)
        elif data.startswith(b"RIFF"):
            _check_webp(data)
        elif (order := _TIFF_ORDERS.get(data[:2])) is not None:
            _check_tiff(data, order, max_pixels)


def _check_jpeg(data: bytes) -> None:
    """Step over segments as decoders do, which pass by lengths that cannot be and by bytes between."""
    at, parts, scans = 2, 0, 0
    while (marker := _JPEG_MARKER.search(data, at)) is not None:
        # Up to the first scan each byte between two segments is looked at by itself.
        parts += 1 if scans else marker.end() - at - 1
        at, code = marker.end(), marker[1][0]
        if code == _EOI and scans:
            return
        scans += code == _SOS
        if scans > MAX_SCANS:
            raise ImageTooManyParts(f"expected at most {MAX_SCANS} scans, got more; save the image anew")
        _check_count(parts)
        if code not in (_SOI, _EOI):
            at += max(2, struct.unpack_from(">H", data, at)[0])
    if not scans:
        _check_count(parts + len(data) - at)


def _check_png(data: bytes) -> None:
    at, parts = len(_PNG_MAGIC), 0
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return
        at, parts = at + 12 + length, parts + 1
        _check_count(parts)


def _check_webp(data: bytes) -> None:
    at, parts = 12, 0
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    while at < end:
        length = struct.unpack_from("<I", data, at + 4)[0]
        at, parts = at + 8 + length + length % 2, parts + 1
        _check_count(parts)


def _check_tiff(data: bytes, order: str, max_pixels: int) -> None:
    """Count the numbers in the first two directories: of strips, of tiles, and whatever else there is."""
    if _TIFF_BIG in data[2:4]:
        raise NotAnImage("expected a TIFF file as those below 4 GB are, got BigTIFF; save the image anew")
    at = struct.unpack_from(f"{order}I", data, 4)[0]
    for _ in range(2):
        entries = struct.unpack_from(f"{order}H", data, at)[0]
        parts, tile = entries, {_TILE_WIDTH: 1, _TILE_LENGTH: 1}
        for place in range(at + 2, at + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(f"{order}HHI", data, place)
            parts += 0 if kind in _TIFF_BYTES else count
            if tag in tile:
                form = "H" if kind == _TIFF_SHORT else "I"
                tile[tag] = struct.unpack_from(order + form, data, place + 8)[0]
        _check_count(parts)
        if tile[_TILE_WIDTH] * tile[_TILE_LENGTH] > max_pixels:
            raise ImageTooLarge(f"expected tiles of at most {max_pixels:,} pixels, got larger ones")
        at = struct.unpack_from(f"{order}I", data, at + 2 + 12 * entries)[0]
        if at == 0:
            return


def _check_count(parts: int) -> None:
    if parts > MAX_PARTS:
        raise ImageTooManyParts(
            f"expected at most {MAX_PARTS:,} segments, chunks, strips or tiles, got more; save the image anew"
        )
