import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from exporter.errors import ImageAnimated, ImageEmpty, ImageTooLarge, ImageTruncated, NotAnImage
from exporter.preprocess import load_image, open_image

HW = (24, 12)


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.fixture
def photograph():
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(256, size=(40, 30, 3), dtype=np.uint8))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_each_format_is_read(photograph, form):
    image = load_image(encoded(photograph, form), HW)
    assert image.shape == (*HW, 3)
    assert image.dtype == np.uint8


def test_bytes_and_path_give_the_same(photograph, tmp_path):
    path = tmp_path / "one.png"
    path.write_bytes(encoded(photograph))
    assert np.array_equal(load_image(path, HW), load_image(path.read_bytes(), HW))


def test_a_single_channel_stands_three_times(photograph):
    image = load_image(encoded(photograph.convert("L")), HW)
    assert np.array_equal(image[..., 0], image[..., 1])
    assert np.array_equal(image[..., 1], image[..., 2])


def test_sixteen_bits_are_stretched_not_cut():
    # A raw thermal camera uses a small part of 16 bits: here 7,000 to 7,100.
    ramp = np.tile(np.linspace(7000, 7100, 40, dtype=np.uint16)[:, None], (1, 20))
    image = np.asarray(open_image(encoded(Image.fromarray(ramp))))[..., 0]
    assert image[0, 0] == 0
    assert image[-1, 0] == 255
    assert (np.diff(image[:, 0].astype(int)) >= 0).all()


def test_exif_orientation_is_applied_and_dropped(photograph):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = open_image(encoded(photograph, "JPEG", exif=exif, quality=95))
    assert turned.size == (40, 30)
    assert not turned.getexif()
    assert turned.info == {}


def test_transparency_and_palettes_become_rgb(photograph):
    for mode in ("RGBA", "P", "CMYK", "1", "LA"):
        form = "TIFF" if mode == "CMYK" else "PNG"
        assert (
            open_image(
                encoded(
                    photograph.convert("L").convert(mode) if mode == "LA" else photograph.convert(mode), form
                )
            ).mode
            == "RGB"
        )


def png_header(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 64))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", ImageEmpty),
        (b"no image at all", NotAnImage),
        (b"%PDF-1.7 ...", NotAnImage),
        (png_header(60_000, 60_000), ImageTooLarge),
        (png_header(12_000, 12_000), ImageTooLarge),
        (png_header(8_000, 8_000), ImageTooLarge),
        (png_header(100, 100), ImageTruncated),
    ],
)
def test_what_is_no_usable_image_is_refused_by_reason(data, error):
    with pytest.raises(error):
        load_image(data, HW)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_cut_short_is_refused(photograph, form, share):
    data = encoded(photograph, form)
    with pytest.raises((ImageTruncated, NotAnImage)):
        load_image(data[: int(len(data) * share)], HW)


def test_animations_and_pages_are_refused(photograph):
    frames = [photograph, photograph.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    for form in ("WEBP", "PNG", "TIFF"):
        with pytest.raises(ImageAnimated, match="several frames"):
            load_image(encoded(frames[0], form, save_all=True, append_images=frames[1:]), HW)


def test_gif_is_not_on_the_list(photograph):
    with pytest.raises(NotAnImage):
        load_image(encoded(photograph, "GIF"), HW)


def test_the_pixel_limit_is_the_callers(photograph):
    with pytest.raises(ImageTooLarge, match="at most 1,000 pixels, got 30 x 40"):
        load_image(encoded(photograph), HW, max_pixels=1000)
