"""What is stored of an image file: its picture, and nothing else that it told."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from exporter.errors import ImageRefused, NotAnImage
from exporter.preprocess import load_image, open_image
from server.clean_copy import clean_copy

MOST = 1_000_000
SECRET = b"secret-owner"
FORMS = {
    "JPEG": {"quality": 90},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
}


def photograph(mode: str = "RGB") -> Image.Image:
    drawn = np.random.default_rng(1).integers(0, 255, (40, 24, 3), dtype=np.uint8)
    return Image.fromarray(drawn).convert(mode)


def located(turn: int) -> Image.Exif:
    """EXIF data with an orientation, an owner and a place."""
    exif = Image.Exif()
    exif[0x0112] = turn
    exif[0x013B] = SECRET.decode()
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    return exif


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_place_and_owner_go_and_the_picture_stays(form: str, turn: int) -> None:
    data = encoded(photograph(), form, exif=located(turn), **FORMS[form])
    assert SECRET in data
    kept = clean_copy(data, max_pixels=MOST)
    assert SECRET not in kept
    assert not Image.open(io.BytesIO(kept)).getexif().get_ifd(0x8825)
    np.testing.assert_array_equal(np.asarray(open_image(kept)), np.asarray(open_image(data)))
    np.testing.assert_array_equal(load_image(kept, (32, 16)), load_image(data, (32, 16)))
    assert clean_copy(kept, max_pixels=MOST) == kept


def test_comments_profiles_and_what_stands_behind_the_picture_go() -> None:
    jpeg = encoded(photograph(), "JPEG", comment=SECRET, icc_profile=SECRET * 9, xmp=SECRET)
    assert SECRET not in clean_copy(jpeg + SECRET, max_pixels=MOST)
    png = encoded(photograph(), "PNG", icc_profile=SECRET * 9)
    chunk = b"tEXt" + SECRET
    text = png[:33] + b"\0\0\0\x0c" + chunk + zlib.crc32(chunk).to_bytes(4) + png[33:]
    assert open_image(text).size == (24, 40)
    assert clean_copy(png + SECRET, max_pixels=MOST) == clean_copy(png, max_pixels=MOST)
    assert SECRET not in clean_copy(text, max_pixels=MOST)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_every_kind_of_samples(mode: str) -> None:
    form = "TIFF" if mode == "CMYK" else "PNG"
    data = encoded(photograph(mode), form)
    kept = clean_copy(data, max_pixels=MOST)
    np.testing.assert_array_equal(np.asarray(open_image(kept)), np.asarray(open_image(data)))


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_raw_infrared_keeps_its_width(dtype: str) -> None:
    ramp = np.linspace(7000, 7100, 800).reshape(40, 20).astype(dtype)
    data = encoded(Image.fromarray(ramp), "TIFF")
    kept = clean_copy(data, max_pixels=MOST)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(kept))), ramp)
    assert clean_copy(kept, max_pixels=MOST) == kept


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """A TIFF file of Pillow's one of whose tags of one number says something else."""
    found = re.search(struct.pack("<HHI", tag, 3, 1), data, re.DOTALL)
    assert found is not None
    return data[: found.end()] + struct.pack("<H", value) + data[found.end() + 2 :]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_infrared_whose_least_sample_is_white_is_stored_as_it_is_meant(dtype: str) -> None:
    ramp = np.linspace(70, 210, 800).reshape(40, 20).astype(dtype)
    data = with_tag(encoded(Image.fromarray(ramp), "TIFF"), 262, 0)
    kept = clean_copy(data, max_pixels=MOST)
    stored = Image.open(io.BytesIO(kept))
    meant = -ramp if dtype == "float32" else np.iinfo(dtype).max - ramp
    np.testing.assert_array_equal(np.asarray(stored), meant)
    assert stored.tag_v2[262] == 1
    np.testing.assert_array_equal(np.asarray(open_image(kept)), np.asarray(open_image(data)))
    assert open_image(kept).getpixel((0, 0)) > open_image(kept).getpixel((19, 39))
    assert clean_copy(kept, max_pixels=MOST) == kept


def test_signed_samples_of_8_bits_are_stored_with_their_sign() -> None:
    ramp = np.linspace(-100, 120, 800).reshape(40, 20).astype(np.int8)
    data = encoded(Image.fromarray(ramp.view(np.uint8)), "TIFF", tiffinfo={339: 2})
    assert Image.open(io.BytesIO(data)).tag_v2[339] == (2,)
    kept = clean_copy(data, max_pixels=MOST)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(kept))), ramp)
    np.testing.assert_array_equal(np.asarray(open_image(kept)), np.asarray(open_image(data)))


def test_unsigned_samples_that_cannot_be_stored_as_they_are_are_refused() -> None:
    ramp = np.linspace(0, 2**31, 800).reshape(40, 20).astype(np.uint32)
    data = with_tag(encoded(Image.fromarray(ramp.view(np.int32)), "TIFF"), 339, 1)
    with pytest.raises(NotAnImage, match="below 2,147,483,648"):
        clean_copy(data, max_pixels=MOST)


def test_sixteen_bits_of_grey_beside_transparency_are_stored_and_read_again() -> None:
    ramp = np.linspace(7000, 9000, 800).reshape(40, 20).astype(np.uint16)
    alone = encoded(Image.fromarray(ramp), "PNG")
    pixels = np.stack([ramp, np.full_like(ramp, 65_535)], axis=-1).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    chunks = [(b"IHDR", alone[16:25] + b"\4\0\0\0"), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = alone[:8] + b"".join(
        struct.pack(">I", len(body)) + kind + body + zlib.crc32(kind + body).to_bytes(4)
        for kind, body in chunks
    )
    kept = clean_copy(data, max_pixels=MOST)
    assert kept == data
    np.testing.assert_array_equal(np.asarray(open_image(kept)), np.asarray(open_image(alone)))


def test_two_scans_and_a_bitmap() -> None:
    for data in (encoded(photograph(), "JPEG", progressive=True), encoded(photograph(), "BMP")):
        kept = clean_copy(data + SECRET, max_pixels=MOST)
        assert SECRET not in kept
        np.testing.assert_array_equal(np.asarray(open_image(kept)), np.asarray(open_image(data)))


def test_a_file_that_cannot_be_used_is_refused() -> None:
    for data in (b"", b"no image", encoded(photograph(), "BMP")[:200], encoded(photograph(), "PNG")[:20]):
        with pytest.raises(ImageRefused):
            clean_copy(data, max_pixels=MOST)
