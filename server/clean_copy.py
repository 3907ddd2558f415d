"""The form in which an image file is stored: the same picture, without what else the file told.

Position, device, owner, thumbnails and data behind the picture's end are left out; how to turn the
picture stays. Compressed data are copied, not compressed anew: a JPEG, PNG or WebP file loses nothing
of its picture, and TIFF and BMP are written anew without loss.
"""

import io
import re
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from exporter.errors import ImageTruncated
from exporter.preprocess import decode, orientation, read_header

_ORIENTATION = 0x0112
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_WEBP_KEPT = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH"}
_WEBP_ALPHA, _WEBP_EXIF = 0x10, 0x08
# APP0 says that it is JFIF, APP14 which colour transform was used.
_JPEG_DROPPED = {*range(0xE1, 0xEE), 0xEF, 0xFE}
_JPEG_NEXT = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SOS, _EOI = 0xDA, 0xD9


def clean_copy(data: bytes, *, max_pixels: int) -> bytes:
    """An image file of the same picture that carries nothing else; that of a clean copy is itself.

    Args:
        data: A JPEG, PNG, WebP, BMP or TIFF file.
        max_pixels: Refused above.

    Raises:
        ImageRefused: It cannot be used. Damage of the compressed data themselves is not noticed here.
    """
    image = read_header(data, max_pixels=max_pixels)
    turn = orientation(image)
    exif = b"" if turn == 1 else _exif(turn)
    try:
        match image.format:
            case "JPEG" | "MPO":
                return _jpeg(data, exif)
            case "PNG":
                return _png(data, exif)
            case "WEBP":
                return _webp(data, exif)
    except (struct.error, IndexError, ValueError):
        pass  # an unusual file that its decoder may read all the same
    return _written_anew(data, max_pixels)


def _exif(turn: int) -> bytes:
    """EXIF data that say how to turn the picture, and nothing else."""
    exif = Image.Exif()
    exif[_ORIENTATION] = turn
    return exif.tobytes()


def _jpeg(data: bytes, exif: bytes) -> bytes:
    parts = [b"\xff\xd8"]
    added = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif if exif else b""
    for marker, segment in _jpeg_segments(data):
        if added and marker != 0xE0:
            parts.append(added)
            added = b""
        if marker not in _JPEG_DROPPED:
            parts.append(segment)
    return b"".join(parts)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each marker with its segment, and, after a start of scan, the scan's data; ends with the picture."""
    at = 2
    while True:
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        if data[at] != 0xFF:
            raise ValueError(f"expected a marker at byte {at}")
        marker = data[at + 1]
        if marker == _EOI:
            yield marker, data[at : at + 2]
            return
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if marker == _SOS:
            following = _JPEG_NEXT.search(data, end)
            if following is None:
                raise ValueError("the picture has no end")
            end = following.start()
        yield marker, data[at:end]
        at = end


def _png(data: bytes, exif: bytes) -> bytes:
    parts, at = [_PNG_MAGIC], len(_PNG_MAGIC)
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if kind in _PNG_KEPT:
            parts.append(data[at:end])
        if kind == b"IHDR" and exif:
            parts.append(_png_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
        if kind == b"IEND":
            return b"".join(parts)
        at = end


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _webp(data: bytes, exif: bytes) -> bytes:
    parts, at = [], 12
    end = min(len(data), 8 + struct.unpack_from("<I", data, 4)[0])
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"ANIM":
            raise ValueError("a single picture in the form of an animation")
        if kind in _WEBP_KEPT:
            parts.append(_webp_chunk(kind, data[at + 8 : at + 8 + length], bool(exif)))
        at += 8 + length + length % 2
    if exif:
        parts.append(_webp_chunk(b"EXIF", exif, True))
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_chunk(kind: bytes, content: bytes, has_exif: bool) -> bytes:
    if kind == b"VP8X":
        content = bytes([content[0] & _WEBP_ALPHA | _WEBP_EXIF * has_exif]) + content[1:]
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _written_anew(data: bytes, max_pixels: int) -> bytes:
    """The decoded picture, samples as they are meant, as an upright TIFF file compressed without loss."""
    # A copy has none of the tags that a file's own object would write again.
    plain = decode(data, max_pixels=max_pixels).copy()
    try:
        plain.info = {}
        buffer = io.BytesIO()
        plain.save(buffer, "TIFF", compression="tiff_adobe_deflate")
    except Exception as error:  # decoders of damaged bytes fail in more ways than they tell
        raise ImageTruncated(f"the image's data is cut short or damaged: {error}") from None
    return buffer.getvalue()
