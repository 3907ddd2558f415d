"""Synthetic cameras: their light, and what their lens and sensor do.

Nothing here knows who is in a picture.
"""

import io
import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from index.space import Modality
from training.datasets.canvas import F32, Point
from training.datasets.chance import generator

_PLACE_STREAM = 11
_SENSOR_STREAM = 12


class Spectrum(StrEnum):
    """What a camera's sensor receives."""

    VISIBLE = "visible"
    NEAR_INFRARED = "near-infrared"
    THERMAL = "thermal"

    @property
    def modality(self) -> Modality:
        """The modality that its pictures belong to."""
        return Modality.VISIBLE if self is Spectrum.VISIBLE else Modality.INFRARED


@dataclass(frozen=True, slots=True)
class Camera:
    """One fixed camera.

    Attributes:
        seed: The site that it belongs to.
        number: Its number there; one number is one place, whatever the spectrum.
        spectrum: Visible light, near infrared with its own lamp, or the heat of things.
        pitch: Sine of the angle by which it looks down.
        light: Direction towards the main light, in view coordinates.
        ambient: Share of light that comes from everywhere.
        gain: Exposure for each channel: colour cast and brightness (all equal in infrared).
        gamma: Tone curve; above 1 darkens.
        resolution: Share of the crop's resolution that the sensor gives the nearest people.
        blur: Radius of the lens's blur, in the sensor's pixels.
        quality: Quality of its JPEG compression.
        noise: Standard deviation of the sensor's noise, of full scale 1.
        vignette: Light lost in the corners, 0 to 1.
        lamp: Where the lamp points, as shares of width and height.
        fall_off: Light lost with the distance from there, 0 without a lamp.
        reach: Light, or warmth, that the place behind a person shows, 1 in visible light.
        glare: How far bright things spill over, and the lamp's own veil, 0 in visible light.
        haze: Light added everywhere; in thermal, the warmth of the surroundings.
    """

    seed: int
    number: int
    spectrum: Spectrum
    pitch: float
    light: Point
    ambient: float
    gain: tuple[float, float, float]
    gamma: float
    resolution: float
    blur: float
    quality: int
    noise: float
    vignette: float
    lamp: tuple[float, float]
    fall_off: float
    reach: float
    glare: float
    haze: float

    @property
    def modality(self) -> Modality:
        """The modality of its pictures."""
        return self.spectrum.modality


# The lowest value of a property, and how far above it the highest lies.
_Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Sensor:
    """What the cameras of a spectrum have in common; fields are as ``Camera``'s.

    Attributes:
        around: Spread of the light's direction, in radians.
        above: Height of the light against its distance.
        cast: Largest colour cast of a channel.
    """

    around: float
    above: float
    cast: float
    ambient: _Span
    gain: _Span
    gamma: _Span
    resolution: _Span
    blur: _Span
    quality: _Span
    noise: _Span
    vignette: _Span
    fall_off: _Span
    reach: _Span
    glare: _Span
    haze: _Span


_SENSORS = {
    Spectrum.VISIBLE: _Sensor(
        around=2.6,
        above=0.75,
        cast=0.06,
        ambient=(0.35, 0.35),
        gain=(0.85, 0.40),
        gamma=(0.80, 0.45),
        resolution=(0.62, 0.38),
        blur=(0.2, 0.5),
        quality=(45, 45),
        noise=(0.006, 0.016),
        vignette=(0.10, 0.30),
        fall_off=(0.0, 0.0),
        reach=(1.0, 0.0),
        glare=(0.0, 0.0),
        haze=(0.01, 0.06),
    ),
    Spectrum.NEAR_INFRARED: _Sensor(
        around=0.5,
        above=0.12,
        cast=0.0,
        ambient=(0.18, 0.20),
        gain=(0.72, 0.40),
        gamma=(0.80, 0.45),
        resolution=(0.62, 0.38),
        blur=(0.2, 0.5),
        quality=(45, 45),
        noise=(0.012, 0.030),
        vignette=(0.10, 0.30),
        fall_off=(0.35, 0.5),
        reach=(0.30, 0.60),
        glare=(0.10, 0.30),
        haze=(0.01, 0.06),
    ),
    Spectrum.THERMAL: _Sensor(
        around=0.0,
        above=0.0,
        cast=0.0,
        ambient=(0.60, 0.25),
        gain=(0.75, 0.75),
        gamma=(0.75, 0.55),
        resolution=(0.40, 0.40),
        blur=(0.4, 0.7),
        quality=(65, 30),
        noise=(0.003, 0.010),
        vignette=(0.0, 0.10),
        fall_off=(0.0, 0.0),
        reach=(0.06, 0.30),
        glare=(0.05, 0.45),
        haze=(0.02, 0.28),
    ),
}


