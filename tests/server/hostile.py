"""A corpus of malformed and hostile requests, made and not stored: the same at each run.

``refused()`` must all be answered with a 4xx problem; ``survived()`` are odd and may be taken.
Run as a script it lists them.
"""

import io
import json
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, features

MEGABYTE = 1 << 20
MAX_BYTES = 20 * MEGABYTE
BOUNDARY = "peca-boundary"
ABOUT = {"camera_id": "cam1", "modality": "infrared", "captured_at": "2026-03-01T22:15:00Z"}


@dataclass(frozen=True)
class Hostile:
    """One request."""

    name: str
    body: bytes = b""
    path: str = "/search"
    method: str = "POST"
    headers: dict[str, str] = field(
        default_factory=lambda: {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    )


def refused() -> Iterator[Hostile]:
    """Requests that no server may take."""
    for name, data in [*truncations(), *bit_flips(), *bombs(), *strangers(), *damaged(), *animations()]:
        yield Hostile(name, form(image=data, query_modality="visible"))
        yield Hostile(f"{name}, ingested", ingest(data), "/images")
    yield from forms()
    yield from texts()
    yield from metadata()
    yield from addresses()


def survived() -> Iterator[Hostile]:
    """Requests that may be taken or refused, and must do no harm."""
    for name, data in [*scan_flips(), *odd_pictures()]:
        yield Hostile(name, form(image=data, query_modality="visible"))
        yield Hostile(f"{name}, ingested", ingest(data), "/images")
    for name in TRAVERSALS:
        yield Hostile(f"file name {name!r}", ingest(jpeg(), name), "/images")
        yield Hostile(f"image id {name!r}", ingest(jpeg(), image_id=name), "/images")


TRAVERSALS = (
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/etc/passwd",
    "C:\\boot.ini",
    "images/../../keys.json",
    "%2e%2e%2fkeys.json",
    "....//....//keys.json",
    "a\u202egpj.exe",
    ".",
    "..",
    "~",
    "$(reboot)",
    "'; DROP TABLE images; --",
    "x" * 199,
)


def form(**fields: bytes | str | list[str]) -> bytes:
    """A multipart form; bytes are files."""
    parts = []
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            file = '; filename="a.jpg"' if isinstance(one, bytes) else ""
            data = one if isinstance(one, bytes) else one.encode(errors="surrogatepass")
            head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
            parts.append(head.encode(errors="surrogatepass") + data + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def ingest(data: bytes, filename: str = "a.jpg", **said: object) -> bytes:
    """The form of one ingested file."""
    escaped = filename.replace("\\", "\\\\").replace('"', '\\"').encode()
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="'.encode()
    about = json.dumps([{"filename": filename, **ABOUT, **said}])
    return head + escaped + b'"\r\n\r\n' + data + b"\r\n" + form(metadata=about)


def picture() -> Image.Image:
    """Something to encode."""
    drawn = np.random.default_rng(5).integers(0, 255, (12, 6, 3), dtype=np.uint8)
    return Image.fromarray(drawn).resize((48, 96))


def encoded(form: str, **options: object) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    picture().save(buffer, form, **options)
    return buffer.getvalue()


def jpeg(**options: object) -> bytes:
    """The picture as a JPEG."""
    return encoded("JPEG", **options)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, depth: int = 8, colour: int = 2, *more: bytes) -> bytes:
    """A PNG of any header, with any compressed data."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (png_chunk(b"IHDR", header), *more, png_chunk(b"IDAT", data), png_chunk(b"IEND", b""))
    )


def tiff(entries: list[tuple[int, int, int, int]], rest: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF of one directory; an entry is tag, type, count, value or offset."""
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + struct.pack("<I", following) + rest


def jpeg_markers(data: bytes) -> list[int]:
    """Where each segment of a JPEG begins."""
    return [at.start() for at in re.finditer(rb"\xff[\xc0-\xcf\xda\xdb\xdd\xe0-\xef\xfe]", data)]


def truncations() -> Iterator[tuple[str, bytes]]:
    """Files that end at each marker or chunk, and a byte or four behind it."""
    for kind, options in (("baseline", {}), ("progressive", {"progressive": True})):
        data = jpeg(**options)
        for at in jpeg_markers(data):
            for more in (0, 2, 4):
                yield f"{kind} JPEG cut at byte {at + more}", data[: at + more]
        for share in (0.5, 0.7, 0.9):
            yield f"{kind} JPEG cut at {share:.0%}", data[: int(len(data) * share)]
    data = encoded("PNG")
    for at in [match.start() - 4 for match in re.finditer(rb"IHDR|IDAT", data)]:
        for more in (0, 4, 8, 12):
            yield f"PNG cut at byte {at + more}", data[: at + more]
    for form_name in ("WEBP", "TIFF", "BMP", "PNG"):
        data = encoded(form_name)
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            yield f"{form_name} cut at {share:.0%}", data[: int(len(data) * share)]
    for at in (0, 1, 2, 4, 8, 11):
        yield f"WebP cut at byte {at}", encoded("WEBP")[:at]


def bit_flips() -> Iterator[tuple[str, bytes]]:
    """A PNG with one bit changed where its check sums see it."""
    data = encoded("PNG")
    for at in range(33):
        yield f"PNG with byte {at} flipped", data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def scan_flips() -> Iterator[tuple[str, bytes]]:
    """Files with one bit changed in compressed data that has no check sum."""
    for form_name in ("JPEG", "WEBP", "BMP", "TIFF"):
        data = encoded(form_name)
        for at in np.random.default_rng(3).integers(20, len(data), 10).tolist():
            yield f"{form_name} with byte {at} flipped", data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that would take much."""
    zeros = zlib.compress(bytes(MEGABYTE), 9)
    for width, height in ((60_000, 60_000), (2**31 - 1, 1), (1, 2**31 - 1), (40_001, 1000), (9000, 9000)):
        yield f"PNG of {width} x {height}", png(width, height, zeros)
    yield "PNG of 0 x 0", png(0, 0, zeros)
    yield "PNG of 16 bits and 50,000 x 50,000", png(50_000, 50_000, zeros, 16, 6)
    yield "PNG with less data than pixels", png(3000, 3000, zeros)
    yield (
        "PNG with a compressed text of 256 MB",
        png(8, 8, zeros, 8, 2, png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(256 * MEGABYTE), 9))),
    )
    yield (
        "PNG with a compressed profile of 256 MB",
        png(100, 100, b"", 8, 2, png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(256 * MEGABYTE), 9))),
    )
    for width, height in ((2**31 - 1, 2**31 - 1), (65_000, 65_000), (-5, 40)):
        head = b"BM" + struct.pack(
            "<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0
        )
        yield f"BMP of {width} x {height}", head
    data = jpeg()
    at = next(match.start() for match in re.finditer(rb"\xff\xc0", data))
    yield "JPEG of 65,500 x 65,500", data[: at + 5] + struct.pack(">HH", 65_500, 65_500) + data[at + 9 :]
    yield "JPEG of 65,500 x 0", data[: at + 5] + struct.pack(">HH", 0, 65_500) + data[at + 9 :]
    yield "WebP of 16,383 x 16,383", webp_header(16_383, 16_383)
    pixels = [(256, 4, 1, 100_000), (257, 4, 1, 100_000), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    yield "TIFF of 100,000 x 100,000", tiff([*pixels, (273, 4, 1, 8), (278, 4, 1, 1), (279, 4, 1, 1)])
    yield "too many bytes", jpeg() + bytes(MAX_BYTES)
    marker = b"\xff\xe1" + struct.pack(">H", 65_535) + b"Exif\0\0" + bytes(65_527)
    yield "JPEG with 21 MB of EXIF", data[:2] + marker * 325 + data[2:]
    yield from scan_bombs()
    yield from part_bombs()


def progressive(scans: int, side: int = 2000) -> bytes:
    """A grey JPEG that goes over its picture so many times, at 65 bytes a time."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 128).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (scans - data.count(b"\xff\xda")) + data[-2:]


def scan_bombs() -> Iterator[tuple[str, bytes]]:
    """Progressive JPEGs whose every scan goes over the whole picture: 20 MB of them would take an hour."""
    data = progressive(10_000)
    first = data.index(b"\xff\xda")
    yield "JPEG of 101 scans", progressive(101, 64)
    yield "JPEG of 10,000 scans", data
    yield "JPEG of 10,000 scans behind a fill byte each", data.replace(b"\xff\xda", b"\xff\xff\xda")
    yield "JPEG of 10,000 scans behind a marker without length", data[:first] + b"\xff\x01" + data[first:]
    yield "JPEG of 10,000 scans behind a restart", data[:first] + b"\xff\xd0" + data[first:]
    yield "JPEG of 10,000 scans behind a comment", data[:2] + b"\xff\xfe\0\6\xff\xd9\xff\xd9" + data[2:]


def part_bombs() -> Iterator[tuple[str, bytes]]:
    """Files of very many parts with nothing in them, or of a form that makes much of a few bytes."""
    data, most = jpeg(), 6 * MEGABYTE
    for name, part in (
        ("empty segments", b"\xff\xe1\0\2"),
        ("segments of no length", b"\xff\xe1\0\0"),
        ("empty comments", b"\xff\xfe\0\2"),
        ("empty tables", b"\xff\xdb\0\2"),
        ("ends", b"\xff\xd9"),
        ("fill bytes", b"\xff"),
        ("bytes between segments", b"a"),
    ):
        yield f"JPEG of 6 MB of {name}", data[:2] + part * (most // len(part)) + data[2:]
    lines = zlib.compress(bytes(96 * 145))
    for name, chunk in (
        ("empty data", png_chunk(b"IDAT", b"")),
        ("empty text", png_chunk(b"tEXt", b"a\0")),
        ("unknown chunks", png_chunk(b"abCd", b"")),
    ):
        yield f"PNG of 6 MB of {name}", png(48, 96, lines, 8, 2, chunk * (most // len(chunk)))
    chunks = b"abcd\0\0\0\0" * (most // 8)
    yield "WebP of 6 MB of empty chunks", b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks
    for name, width, height, compression in (
        ("8", 6000, 6000, 1),
        ("4", 6000, 6000, 2),
        ("one line of 8", 40_000_000, 1, 1),
    ):
        runs = b"\1\5\0\0" if height == 1 else b"\1\5" * (most // 2)
        head = struct.pack(
            "<IHHIIiiHHIIiiII",
            1082,
            0,
            0,
            1078,
            40,
            width,
            height,
            1,
            8 // compression,
            compression,
            4,
            0,
            0,
            16,
            0,
        )
        yield f"BMP of runs of {name} bits", b"BM" + head + bytes(1024) + runs
    grey = [(256, 4, 1, 10), (257, 4, 1, 4_000_000), (258, 3, 1, 8), (262, 3, 1, 1), (278, 4, 1, 1)]
    strips = [(273, 4, 4_000_000, 300), (279, 4, 4_000_000, 300)]
    yield "TIFF of 4 million strips", tiff(sorted([*grey, (259, 3, 1, 1), *strips]), bytes(16_000_300))
    small = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (262, 3, 1, 1)]
    tiles = [(322, 4, 1, 60_000), (323, 4, 1, 30_000), (324, 4, 1, 300), (325, 4, 1, 12)]
    for compression in (1, 5, 8):
        entries = sorted([*small, (259, 3, 1, compression), *tiles])
        yield f"TIFF of a tile of 60,000 x 30,000, compression {compression}", tiff(entries, bytes(400))
    entries = [*small, (259, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 64)]
    many = [(40_000 + number % 20_000, 4, 4_000_000, 800_000) for number in range(60_000)]
    yield "TIFF of 60,000 tags over the same 16 MB", tiff(sorted(entries + many), bytes(18_000_000))
    second = tiff([*entries], bytes(100), following=200)[:200].ljust(200, b"\0") + tiff(many)[8:]
    yield "TIFF whose second directory has 60,000 tags", second + bytes(18_000_000)


def webp_header(width: int, height: int) -> bytes:
    """A WebP whose header says a size, and which has no picture."""
    extended = struct.pack("<I", 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", len(extended)) + extended
    return b"RIFF" + struct.pack("<I", len(body)) + body


def strangers() -> Iterator[tuple[str, bytes]]:
    """Files that are no picture of a format on the list, whatever they are called; and polyglots."""
    for form_name in ("GIF", "PPM", "ICO", "TGA", "PCX", "DDS", "SGI", "PDF", "EPS", "MSP", "XBM"):
        mode = "1" if form_name in ("MSP", "XBM") else "RGB"
        buffer = io.BytesIO()
        picture().convert(mode).save(buffer, form_name)
        yield f"{form_name} called a JPEG", buffer.getvalue()
    if features.check("jpg_2000"):
        yield "JPEG 2000", encoded("JPEG2000")
    if features.check("avif"):
        yield "AVIF", encoded("AVIF")
    laughs = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><svg>&b;</svg>'
    yield from {
        "empty": b"",
        "one byte": b"\xff",
        "zeros": bytes(4096),
        "text": b"not an image " * 50,
        "HTML": b"<html><script>alert(1)</script></html>",
        "PHP": b"<?php system($_GET['x']); ?>",
        "SVG": laughs,
        "SVG of another file": b'<svg><image href="file:///etc/passwd"/></svg>',
        "ZIP": b"PK\x03\x04" + bytes(100),
        "gzip": b"\x1f\x8b\x08" + bytes(100),
        "ELF": b"\x7fELF\x02\x01\x01" + bytes(100),
        "pickle": b"\x80\x04\x95" + bytes(100),
        "MP4": b"\0\0\0\x18ftypmp42" + bytes(100),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "a JPEG behind a PDF's head": b"%PDF-1.7\n" + jpeg(),
        "a JPEG behind a GIF's head": b"GIF89a" + jpeg(),
        "a JPEG behind a ZIP's head": b"PK\x03\x04" + jpeg(),
        "a JPEG behind HTML": b"<html><!--" + jpeg(),
        "a PNG behind a space": b" " + encoded("PNG"),
        "a JPEG in base64": b"data:image/jpeg;base64,/9j/4AAQSkZJRgABAQ==",
    }.items()


def damaged() -> Iterator[tuple[str, bytes]]:
    """Files whose structure leads nowhere, or round in circles."""
    image = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    yield "TIFF whose data lie beyond its end", tiff([*image, (273, 4, 1, 2**31), (279, 4, 1, 64)])
    yield "TIFF of four thousand million values", tiff([*image, (273, 4, 2**32 - 1, 8), (279, 4, 1, 64)])
    yield "TIFF of unknown compression", tiff([*image[:3], (259, 3, 1, 65_000), image[4], (273, 4, 1, 8)])
    yield "TIFF without a directory", b"II*\0" + struct.pack("<I", 2**31)
    yield "TIFF with an empty directory", tiff([])
    yield "TIFF of two byte orders", b"MI*\0" + bytes(50)
    yield "PNG without data", b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", bytes(13)) + png_chunk(b"IEND", b"")
    yield "PNG of an unknown kind of colour", png(8, 8, zlib.compress(bytes(400)), 8, 7)
    yield "PNG of 3 bits", png(8, 8, zlib.compress(bytes(400)), 3, 2)
    yield "PNG whose chunk is longer than the file", b"\x89PNG\r\n\x1a\n\x7f\xff\xff\xffIHDR" + bytes(30)
    yield "JPEG of markers alone", b"\xff\xd8" + b"\xff\xd9" * 200
    yield "JPEG of a start alone", b"\xff\xd8\xff"
    yield "JPEG with a segment of no length", b"\xff\xd8\xff\xe0\0\0" + bytes(50)
    yield "JPEG without tables", b"\xff\xd8" + jpeg()[jpeg().index(b"\xff\xda") :]
    yield "WebP of no length", b"RIFF\0\0\0\0WEBP"
    yield "WebP of another RIFF", b"RIFF\x24\0\0\0WAVEfmt " + bytes(30)
    yield (
        "BMP of 7 bits",
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 8, 8, 1, 7, 0, 0, 0, 0, 0, 0),
    )


def animations() -> Iterator[tuple[str, bytes]]:
    """Files of more than one picture."""
    other = picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for form_name in ("WEBP", "PNG", "TIFF"):
        yield f"{form_name} of two pictures", encoded(form_name, save_all=True, append_images=[other])


def odd_pictures() -> Iterator[tuple[str, bytes]]:
    """Sound pictures with much or strange beside them."""
    data = jpeg()
    marker = b"\xff\xe1" + struct.pack(">H", 65_535) + b"Exif\0\0" + bytes(65_527)
    yield "JPEG with 10 MB of EXIF", data[:2] + marker * 160 + data[2:]
    yield "JPEG with EXIF of noise", jpeg(exif=b"Exif\0\0" + np.random.default_rng(1).bytes(500))
    loop = b"Exif\0\0" + tiff([(0x8769, 4, 1, 8), (0x8825, 4, 1, 8)], following=8)
    yield "JPEG with EXIF in a circle", jpeg(exif=loop)
    turn = b"Exif\0\0" + tiff([(0x0112, 3, 1, 77)])
    yield "JPEG turned 77 ways", jpeg(exif=turn)
    image = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    circle = tiff([*image, (273, 4, 1, 90), (279, 4, 1, 64)], bytes(64), following=8)
    yield "TIFF whose directory is itself the next", circle
    yield "PNG with a palette picture and no palette", png(8, 8, zlib.compress(bytes(72)), 8, 3)
    yield "JPEG with a ZIP behind it", data + b"PK\x03\x04" + bytes(1000)
    yield "JPEG with a script in its comment", jpeg(comment=b"<script>alert(1)</script>")
    yield "PNG of one pixel", png(1, 1, zlib.compress(bytes(4)))
    yield "PNG of one line of 40,000", png(40_000, 1, zlib.compress(bytes(120_001)))
    yield "JPEG of 100 scans", progressive(100)
    yield "JPEG cut before its end marker", data[:-2]
    yield "JPEG with two ends", data + b"\xff\xd9"
    yield (
        "JPEG with a moving picture of noise behind it",
        data + np.random.default_rng(2).bytes(10 * MEGABYTE),
    )
    small = np.random.default_rng(4).bytes(4000)
    tags = b"Exif\0\0" + tiff([(1000 + number, 1, 60_000, 8) for number in range(4000)], small)
    yield (
        "JPEG with 4,000 tags over the same 50 KB",
        data[:2] + b"\xff\xe1" + struct.pack(">H", len(tags) + 2) + tags + data[2:],
    )
    yield "PNG as large as may be", png(8000, 4900, zlib.compress(bytes(4900 * 24_001), 1))
    wide = zlib.compress(b"".join(b"\0" + bytes(9000) for _ in range(4400)), 1)
    yield "PNG of 16 bits, as large as may be", png(4500, 4400, wide, 16, 0)
    for dtype, value in (("float32", np.nan), ("float32", np.inf), ("int32", -(2**31)), ("float32", 3e38)):
        buffer = io.BytesIO()
        samples = np.full((9, 9), value, dtype)
        samples[0] = -samples[0] if dtype == "float32" else samples[0]
        Image.fromarray(samples).save(buffer, "TIFF")
        yield f"TIFF of {dtype} {value}", buffer.getvalue()


def forms() -> Iterator[Hostile]:
    """Bodies that are no form, or a form of nonsense."""
    image = jpeg()
    sound = form(image=image, query_modality="visible")
    kind = "content-type"
    for name, content_type, body in (
        ("no boundary", "multipart/form-data", sound),
        ("another boundary", "multipart/form-data; boundary=other", sound),
        ("a boundary of 10,000", "multipart/form-data; boundary=" + "x" * 10_000, sound),
        ("an empty boundary", "multipart/form-data; boundary=", sound),
        ("no end", f"multipart/form-data; boundary={BOUNDARY}", sound[:-20]),
        ("a nested form", "multipart/mixed; boundary=" + BOUNDARY, sound),
        ("JSON", "application/json", b'{"image": "?"}'),
        ("JSON of a hundred thousand brackets", "application/json", b"[" * 100_000),
        ("XML", "application/xml", b"<a/>"),
        ("no type", "", sound),
        ("a type of nonsense", "\x7f/\x7f", sound),
        ("url-encoded", "application/x-www-form-urlencoded", b"image=a&query_modality=visible"),
        ("a file field as text", f"multipart/form-data; boundary={BOUNDARY}", form(image="text")),
        (
            "10,000 parameters",
            f"multipart/form-data; boundary={BOUNDARY}" + ";a=b" * 10_000,
            form(image="text"),
        ),
        *(
            (
                f"text in {charset}",
                f"multipart/form-data; boundary={BOUNDARY}; charset={charset}",
                form(**{name: "x"}),
            )
            for charset, name in (
                ("punycode", "a-" + "a" * 500_000),
                ("unicode_escape", "\\ud800"),
                ("raw_unicode_escape", "\\ud800"),
                ("utf-7", "+2AA-"),
                ("utf-16", "ab"),
                ("idna", "a." * 50_000),
                ("zlib", "ab"),
                ("x" * 5000, "ab"),
            )
        ),
    ):
        yield Hostile(f"form: {name}", body, headers={kind: content_type})
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"'.encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    for name, body in (
        ("empty", b""),
        ("a part without a name", f"--{BOUNDARY}\r\n\r\n\r\n--{BOUNDARY}--".encode()),
        ("a part with 100,000 heads", head + b"\r\nX-A: b" * 100_000 + b"\r\n\r\n" + tail),
        ("a part with a head of 1 MB", head + b"\r\nX-A: " + b"b" * MEGABYTE + b"\r\n\r\n" + tail),
        ("5,000 fields", form(**{f"f{number}": "x" for number in range(5000)})),
        ("5,000 files", form(image=[], **{f"f{number}": b"x" for number in range(5000)})),
        ("a field of 5 MB", form(image=image, query_modality="v" * 5 * MEGABYTE)),
        ("bytes beyond UTF-8", form(image=image, query_modality="\udcff")),
        ("a gzipped body", zlib.compress(sound)),
        ("a field named by half a surrogate", form(**{"\ud800": "x"})),
        ("a field named by control characters", form(**{"\x1b[2J\n": "x"})),
        ("a field named by 4,000 characters", form(**{"n" * 4000: "x"})),
        ("a disposition of 1 MB of parameters", head + b";a=b" * (MEGABYTE // 4) + b"\r\n\r\n" + tail),
        ("a name in parts", head.replace(b"name=", b"name*0*=utf-8''%ff; name*1=") + b"\r\n\r\nx" + tail),
    ):
        yield Hostile(f"form: {name}", body)
    for field_name, value in (
        ("limit", "-1"),
        ("limit", "0"),
        ("limit", "1e9"),
        ("limit", "9" * 5000),
        ("limit", "NaN"),
        ("score_threshold", "nan"),
        ("score_threshold", "1e999"),
        ("score_threshold", "2"),
        ("after", "yesterday"),
        ("after", "2026-01-01T00:00:00"),
        ("before", "99999-01-01T00:00:00Z"),
        ("before", "-0001-01-01T00:00:00Z"),
        ("camera_ids", "../../etc"),
        ("camera_ids", "x" * 5000),
        ("gallery_modality", "ultraviolet"),
        ("query_modality", "'; DROP TABLE images; --"),
        ("case", "x" * 500_000),
        ("case", "\x1b[2J"),
        ("reason", "a\x00b"),
        ("group_by", "__class__"),
        ("rerank", "perhaps"),
        ("nonsense", "1"),
    ):
        fields = {"query_modality": "visible", field_name: value}
        yield Hostile(f"field {field_name}={value[:20]}", form(image=image, **fields))


def texts() -> Iterator[Hostile]:
    """Bodies of JSON that are none, or want too much."""
    json_type = {"content-type": "application/json"}
    for path in ("/keys", "/session", "/searches/x/verdicts", "/keys/x/rotate"):
        for name, body in {
            "nothing": b"",
            "an open bracket": b"{",
            "a hundred thousand brackets": b"[" * 100_000,
            "a hundred thousand objects in each other": b'{"key":' * 100_000,
            "13 MB of lists": b"[" + b"[]," * 4_500_000 + b"0]",
            "13 MB of one text": b'{"key": "' + b"a" * 13_000_000 + b'"}',
            "half a surrogate": b'{"key": "\\ud800", "name": "\\ud800", "\\ud800": 1}',
            "a number of ten thousand digits": b'{"key": ' + b"9" * 10_000 + b"}",
            "no number": b'{"overlap_hours": NaN, "requests_per_minute": 1e999}',
            "bytes beyond UTF-8": b'{"key": "\xff\xfe"}',
        }.items():
            yield Hostile(f"{path}: {name}", body, path, headers=json_type)


def metadata() -> Iterator[Hostile]:
    """Descriptions of images that are none."""
    deep = "[" * 50_000 + "]" * 50_000
    for name, said in {
        "no JSON": "{",
        "empty": "",
        "null": "null",
        "a number": "17",
        "an object": "{}",
        "no images": "[]",
        "fifty thousand brackets": deep,
        "a number of ten thousand digits": f'[{{"filename": {"9" * 10_000}}}]',
        "half a surrogate": '[{"filename": "\\ud800"}]',
        "NaN": '[{"filename": NaN}]',
        "a key twice": '[{"filename": "a.jpg", "filename": "b.jpg"}]',
        "a prototype": '[{"__proto__": {"admin": true}, "filename": "a.jpg"}]',
        "half a million objects": "[" + ",".join(["{}"] * 300_000) + "]",
    }.items():
        data = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n'
        body = data.encode() + jpeg() + b"\r\n" + form(metadata=said)
        yield Hostile(f"metadata: {name}", body, "/images")
    for member, value in (
        ("filename", "another.jpg"),
        ("filename", "a.jpg\x00.exe"),
        ("camera_id", ""),
        ("camera_id", "a,b"),
        ("camera_id", "x" * 5000),
        ("camera_id", "nul\x00"),
        ("camera_id", None),
        ("image_id", "x" * 5000),
        ("image_id", ""),
        ("image_id", {"a": 1}),
        ("modality", "ultraviolet"),
        ("captured_at", "now"),
        ("captured_at", "2026-01-01T00:00:00"),
        ("captured_at", 1e300),
        ("captured_at", "99999-01-01T00:00:00Z"),
        ("person_id", "x" * 5000),
        ("track_id", ["a"]),
        ("source", "x" * 100_000),
        ("is_admin", True),
    ):
        about = json.dumps([{"filename": "a.jpg", **ABOUT, member: value}])
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n'
        body = head.encode() + jpeg() + b"\r\n" + form(metadata=about)
        yield Hostile(f"metadata: {member}={str(value)[:20]}", body, "/images")


def addresses() -> Iterator[Hostile]:
    """Paths that lead out, or nowhere."""
    for path in (
        "/images/..%2f..%2f..%2fetc%2fpasswd",
        "/images/..%2f..%2fkeys.json/thumbnail",
        "/images/%2e%2e/thumbnail",
        "/images/%00",
        "/images/%ff%fe/thumbnail",
        "/images/" + "a" * 20_000,
        "/images/..%5c..%5ckeys.json",
        "/web/..%2f..%2fpyproject.toml",
        "/web/%2e%2e%2f%2e%2e%2fserver%2fapp.py",
        "/web//etc/passwd",
        "/searches/..%2f..%2faudit.jsonl",
        "/keys.json",
        "/audit.jsonl",
        "/gallery.sqlite3",
        "/.env",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/audit?limit=999999999",
        "/audit?cursor=-1",
        "/audit?after=never",
        "/docs",
        "/wp-admin.php",
    ):
        yield Hostile(f"GET {path[:60]}", b"", path, "GET", {})
    for method in ("TRACE", "PUT", "PATCH", "OPTIONS", "PROPFIND", "LOCK"):
        yield Hostile(f"{method} /search", form(image=jpeg()), method=method)


if __name__ == "__main__":
    for one in [*refused(), *survived()]:
        print(f"{one.method} {one.path[:30]}  {len(one.body):>10,}  {one.name}")
