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
from exporter.preprocess import decode, load_image, open_image

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


def infrared_tiff(samples, order="<", photometric=1, deflated=False):
    """A TIFF file of one channel whose samples stand as they are, whatever Pillow would write."""
    body = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    body = zlib.compress(body) if deflated else body
    height, width = samples.shape
    entries = [
        *[(256, width), (257, height), (258, samples.itemsize * 8), (259, 8 if deflated else 1)],
        *[(262, photometric), (273, 8 + 2 + 12 * 10 + 4), (277, 1), (278, height), (279, len(body))],
        (339, {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]),
    ]
    directory = b"".join(
        struct.pack(order + "HHI", tag, 4 if tag in (273, 279) else 3, 1)
        + struct.pack(order + ("I" if tag in (273, 279) else "H2x"), value)
        for tag, value in entries
    )
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "IH", 8, len(entries)) + directory + bytes(4) + body


def ramp_of(dtype, low, high):
    return np.linspace(low, high, 400).reshape(40, 10).astype(dtype)


def stretched(samples):
    """By a plain reckoning what the encoder sees of samples of one channel."""
    low, high = np.percentile(samples.astype(np.float64), (1, 99))
    return ((samples - low) / (high - low)).clip(0, 1) * 255


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_infrared_whose_least_sample_is_white_is_no_negative(dtype, deflated):
    samples = ramp_of(dtype, 0, 255) if dtype == "uint8" else ramp_of(dtype, 7000, 9000)
    image = np.asarray(open_image(infrared_tiff(samples, photometric=0, deflated=deflated)))[..., 0]
    meant = 255 - samples if dtype == "uint8" else stretched(-samples.astype(np.float64))
    assert np.abs(image - meant.astype(float)).max() <= 0.5
    assert image[0, 0] == 255


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "dtype",
    ["int8", "uint16", "int16", "int32", "float32"],
)
def test_samples_are_read_as_they_stand_whatever_their_width_sign_and_order(dtype, order, deflated):
    samples = ramp_of(dtype, -100, 120) if dtype == "int8" else ramp_of(dtype, 500, 9000)
    data = infrared_tiff(samples, order, deflated=deflated)
    assert np.array_equal(np.asarray(decode(data, max_pixels=400)), samples)
    assert np.abs(np.asarray(open_image(data))[..., 0] - stretched(samples)).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("deflated", [False, True])
def test_unsigned_samples_of_32_bits_are_read_or_refused_never_wrapped(deflated):
    samples = ramp_of("uint32", 0, 2**31 - 1)
    data = infrared_tiff(samples, deflated=deflated)
    assert np.array_equal(np.asarray(decode(data, max_pixels=400)), samples)
    samples[-1, -1] = 2**31
    with pytest.raises(NotAnImage, match="below 2,147,483,648, got greater ones; save"):
        open_image(infrared_tiff(samples, deflated=deflated))


@pytest.mark.parametrize(
    "data",
    [
        infrared_tiff(ramp_of("float64", 15, 38)),
        infrared_tiff(ramp_of("uint16", 7000, 9000), ">", photometric=0),
        infrared_tiff(ramp_of("uint32", 7000, 9000), ">"),
    ],
)
def test_a_tiff_of_samples_that_are_not_read_is_refused_in_words(data):
    with pytest.raises(NotAnImage, match=r"8 or 16 bits or floats of 32 bits .* save the image as PNG"):
        open_image(data)


def png_of_grey_and_alpha(samples):
    """A PNG file of 16-bit grey with transparency, its rows filtered by what stands to the left."""
    pixels = np.stack([samples, samples[::-1]], axis=-1).astype(">u2")
    rows = pixels.view(np.uint8).reshape(*samples.shape, 4)
    filtered = np.diff(rows, axis=1, prepend=np.zeros_like(rows[:, :1])).reshape(len(rows), -1)
    body = b"".join(b"\1" + row.tobytes() for row in filtered)
    header = struct.pack(">IIBBBBB", *samples.shape[::-1], 16, 4, 0, 0, 0)
    return png_file((b"IHDR", header), (b"IDAT", zlib.compress(body)), (b"IEND", b""))


def test_sixteen_bits_of_grey_beside_transparency_are_stretched_as_without():
    samples = ramp_of("uint16", 7000, 9000)
    data = png_of_grey_and_alpha(samples)
    assert Image.open(io.BytesIO(data)).mode == "RGBA"
    assert np.array_equal(np.asarray(decode(data, max_pixels=400)), samples)
    alone = open_image(encoded(Image.fromarray(samples)))
    assert np.array_equal(np.asarray(open_image(data)), np.asarray(alone))


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


def png_file(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def png_header(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return png_file((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b""))


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