def draw_camera(seed: int, number: int, spectrum: Spectrum) -> Camera:
    """Draw one camera.

    Args:
        seed: The site, at least 0; another seed is another site with other places.
        number: Which of its cameras, at least 0.
        spectrum: What the camera sees by.

    Returns:
        The camera; equal for equal arguments on every machine.
    """
    spectrum = Spectrum(spectrum)
    sensor = _SENSORS[spectrum]
    pitch = float(place_stream(seed, number).uniform(0.04, 0.30))
    rng = sensor_stream(seed, number, spectrum)
    light, ambient, level, gamma, resolution, noise, vignette, lamp_x, lamp_y, haze = rng.random(10).tolist()
    blur, quality, reach, glare = rng.random(4).tolist()
    red, green, blue = (
        (1.0 + rng.uniform(-sensor.cast, sensor.cast, 3)) * _along(sensor.gain, level)
    ).tolist()
    around = (light - 0.5) * sensor.around
    return Camera(
        seed=seed,
        number=number,
        spectrum=spectrum,
        pitch=pitch,
        light=(math.sin(around), sensor.above, math.cos(around)),
        ambient=_along(sensor.ambient, ambient),
        gain=(red, green, blue),
        gamma=_along(sensor.gamma, gamma),
        resolution=_along(sensor.resolution, resolution),
        blur=_along(sensor.blur, blur),
        quality=int(_along(sensor.quality, quality)),
        noise=_along(sensor.noise, noise),
        vignette=_along(sensor.vignette, vignette),
        lamp=(0.3 + 0.4 * lamp_x, 0.25 + 0.35 * lamp_y),
        fall_off=_along(sensor.fall_off, lamp_x),
        reach=_along(sensor.reach, reach),
        glare=_along(sensor.glare, glare),
        haze=_along(sensor.haze, haze),
    )


def _along(span: _Span, share: float) -> float:
    return span[0] + span[1] * share


def place_stream(seed: int, number: int, *key: int) -> np.random.Generator:
    """The random numbers of a camera's place, whatever its spectrum; ``key`` tells uses apart."""
    return generator(seed, _PLACE_STREAM, number, *key)


def sensor_stream(seed: int, number: int, spectrum: Spectrum, *key: int) -> np.random.Generator:
    """The random numbers of a camera's sensor; ``key`` tells uses apart."""
    return generator(seed, _SENSOR_STREAM, number, list(Spectrum).index(spectrum), *key)


def native_hw(camera: Camera, rng: np.random.Generator, image_hw: tuple[int, int]) -> tuple[int, int]:
    """How many pixels the sensor spends on a person, whom it sees near or far.

    Args:
        camera: The camera.
        rng: The picture's stream; one number is used.
        image_hw: Height and width of the crop that the pixels are resized to.

    Returns:
        Height and width, each at least 16.
    """
    share = camera.resolution * (0.62 + 0.38 * float(rng.random()))
    return (max(16, round(image_hw[0] * share)), max(16, round(image_hw[1] * share)))


