"""When a picture was taken, by what its file says: EXIF's DateTimeOriginal, else the file's time."""

import re
import struct
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path

_EXIF_IFD, _DATE_TIME_ORIGINAL, _OFFSET_TIME_ORIGINAL = 0x8769, 0x9003, 0x9011
_ASCII = 2
_HEAD = b"Exif\0\0"
_OFFSET = re.compile(r"[+-]\d\d:\d\d")


def captured_at(path: str | PathLike[str]) -> datetime:
    """When an image file was captured, in UTC.

    That is EXIF's DateTimeOriginal with its OffsetTimeOriginal (local time of this machine where EXIF states
    no offset), else the file's modification time.

    Args:
        path: JPEG, PNG, WebP and TIFF can carry EXIF; any other file is dated by its modification time.

    Raises:
        OSError: The file cannot be read.
    """
    file = Path(path)
    return exif_moment(file.read_bytes()) or datetime.fromtimestamp(file.stat().st_mtime, UTC)


def exif_moment(data: bytes) -> datetime | None:
    """EXIF's DateTimeOriginal of an image file in UTC, or ``None`` where it has none that can be read."""
    try:
        tiff = _tiff(data)
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        (first,) = struct.unpack_from(order + "I", tiff, 4)
        (exif,) = struct.unpack_from(order + "I", tiff, _entries(tiff, first, order)[_EXIF_IFD] + 8)
        entries = _entries(tiff, exif, order)
        taken = datetime.strptime(_text(tiff, entries[_DATE_TIME_ORIGINAL], order), "%Y:%m:%d %H:%M:%S")
        told = entries.get(_OFFSET_TIME_ORIGINAL)
        offset = None if told is None else _OFFSET.fullmatch(_text(tiff, told, order))
        return (datetime.fromisoformat(f"{taken}{offset.group()}") if offset else taken).astimezone(UTC)
    # A file that is broken, or says nothing of its time, is dated otherwise.
    except (KeyError, IndexError, ValueError, OverflowError, struct.error):
        return None


def _tiff(data: bytes) -> bytes:
    """The block of EXIF in an image file, which is a small TIFF file; empty where there is none."""
    if data[:2] == b"\xff\xd8":
        return _in_jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _in_chunks(data, 8, b"eXIf", ">I4s", length_first=True)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _in_chunks(data, 12, b"EXIF", "<4sI", length_first=False).removeprefix(_HEAD)
    return data


def _in_jpeg(data: bytes) -> bytes:
    """JPEG's segment APP1, before the picture itself."""
    at = 2
    while data[at] == 0xFF and data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == _HEAD:
            return data[at + 10 : at + 2 + length]
        at += 2 + length
    return b""


def _in_chunks(data: bytes, at: int, name: bytes, head: str, length_first: bool) -> bytes:
    """A chunk of PNG (with a check sum behind each) or WebP (each of an even length)."""
    while True:
        pair = struct.unpack_from(head, data, at)
        length, kind = pair if length_first else pair[::-1]
        if kind == name:
            return data[at + 8 : at + 8 + length]
        at += 8 + length + (4 if length_first else length % 2)


def _entries(tiff: bytes, at: int, order: str) -> dict[int, int]:
    """Where each tag of a TIFF directory has its entry: tag, type, count, and value or where it is."""
    (count,) = struct.unpack_from(order + "H", tiff, at)
    places = range(at + 2, at + 2 + 12 * count, 12)
    return {struct.unpack_from(order + "H", tiff, place)[0]: place for place in places}


def _text(tiff: bytes, entry: int, order: str) -> str:
    _, kind, count, place = struct.unpack_from(order + "HHII", tiff, entry)
    if kind != _ASCII:
        raise ValueError(f"expected text, got type {kind}")
    start = entry + 8 if count <= 4 else place
    return tiff[start : start + count].split(b"\0")[0].decode("ascii").strip()
