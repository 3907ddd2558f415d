"""Scenes: the place that a camera looks at, a hall or a street, without anyone in it."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from index.space import Modality
from training.datasets.cameras import Camera, Spectrum, place_stream, sensor_stream
from training.datasets.canvas import F32

_SCENE_SIDE = 400


class _Scene:
    """Draws the place of one camera: geometry by the place, reflectances by the modality."""

    def __init__(self, camera: Camera) -> None:
        infrared = camera.modality is Modality.INFRARED
        self._shape = place_stream(camera.seed, camera.number, 1)
        self._tone = sensor_stream(camera.seed, camera.number, camera.spectrum, 1)
        # Heat has no edges: walls and floors pass it on.
        self._blur = 5.0 if camera.spectrum is Spectrum.THERMAL else 1.2
        self._image = Image.new("L" if infrared else "RGB", (_SCENE_SIDE, _SCENE_SIDE))
        self._pen = ImageDraw.Draw(self._image)
        self._infrared = infrared
        self._ground = int(_SCENE_SIDE * self._shape.uniform(0.50, 0.66))

    def _shade(self, low: int = 40, high: int = 200, colour: float = 0.12) -> int | tuple[int, int, int]:
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
        return self._grained().filter(ImageFilter.GaussianBlur(self._blur))

    def _draw_hall(self) -> None:
        side = _SCENE_SIDE
        self._pen.rectangle((0, 0, side, self._ground), fill=self._shade(55, 215, 0.05))
        if self._shape.random() < 0.6:
            dado = self._ground - int(self._shape.integers(40, 110))
            self._pen.rectangle((0, dado, side, self._ground), fill=self._shade(40, 180, 0.08))
        x = int(self._shape.integers(-30, 40))
        while x < side:
            width = int(self._shape.integers(36, 80))
            top = int(self._shape.integers(20, 120))
            low = self._ground if self._shape.random() < 0.5 else top + int(self._shape.integers(30, 90))
            self._pen.rectangle((x, top, x + width, low), fill=self._shade(), outline=self._shade(), width=3)
            x += width + int(self._shape.integers(25, 110))

    def _draw_street(self) -> None:
        side = _SCENE_SIDE
        self._pen.rectangle((0, 0, side, self._ground), fill=self._shade(110, 235, 0.05))
        x = 0
        while x < side:
            width = int(self._shape.integers(70, 170))
            top = int(self._shape.integers(0, 90))
            self._pen.rectangle((x, top, x + width, self._ground), fill=self._shade(40, 180, 0.09))
            pane = self._shade(25, 190, 0.08)
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
        self._pen.rectangle((0, ground, side, side), fill=self._shade(50, 180, 0.06))
        line = self._shade(50, 180, 0.06)
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


def background(camera: Camera, rng: np.random.Generator, hw: tuple[int, int]) -> F32:
    """Cut a view of the camera's place, without anyone in it.

    Args:
        camera: Whose place.
        rng: The picture's stream; three numbers are used.
        hw: Height and width in pixels.

    Returns:
        float32 (H, W, 3) in visible light or (H, W, 1) in infrared, reflected light 0 to 1.
    """
    size, across, down = rng.random(3).tolist()
    height = _SCENE_SIDE * (0.38 + 0.34 * size)
    width = min(height * hw[1] / hw[0], _SCENE_SIDE)
    left = across * (_SCENE_SIDE - width)
    top = (0.25 + 0.75 * down) * (_SCENE_SIDE - height)
    view = _scene(camera).resize(
        (hw[1], hw[0]), Image.Resampling.BILINEAR, box=(left, top, left + width, top + height)
    )
    pixels = np.asarray(view, dtype=np.float32) * np.float32(camera.reach / 255.0)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]