@lru_cache(maxsize=256)
def _corners(vignette: float, hw: tuple[int, int]) -> F32:
    """Light that the lens loses towards the corners, (H, W)."""
    y, x = np.meshgrid(np.linspace(0, 1, hw[0]), np.linspace(0, 1, hw[1]), indexing="ij")
    corner = ((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.5
    return (1 - vignette * corner).astype(np.float32)


def _lamp(camera: Camera, hw: tuple[int, int], aside: float, up: float) -> F32:
    """Light of a night camera's lamp over the crop, (H, W): a person is rarely in the middle of it."""
    x = (np.arange(hw[1], dtype=np.float32) + 0.5) / hw[1] - (camera.lamp[0] + 0.6 * (aside - 0.5))
    y = (np.arange(hw[0], dtype=np.float32) + 0.5) / hw[0] - (camera.lamp[1] + 0.4 * (up - 0.5))
    spot = 0.7 * (x * x)[None, :] + 1.3 * (y * y)[:, None]
    return np.asarray(1 - camera.fall_off * np.minimum(spot * 1.6, 1.0), dtype=np.float32)


def expose(
    camera: Camera, radiance: F32, rng: np.random.Generator, image_hw: tuple[int, int]
) -> NDArray[np.uint8]:
    """Take the picture: illumination, glare, blur, noise, tone curve, compression, and the crop's size.

    Args:
        camera: The camera.
        radiance: float32 (h, w, 3) in visible light or (h, w, 1) in infrared, about 0 to 1.
        rng: The picture's stream of random numbers.
        image_hw: Height and width of the crop in pixels.

    Returns:
        uint8 (H, W, 3) in visible light, (H, W) in infrared.
    """
    height, width, channels = radiance.shape
    level, focus, motion, aside, up = rng.random(5).tolist()
    gain = np.array(camera.gain[:channels], dtype=np.float32) * (0.78 + 0.44 * level)
    light = _corners(camera.vignette, (height, width))
    if camera.fall_off:
        light = light * _lamp(camera, (height, width), aside, up)
    picture = radiance * light[:, :, None] * gain + camera.haze
    if camera.glare:
        picture = _glared(picture, camera.glare, light)
    picture = _blurred(picture, camera.blur * (0.6 + 0.8 * focus * focus), 3 if motion > 0.85 else 1)
    picture += camera.noise * rng.standard_normal(picture.shape, dtype=np.float32)
    np.clip(picture, 0.0, 1.0, out=picture)
    codes = _tone_curve(camera.gamma)[(picture * 1023.0).astype(np.uint16)]
    return _delivered(codes if channels == 3 else codes[:, :, 0], camera.quality, image_hw)


def _glared(picture: F32, glare: float, light: F32) -> F32:
    """Spill the brightest places over their surroundings, and lay the lamp's veil over its spot."""
    bright = np.clip(picture[:, :, 0] - 0.75, 0.0, 0.5)
    size = max(3, picture.shape[0] // 8)
    spill = ndimage.uniform_filter(ndimage.uniform_filter(bright, size), size)
    veil = 0.25 * glare * np.clip(light - 0.7, 0.0, 0.3)
    return np.asarray(picture + (3.0 * glare * spill + veil)[:, :, None], dtype=np.float32)


def _blurred(picture: F32, radius: float, motion: int) -> F32:
    """Blur by the lens's radius and over a number of columns, in pixels."""
    height, width, channels = picture.shape
    codes = (np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)
    image = Image.fromarray(codes if channels == 3 else codes[:, :, 0])
    image = image.filter(ImageFilter.GaussianBlur(radius))
    if motion > 1:
        image = image.filter(ImageFilter.BoxBlur((motion / 2, 0)))
    return (np.asarray(image, dtype=np.float32) / 255.0).reshape(height, width, channels)


@lru_cache(maxsize=64)
def _tone_curve(gamma: float) -> NDArray[np.uint8]:
    return np.round(255.0 * np.linspace(0.0, 1.0, 1024) ** gamma).astype(np.uint8)


def _delivered(codes: NDArray[np.uint8], quality: int, image_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Compress and decompress as the camera's stream does, then resize to the crop."""
    buffer = io.BytesIO()
    Image.fromarray(codes).save(buffer, "jpeg", quality=quality)
    buffer.seek(0)
    with Image.open(buffer) as image:
        return np.asarray(image.resize((image_hw[1], image_hw[0]), Image.Resampling.BICUBIC))
