"""When a picture was taken, by what its file says: EXIF's DateTimeOriginal, else the file's time."""

import os
import re
import struct
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

_EXIF_IFD, _DATE_TIME_ORIGINAL, _OFFSET_TIME_ORIGINAL = 0x8769, 0x9003, 0x9011
_ASCII = 2
_HEAD = b"Exif\0\0"
_MOST_EXIF, _MOST_TEXT = 1 << 20, 64
_OFFSET = re.compile(r"[+-]\d\d:\d\d")


def captured_at(path: str | os.PathLike[str]) -> datetime:
    """When an image file was captured, in UTC.

    That is EXIF's DateTimeOriginal with its OffsetTimeOriginal (local time of this machine where EXIF states
    no offset), else the file's modification time.

    Args:
        path: JPEG, PNG, WebP and TIFF can carry EXIF; any other file is dated by its modification time.

    Raises:
        OSError: The file cannot be read.
    """
    with Path(path).open("rb") as file:
        return exif_moment(file) or datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)


def exif_moment(image: BinaryIO) -> datetime | None:
    """EXIF's DateTimeOriginal of an image file in UTC, or ``None`` where it has none that can be read.

    Of the file no more is read than leads there.
    """
    try:
        tiff = _tiff(image)
        order = {b"II": "<", b"MM": ">"}[_read(tiff, 0, 2)]
        (first,) = struct.unpack(order + "I", _read(tiff, 4, 4))
        (exif,) = struct.unpack(order + "I", _entries(tiff, first, order)[_EXIF_IFD][8:])
        entries = _entries(tiff, exif, order)
        taken = datetime.strptime(_text(tiff, entries[_DATE_TIME_ORIGINAL], order), "%Y:%m:%d %H:%M:%S")
        told = entries.get(_OFFSET_TIME_ORIGINAL)
        offset = None if told is None else _OFFSET.fullmatch(_text(tiff, told, order))
        return (datetime.fromisoformat(f"{taken}{offset.group()}") if offset else taken).astimezone(UTC)
    # A file that is broken, or says nothing of its time, is dated otherwise.
    except (KeyError, ValueError, OverflowError, struct.error):
        return None


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    """So many bytes from there; fewer where the file ends."""
    file.seek(at)
    return file.read(size)


def _tiff(image: BinaryIO) -> BinaryIO:
    """The block of EXIF in an image file, which is a small TIFF file; empty where there is none."""
    head = _read(image, 0, 12)
    if head[:2] == b"\xff\xd8":
        return BytesIO(_in_jpeg(image))
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return BytesIO(_in_chunks(image, 8, b"eXIf", ">I4s", length_first=True))
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return BytesIO(_in_chunks(image, 12, b"EXIF", "<4sI", length_first=False).removeprefix(_HEAD))
    return image


def _in_jpeg(image: BinaryIO) -> bytes:
    """JPEG's segment APP1, before the picture itself."""
    at = 2
    while True:
        mark, kind, length = struct.unpack(">BBH", _read(image, at, 4))
        if mark != 0xFF or kind == 0xDA:
            return b""
        if kind == 0xE1 and _read(image, at + 4, len(_HEAD)) == _HEAD:
            return _read(image, at + 10, max(0, length - 8))
        at += 2 + length


def _in_chunks(image: BinaryIO, at: int, name: bytes, head: str, length_first: bool) -> bytes:
    """A chunk of PNG (with a check sum behind each) or WebP (each of an even length)."""
    while True:
        pair = struct.unpack(head, _read(image, at, 8))
        length, kind = pair if length_first else pair[::-1]
        if kind == name:
            return _read(image, at + 8, min(length, _MOST_EXIF))
        at += 8 + length + (4 if length_first else length % 2)


def _entries(tiff: BinaryIO, at: int, order: str) -> dict[int, bytes]:
    """The entries of a TIFF directory by their tags: tag, type, count, and value or where it is."""
    (count,) = struct.unpack(order + "H", _read(tiff, at, 2))
    block = _read(tiff, at + 2, 12 * count)
    entries = (block[place : place + 12] for place in range(0, len(block) - 11, 12))
    return {struct.unpack(order + "H", entry[:2])[0]: entry for entry in entries}


def _text(tiff: BinaryIO, entry: bytes, order: str) -> str:
    kind, count, place = struct.unpack(order + "HII", entry[2:])
    if kind != _ASCII:
        raise ValueError(f"expected text, got type {kind}")
    text = entry[8 : 8 + count] if count <= 4 else _read(tiff, place, min(count, _MOST_TEXT))
    return text.split(b"\0")[0].decode("ascii").strip()
