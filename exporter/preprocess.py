"""From the bytes of an image file to what the encoder takes: uint8, three channels, one size.

The one road for training, calibration, evaluation and the server, so that no skew can grow
between them. Mean, standard deviation and unit length live inside the encoder's graph.
"""

import io
import struct
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from exporter.errors import ImageAnimated, ImageEmpty, ImageTooLarge, ImageTruncated, NotAnImage

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
RESAMPLE = "bilinear"
MAX_PIXELS = 50_000_000

_WIDE_MODES = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, OverflowError, MemoryError)


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


def open_image(data: bytes | Path, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image file to an upright 8-bit RGB picture that carries no metadata.

    EXIF orientation is applied and then dropped. Samples wider than 8 bits (raw infrared) are
    stretched between their 1st and 99th percentile, since cameras use a part of that range.

    Args:
        data: The bytes of the file, or its path.
        max_pixels: Refused above, before any pixel is decoded.

    Raises:
        ImageRefused: One of its subclasses, by reason.
        OSError: ``data`` is a path that cannot be read.
    """
    if isinstance(data, Path):
        data = data.read_bytes()
    if not data:
        raise ImageEmpty("expected an image file, got 0 bytes")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise NotAnImage(f"expected one of {', '.join(FORMATS)}; these bytes are none of them") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge(f"expected at most {max_pixels:,} pixels; the image has many more") from None
    except _DAMAGE as error:
        raise ImageTruncated(f"the image's header is cut short or damaged: {error}") from None
    _check_size(image, max_pixels)
    _check_single(image)
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
    except _DAMAGE as error:
        raise ImageTruncated(f"the image's data is cut short or damaged: {error}") from None
    return _to_rgb(upright)


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(f"expected at most {max_pixels:,} pixels, got {width:,} x {height:,}")


def _check_single(image: Image.Image) -> None:
    # MPO is a still JPEG of a phone with a second view appended; its first picture is the photograph.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise ImageAnimated(f"expected a single picture, got {getattr(image, 'n_frames', 1)} frames or pages")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _WIDE_MODES:
        image = Image.fromarray(_stretch(np.asarray(image, dtype=np.float64)))
    rgb = image.convert("RGB")
    rgb.info = {}
    return rgb


def _stretch(samples: NDArray[np.float64]) -> NDArray[np.uint8]:
    finite = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    if finite.min() >= 0 and finite.max() <= 255:
        return cast(NDArray[np.uint8], finite.astype(np.uint8))
    low, high = np.percentile(finite, (1, 99))
    scaled = (finite - low) / max(high - low, 1e-9)
    return cast(NDArray[np.uint8], (scaled.clip(0, 1) * 255).round().astype(np.uint8))
