"""From the bytes of an image file to what the encoder takes: uint8, three channels, one size.

The one road for training, calibration, evaluation and the server, so that no skew can grow
between them. Mean, standard deviation and unit length live inside the encoder's graph.
"""

import io
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from exporter.errors import (
    ImageAnimated,
    ImageEmpty,
    ImageRefused,
    ImageTooLarge,
    ImageTruncated,
    NotAnImage,
)
from exporter.parts import check_parts

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
RESAMPLE = "bilinear"
MAX_PIXELS = 50_000_000

_WIDE_MODES = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_TIFF_MAGICS = (b"II*\0", b"MM\0*")
# libtiff gives samples in this machine's order of bytes, and Pillow unpacks these in the file's.
_NATIVE_MODES = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
_BAND = 256
_RUN_LENGTHS = {1, 2}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_image(
    data: bytes | Path, image_hw: tuple[int, int], *, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decode an image file, turn it upright and resize it.

    Args:
        data: The bytes of a JPEG, PNG, WebP, BMP or TIFF file, or its path.
        image_hw: Height and width in pixels to resize to (antialiased bilinear, aspect not kept).
        max_pixels: Refused above, before any pixel is decoded.

    Returns:
        (H, W, 3) uint8 RGB; a single-channel image stands three times.

    Raises:
        ImageRefused: One of its subclasses, by reason.
        OSError: ``data`` is a path that cannot be read.
    """
    height, width = image_hw
    image = open_image(data, max_pixels=max_pixels)
    return np.array(image.resize((width, height), Image.Resampling.BILINEAR), dtype=np.uint8)


def open_image(
    data: bytes | Path, *, max_pixels: int = MAX_PIXELS, least_side: int | None = None
) -> Image.Image:
    """Decode an image file to an upright 8-bit RGB picture that carries no metadata.

    EXIF orientation is applied and then dropped. Samples of one channel wider than 8 bits (raw infrared:
    16 or 32 bit integers, floats) are stretched so that their 1st percentile becomes 0 and their 99th 255,
    since cameras use a part of that range. Integers that all lie from 0 to 255 are 8-bit samples in a wide
    file, and taken as they are; floats may be degrees or shares of one, and are always stretched. Samples
    that are no number count as the least. Of colour wider than 8 bits the high byte is taken.

    Args:
        data: The bytes of the file, or its path.
        max_pixels: Refused above, before any pixel is decoded.
        least_side: A JPEG may be decoded at a half, a quarter or an eighth of its size where neither side
            becomes shorter than this; for what a person looks at, not for an encoder.

    Raises:
        ImageRefused: One of its subclasses, by reason.
        OSError: ``data`` is a path that cannot be read.
    """
    if isinstance(data, Path):
        data = data.read_bytes()
    picture = decode(data, max_pixels=max_pixels, least_side=least_side)
    try:
        return _to_rgb(picture)
    except Exception as error:  # decoders of damaged bytes fail in more ways than they tell
        raise ImageTruncated(f"the image's data is cut short or damaged: {error}") from None


def decode(data: bytes, *, max_pixels: int, least_side: int | None = None) -> Image.Image:
    """Decode an image file to an upright picture of its own samples, of which the least is the darkest.

    Samples of one channel keep their width; those of which the least is white are turned over, as Pillow
    does up to 8 bits: 16 bits to 65,535 less each, floats to their negatives. Signed 8 bits are given in 32.
    Of grey with 16 bits and transparency the grey is given.

    Args:
        data: The bytes of the file.
        max_pixels: As in ``open_image``.
        least_side: As in ``open_image``.

    Raises:
        ImageRefused: One of its subclasses, by reason.
    """
    image = read_header(data, max_pixels=max_pixels)
    try:
        if least_side is not None:
            image.draft(None, (least_side, least_side))
        kind = _kind_of_samples(image)
        image.load()
        return _as_meant(upright(image), kind)
    except ImageRefused:
        raise
    except Exception as error:  # as above
        raise ImageTruncated(f"the image's data is cut short or damaged: {error}") from None


def read_header(data: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageFile.ImageFile:
    """Open an image file whose pixels are yet to be decoded: one picture, of a format and size that are read.

    Args:
        data: The bytes of the file.
        max_pixels: Refused above.

    Raises:
        ImageRefused: One of its subclasses, by reason.
    """
    if not data:
        raise ImageEmpty("expected an image file, got 0 bytes")
    check_parts(data, max_pixels=max_pixels)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if data.startswith(_TIFF_MAGICS):
            raise NotAnImage(
                "expected a TIFF file of 8 or 16 bits or floats of 32 bits a sample, the least of which is "
                "black; this one is damaged or of another kind: save the image as PNG"
            ) from None
        raise NotAnImage(f"expected one of {', '.join(FORMATS)}; these bytes are none of them") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge(f"expected at most {max_pixels:,} pixels; the image has many more") from None
    except Exception as error:  # as above
        raise ImageTruncated(f"the image's header is cut short or damaged: {error}") from None
    # Its decoder is written in Python, and a few bytes of run lengths make the largest picture.
    if image.format == "BMP" and image.info["compression"] in _RUN_LENGTHS:
        raise NotAnImage("expected a BMP file without run lengths; save it without compression, or as PNG")
    _check_size(image, max_pixels)
    _check_single(image)
    return image


def upright(image: Image.Image) -> Image.Image:
    """The picture of a loaded image, turned as its EXIF data say; damaged ones say nothing."""
    turn = _TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def orientation(image: Image.Image) -> int:
    """What an image's EXIF or XMP data say of how to turn it, 1 to 8; 1 where they are damaged or silent."""
    try:
        said = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata are no reason to refuse a sound picture
        return 1
    return said if said in _TURNS else 1


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(f"expected at most {max_pixels:,} pixels, got {width:,} x {height:,}")


def _check_single(image: Image.Image) -> None:
    """Refuse several pictures, by the header or, in TIFF, by looking for one more page and no further."""
    # MPO is a still JPEG of a phone with a second view appended; its first picture is the photograph.
    if image.format == "MPO":
        return
    if image.format != "TIFF":
        several = getattr(image, "n_frames", 1) > 1
    else:
        try:
            image.seek(1)
            several = True
        except EOFError:
            image.seek(0)
            several = False
        except Exception as error:  # as above
            raise ImageTruncated(f"the image's directory of pages is damaged: {error}") from None
    if several:
        raise ImageAnimated("expected a single picture, got several frames or pages")


class _Kind(StrEnum):
    """What Pillow does not tell of the samples that it gives."""

    TOLD = "told"
    WHITE_IS_ZERO = "white is zero"
    SIGNED_8 = "signed 8 bits"
    UNSIGNED_32 = "unsigned 32 bits"
    GREY_ALPHA_16 = "16 bits of grey and of transparency"


def _kind_of_samples(image: ImageFile.ImageFile) -> _Kind:
    """The kind of an opened image's samples; also has its bytes unpacked as they are."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _kind_of_tiff(image)
    if [(tile.codec_name, tile.args) for tile in image.tile] == [("zip", "LA;16B")]:
        # Pillow drops the low bytes; as four bytes of a pixel they are all there.
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]
        return _Kind.GREY_ALPHA_16
    return _Kind.TOLD


def _kind_of_tiff(image: TiffImagePlugin.TiffImageFile) -> _Kind:
    tile = image.tile[0]
    if image.use_load_libtiff and isinstance(tile.args, tuple):
        raw_mode, *rest = tile.args
        image.tile = [tile._replace(args=(_NATIVE_MODES.get(raw_mode, raw_mode), *rest))]
    tags = image.tag_v2
    signed = tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0] == 2
    if image.mode in _WIDE_MODES and tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
        return _Kind.WHITE_IS_ZERO
    if image.mode == "I" and not signed:
        return _Kind.UNSIGNED_32
    return _Kind.SIGNED_8 if image.mode == "L" and signed else _Kind.TOLD


def _as_meant(image: Image.Image, kind: _Kind) -> Image.Image:
    """The picture of a loaded image whose samples are of ``kind``."""
    if kind is _Kind.TOLD:
        return image
    samples = np.asarray(image)
    match kind:
        case _Kind.WHITE_IS_ZERO:
            return Image.fromarray(-samples if samples.dtype.kind == "f" else 65_535 - samples)
        case _Kind.SIGNED_8:
            return Image.fromarray(samples.view(np.int8).astype(np.int32))
        case _Kind.GREY_ALPHA_16:
            high, low = samples[..., 0].astype(np.uint16), samples[..., 1]
            return Image.fromarray(high << 8 | low)
    if samples.min() < 0:
        raise NotAnImage(
            "expected unsigned samples of 32 bits below 2,147,483,648, got greater ones; save the image "
            "with 16 bits or as floats"
        )
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _WIDE_MODES:
        image = Image.fromarray(_stretch(np.asarray(image)))
    rgb = image.convert("RGB")
    rgb.info = {}
    return rgb


def _stretch(samples: NDArray[np.number[Any]]) -> NDArray[np.uint8]:
    """(H, W) samples of any width as uint8, as ``open_image`` says."""
    known = samples
    if samples.dtype.kind != "f":
        if samples.min() >= 0 and samples.max() <= 255:
            return samples.astype(np.uint8)
    elif not (finite := np.isfinite(samples)).all():
        known = samples[finite]
        if not known.size:
            return np.zeros(samples.shape, np.uint8)
        samples = np.nan_to_num(samples, nan=known.min(), posinf=known.max(), neginf=known.min())
    low, high = np.percentile(known, (1, 99)).astype(np.float64)
    span = max(high - low, 1e-9)
    # Band by band, since float64 takes eight times the memory of the picture.
    bands = (
        ((samples[top : top + _BAND].astype(np.float64) - low) / span).clip(0, 1) * 255
        for top in range(0, len(samples), _BAND)
    )
    return np.concatenate([band.round().astype(np.uint8) for band in bands])
