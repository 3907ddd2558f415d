import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from exporter.errors import (
    ImageAnimated,
    ImageEmpty,
    ImageTooLarge,
    ImageTooManyParts,
    ImageTruncated,
    NotAnImage,
)
from exporter.parts import MAX_SCANS
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


@pytest.mark.parametrize(("low", "high"), [(15, 38), (0, 1), (-1, 1), (288.15, 311.15), (0, 255)])
def test_floats_are_stretched_whatever_their_unit(low, high):
    # Degrees, shares of one, kelvin: 15 to 38 degrees are no 8-bit samples of which six are used.
    ramp = np.tile(np.linspace(low, high, 200, dtype=np.float32)[:, None], (1, 20))
    image = np.asarray(open_image(encoded(Image.fromarray(ramp), "TIFF")))[..., 0]
    assert (image[0, 0], image[-1, 0]) == (0, 255)
    assert len(np.unique(image)) > 190
    assert (np.diff(image[:, 0].astype(int)) >= 0).all()


def test_samples_that_are_no_number_leave_the_others_as_they_are():
    ramp = np.tile(np.linspace(15, 38, 200, dtype=np.float32)[:, None], (1, 20))
    whole = np.asarray(open_image(encoded(Image.fromarray(ramp), "TIFF")))[..., 0]
    dead = ramp.copy()
    dead[:, 0], dead[:, 1], dead[:, 2] = np.nan, np.inf, -np.inf
    image = np.asarray(open_image(encoded(Image.fromarray(dead), "TIFF")))[..., 0]
    assert np.array_equal(image[:, 3:], whole[:, 3:])
    assert [set(image[:, column].tolist()) for column in range(3)] == [{0}, {255}, {0}]
    nothing = np.full((9, 9), np.nan, np.float32)
    assert not np.asarray(open_image(encoded(Image.fromarray(nothing), "TIFF"))).any()


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_eight_bit_samples_in_a_wide_file_are_taken_as_they_are(dtype):
    samples = np.arange(200, dtype=dtype).reshape(20, 10)
    image = np.asarray(open_image(encoded(Image.fromarray(samples), "TIFF")))[..., 0]
    assert np.array_equal(image, samples)


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


def scanned(photograph, scans):
    """A progressive JPEG that goes over its picture ``scans`` times."""
    data = encoded(photograph, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (scans - data.count(b"\xff\xda")) + data[-2:]


def tiff(entries, rest=b""):
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + rest


def many_parts(photograph):
    """Files of more parts than a picture has, which their decoders work through one by one."""
    jpeg, chunk = encoded(photograph, "JPEG"), b"\0\0\0\0abCd\x5e\x4c\x2a\x2d"
    size = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    return {
        "scans": scanned(photograph, MAX_SCANS + 1),
        "scans behind an impossible segment": scanned(photograph, MAX_SCANS + 1).replace(
            b"\xff\xda", b"\xff\x01\xff\xda", 1
        ),
        "segments": jpeg[:2] + b"\xff\xe1\0\2" * 60_000 + jpeg[2:],
        "segments of no length": jpeg[:2] + b"\xff\xe1\0\0" * 60_000 + jpeg[2:],
        "segments behind an end": jpeg[:2] + b"\xff\xd9" + b"\xff\xe1\0\2" * 60_000 + jpeg[2:],
        "fill bytes": jpeg[:2] + b"\xff" * 60_000 + jpeg[2:],
        "bytes between segments": jpeg[:2] + b"a" * 60_000 + jpeg[2:],
        "bytes and no segment": jpeg[:3] + b"\xff" * 60_000,
        "chunks": png_header(8, 8)[:33] + chunk * 60_000 + png_header(8, 8)[33:],
        "chunks of WebP": b"RIFF" + struct.pack("<I", 480_004) + b"WEBP" + b"abcd\0\0\0\0" * 60_000,
        "strips": tiff([*size, (273, 4, 60_000, 200), (279, 4, 60_000, 200)], bytes(240_000)),
        "numbers of a tag": tiff([*size, (273, 4, 1, 8), (40_000, 11, 60_000, 200)], bytes(240_000)),
    }


@pytest.mark.parametrize("what", many_parts(Image.new("RGB", (30, 40))))
def test_a_file_of_too_many_parts_is_refused_before_it_is_decoded(photograph, what):
    with pytest.raises(ImageTooManyParts, match="save the image anew"):
        load_image(many_parts(photograph)[what], HW)


def test_forms_that_small_files_can_make_much_of_are_refused():
    size = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1)]
    tiles = [(322, 4, 1, 60_000), (323, 4, 1, 30_000), (324, 4, 1, 200), (325, 4, 1, 64)]
    with pytest.raises(ImageTooLarge, match="tiles of at most"):
        load_image(tiff([*size, *tiles], bytes(300)), HW)
    header = struct.pack("<IHHIIiiHHIIiiII", 1082, 0, 0, 1078, 40, 40_000_000, 1, 1, 8, 1, 4, 0, 0, 256, 0)
    with pytest.raises(NotAnImage, match="run lengths"):
        load_image(b"BM" + header + bytes(1024) + b"\1\5\0\0", HW)
    with pytest.raises(NotAnImage, match="BigTIFF"):
        load_image(b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + bytes(300), HW)


def test_as_many_parts_as_a_picture_may_have_are_read(photograph):
    jpeg, png = encoded(photograph, "JPEG", restart_marker_blocks=1), encoded(photograph)
    noise = np.random.default_rng(0).bytes(500_000) + b"\xff\xda" * 200
    for data in (
        scanned(photograph, MAX_SCANS),
        jpeg,
        # The film of a moving photograph stands behind its end; a preview in what tells of the picture.
        jpeg + noise,
        jpeg[:2] + b"\xff\xe1\xff\xff" + (noise[-60_000:] * 2)[:65_533] + jpeg[2:],
        png + bytes(1_000_000),
        encoded(photograph, "TIFF", compression="tiff_lzw"),
        encoded(photograph, "WEBP", lossless=True) + bytes(1_000_000),
    ):
        assert load_image(data, HW).shape == (*HW, 3)
