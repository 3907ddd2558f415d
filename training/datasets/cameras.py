"""Synthetic cameras: the place a camera looks at, its light, and what its lens and sensor do.

Nothing here knows who is in a picture.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from index.space import Modality
from training.datasets.canvas import F32, Point
from training.datasets.people import generator

_PLACE_STREAM = 11
_SENSOR_STREAM = 12
_SCENE_SIDE = 400


@dataclass(frozen=True, slots=True)
class Camera:
    """One fixed camera.

    Attributes:
        seed: The site that it belongs to.
        number: Its number there; one number is one place, whichever the modality.
        modality: Visible light, or near infrared with its own lamp.
        pitch: Sine of the angle by which it looks down.
        light: Direction towards the main light, in view coordinates.
        ambient: Share of light that comes from everywhere.
        gain: Exposure for each channel: colour cast and brightness (all equal in infrared).
        gamma: Tone curve; above 1 darkens.
        sharpness: Share of the output resolution that lens and distance leave, 0 to 1.
        noise: Standard deviation of the sensor's noise, of full scale 1.
        vignette: Light lost in the corners, 0 to 1.
        lamp: Where the lamp points, as shares of width and height.
        fall_off: Light lost with the distance from there, 0 in visible light.
        haze: Light added everywhere.
    """

    seed: int
    number: int
    modality: Modality
    pitch: float
    light: Point
    ambient: float
    gain: tuple[float, float, float]
    gamma: float
    sharpness: float
    noise: float
    vignette: float
    lamp: tuple[float, float]
    fall_off: float
    haze: float


def draw_camera(seed: int, number: int, modality: Modality) -> Camera:
    """Draw one camera.

    Args:
        seed: The site, at least 0; another seed is another site with other places.
        number: Which of its cameras, at least 0.
        modality: What the camera sees by.

    Returns:
        The camera; equal for equal arguments on every machine.
    """
    modality = Modality(modality)
    infrared = modality is Modality.INFRARED
    pitch = float(generator(seed, _PLACE_STREAM, number).uniform(0.04, 0.30))
    rng = generator(seed, _SENSOR_STREAM, number, int(infrared))
    light, ambient, level, gamma, sharpness, noise, vignette, lamp_x, lamp_y, haze = rng.random(10).tolist()
    cast = rng.uniform(-0.07, 0.07, 3) if not infrared else np.zeros(3)
    gain = (1.0 + cast) * (0.85 + 0.40 * level)
    around = (light - 0.5) * (0.5 if infrared else 2.6)
    return Camera(
        seed=seed,
        number=number,
        modality=modality,
        pitch=pitch,
        light=(math.sin(around), 0.12 if infrared else 0.75, math.cos(around)),
        ambient=0.18 + 0.20 * ambient if infrared else 0.35 + 0.35 * ambient,
        gain=(float(gain[0]), float(gain[1]), float(gain[2])),
        gamma=0.80 + 0.45 * gamma,
        sharpness=0.55 + 0.40 * sharpness,
        noise=0.014 + 0.028 * noise if infrared else 0.008 + 0.016 * noise,
        vignette=0.10 + 0.30 * vignette,
        lamp=(0.3 + 0.4 * lamp_x, 0.25 + 0.35 * lamp_y),
        fall_off=0.45 + 0.5 * lamp_x if infrared else 0.0,
        haze=0.01 + 0.06 * haze,
    )


class _Scene:
    """Draws the place of one camera: geometry by the place, reflectances by the modality."""

    def __init__(self, camera: Camera) -> None:
        infrared = camera.modality is Modality.INFRARED
        self._shape = generator(camera.seed, _PLACE_STREAM, camera.number, 1)
        self._tone = generator(camera.seed, _SENSOR_STREAM, camera.number, int(infrared), 1)
        self._image = Image.new("L" if infrared else "RGB", (_SCENE_SIDE, _SCENE_SIDE))
        self._pen = ImageDraw.Draw(self._image)
        self._infrared = infrared
        self._ground = int(_SCENE_SIDE * self._shape.uniform(0.50, 0.66))

    def _shade(self, low: int = 40, high: int = 200, colour: float = 0.25) -> int | tuple[int, int, int]:
        level = float(self._tone.uniform(low, high))
        tint = self._tone.uniform(-colour, colour, 3)
        if self._infrared:
            return int(level)
        red, green, blue = (int(np.clip(level * (1 + value), 0, 255)) for value in tint)
        return (red, green, blue)

    def draw(self) -> Image.Image:
        if self._shape.random() < 0.5:
            self._draw_hall()
        else:
            self._draw_street()
        self._draw_floor()
        for _ in range(int(self._shape.integers(3, 8))):
            self._draw_clutter()
        return self._grained().filter(ImageFilter.GaussianBlur(1.2))

    def _draw_hall(self) -> None:
        side = _SCENE_SIDE
        self._pen.rectangle((0, 0, side, self._ground), fill=self._shade(110, 225, 0.12))
        if self._shape.random() < 0.6:
            dado = self._ground - int(self._shape.integers(40, 110))
            self._pen.rectangle((0, dado, side, self._ground), fill=self._shade(60, 190, 0.2))
        x = int(self._shape.integers(-30, 40))
        while x < side:
            width = int(self._shape.integers(36, 80))
            top = int(self._shape.integers(20, 120))
            low = self._ground if self._shape.random() < 0.5 else top + int(self._shape.integers(30, 90))
            self._pen.rectangle((x, top, x + width, low), fill=self._shade(), outline=self._shade(), width=3)
            x += width + int(self._shape.integers(25, 110))

    def _draw_street(self) -> None:
        side = _SCENE_SIDE
        self._pen.rectangle((0, 0, side, self._ground), fill=self._shade(150, 235, 0.08))
        x = 0
        while x < side:
            width = int(self._shape.integers(70, 170))
            top = int(self._shape.integers(0, 90))
            self._pen.rectangle((x, top, x + width, self._ground), fill=self._shade(60, 180, 0.2))
            pane = self._shade(30, 210, 0.15)
            step_x, step_y = (int(value) for value in self._shape.integers(24, 44, 2))
            for left in range(x + 8, x + width - 14, step_x):
                for up in range(top + 10, self._ground - 24, step_y):
                    self._pen.rectangle((left, up, left + step_x // 2, up + step_y // 2), fill=pane)
            x += width
        for _ in range(int(self._shape.integers(0, 4))):
            self._draw_bush()

    def _draw_bush(self) -> None:
        x, radius = int(self._shape.integers(0, _SCENE_SIDE)), int(self._shape.integers(20, 60))
        for _ in range(14):
            dx, dy = (int(value) for value in self._shape.normal(0, radius * 0.5, 2))
            size = int(self._shape.integers(8, 22))
            level = int(self._tone.integers(120, 220) if self._infrared else self._tone.integers(40, 110))
            fill = level if self._infrared else (level // 2, level, level // 3)
            y = self._ground - radius // 2 + dy
            self._pen.ellipse((x + dx - size, y - size, x + dx + size, y + size), fill=fill)

    def _draw_floor(self) -> None:
        side, ground = _SCENE_SIDE, self._ground
        self._pen.rectangle((0, ground, side, side), fill=self._shade(60, 190, 0.12))
        line = self._shade(60, 200, 0.1)
        vanish, spacing = int(self._shape.integers(0, side)), int(self._shape.integers(50, 140))
        if self._shape.random() < 0.65:
            for x in range(-3 * side, 4 * side, spacing):
                self._pen.line((vanish + (x - vanish) // 4, ground, x, side), fill=line, width=2)
            y, gap = ground, 8.0
            while y < side:
                self._pen.line((0, y, side, y), fill=line, width=1)
                y, gap = int(y + gap), gap * 1.35
        else:
            for _ in range(3):
                y = int(self._shape.integers(ground, side))
                self._pen.line((0, y, side, y + int(self._shape.integers(-40, 40))), fill=line, width=5)

    def _draw_clutter(self) -> None:
        x = int(self._shape.integers(0, _SCENE_SIDE))
        if self._shape.random() < 0.5:
            width = int(self._shape.integers(3, 12))
            self._pen.rectangle((x, 0, x + width, self._ground + 30), fill=self._shade())
            return
        width, height = (int(value) for value in self._shape.integers(16, 70, 2))
        low = self._ground + int(self._shape.integers(0, 30))
        self._pen.rectangle(
            (x, low - height, x + width, low), fill=self._shade(), outline=self._shade(20, 120), width=2
        )

    def _grained(self) -> Image.Image:
        """Uneven light over the place: blotches of two sizes."""
        pixels = np.asarray(self._image, dtype=np.float32)
        for cells, strength in ((5, 0.10), (60, 0.04)):
            coarse = self._tone.normal(1.0, strength, (cells, cells)).astype(np.float32)
            blotch = np.asarray(Image.fromarray(coarse).resize(self._image.size, Image.Resampling.BICUBIC))
            pixels = pixels * (blotch if self._infrared else blotch[:, :, None])
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@lru_cache(maxsize=64)
def _scene(camera: Camera) -> Image.Image:
    return _Scene(camera).draw()


def background(camera: Camera, rng: np.random.Generator, image_hw: tuple[int, int]) -> F32:
    """Cut a view of the camera's place, without anyone in it.

    Args:
        camera: Whose place.
        rng: The picture's stream; three numbers are used.
        image_hw: Height and width in pixels.

    Returns:
        float32 (H, W, 3) in visible light or (H, W, 1) in infrared, reflected light 0 to 1.
    """
    size, across, down = rng.random(3).tolist()
    height = _SCENE_SIDE * (0.50 + 0.22 * size)
    width = min(height * image_hw[1] / image_hw[0], _SCENE_SIDE)
    left = across * (_SCENE_SIDE - width)
    top = (0.35 + 0.65 * down) * (_SCENE_SIDE - height)
    view = _scene(camera).resize(
        (image_hw[1], image_hw[0]), Image.Resampling.BILINEAR, box=(left, top, left + width, top + height)
    )
    pixels = np.asarray(view, dtype=np.float32) / 255.0
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


@lru_cache(maxsize=64)
def _illumination(camera: Camera, image_hw: tuple[int, int]) -> F32:
    """Light over the picture from lens and lamp, (H, W, 1)."""
    y, x = np.meshgrid(np.linspace(0, 1, image_hw[0]), np.linspace(0, 1, image_hw[1]), indexing="ij")
    corner = ((x - 0.5) ** 2 + (y - 0.5) ** 2) / 0.5
    spot = (0.7 * (x - camera.lamp[0])) ** 2 + (y - camera.lamp[1]) ** 2
    lit = (1 - camera.vignette * corner) * (1 - camera.fall_off * np.minimum(spot * 1.4, 1.0))
    return lit.astype(np.float32)[:, :, None]


def expose(camera: Camera, radiance: F32, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Take the picture: illumination, lens blur, sensor noise and tone curve.

    Args:
        camera: The camera.
        radiance: float32 (H, W, 3) in visible light or (H, W, 1) in infrared, about 0 to 1.
        rng: The picture's stream of random numbers.

    Returns:
        uint8 (H, W, 3) in visible light, (H, W) in infrared.
    """
    height, width, channels = radiance.shape
    level, distance = rng.random(2).tolist()
    gain = np.array(camera.gain[:channels], dtype=np.float32) * (0.88 + 0.24 * level)
    picture = radiance * _illumination(camera, (height, width)) * gain + camera.haze
    picture = _softened(picture, camera.sharpness * (0.75 + 0.25 * distance))
    picture += camera.noise * rng.standard_normal(picture.shape, dtype=np.float32)
    np.clip(picture, 0.0, 1.0, out=picture)
    codes = _tone_curve(camera.gamma)[(picture * 1023.0).astype(np.uint16)]
    return codes if channels == 3 else codes[:, :, 0]


@lru_cache(maxsize=64)
def _tone_curve(gamma: float) -> NDArray[np.uint8]:
    return np.round(255.0 * np.linspace(0.0, 1.0, 1024) ** gamma).astype(np.uint8)


def _softened(picture: F32, share: float) -> F32:
    """Lose detail: resample to a share of the resolution and back."""
    height, width, channels = picture.shape
    small = (max(1, round(width * share)), max(1, round(height * share)))
    codes = (np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)
    image = Image.fromarray(codes if channels == 3 else codes[:, :, 0])
    image = image.resize(small, Image.Resampling.BILINEAR).resize((width, height), Image.Resampling.BILINEAR)
    return (np.asarray(image, dtype=np.float32) / 255.0).reshape(height, width, channels)
