"""One picture of one person by one camera."""

import numpy as np
from numpy.typing import NDArray

from index.space import Modality
from training.datasets.cameras import Camera, background, expose
from training.datasets.canvas import F32, Canvas
from training.datasets.figures import draw_figure, draw_pose
from training.datasets.people import Person

_SUPERSAMPLE = 2


def render(
    person: Person, camera: Camera, rng: np.random.Generator, image_hw: tuple[int, int]
) -> NDArray[np.uint8]:
    """Take one picture of a person: background, pose, crop and noise are drawn from ``rng``.

    Args:
        person: Who is seen.
        camera: By what; its modality decides how the person's materials show.
        rng: The picture's own stream of random numbers; the same state gives the same picture.
        image_hw: Height and width of the crop in pixels.

    Returns:
        uint8 (H, W, 3) by a visible camera, (H, W) by an infrared one.
    """
    view = background(camera, rng, image_hw)
    pose = draw_pose(rng)
    box_m = _crop_box(person.body.height_m, rng, image_hw)
    canvas = Canvas((image_hw[0] * _SUPERSAMPLE, image_hw[1] * _SUPERSAMPLE), box_m, camera.light)
    draw_figure(canvas, person, pose, camera.pitch)
    view *= _ground_shadow(box_m, image_hw, 0.55 if camera.modality is Modality.VISIBLE else 0.25)
    return expose(camera, _composed(canvas, _palette(person, camera.modality), camera.ambient, view), rng)


def _crop_box(
    height_m: float, rng: np.random.Generator, image_hw: tuple[int, int]
) -> tuple[float, float, float, float]:
    """A detector's box around a person, in metres: left, right, bottom, top."""
    fill, below, aside, stretch = rng.random(4).tolist()
    tall = height_m / (0.76 + 0.14 * fill)
    wide = tall * image_hw[1] / image_hw[0] * (0.92 + 0.22 * stretch)
    bottom = -(tall - 1.09 * height_m) * below - 0.05
    middle = (aside - 0.5) * 0.16
    return (middle - 0.5 * wide, middle + 0.5 * wide, bottom, bottom + tall)


def _palette(person: Person, modality: Modality) -> F32:
    """What each part reflects, float32 (parts, channels)."""
    if modality is Modality.VISIBLE:
        return np.array([material.rgb for material in person.materials], dtype=np.float32)
    return np.array([[material.nir] for material in person.materials], dtype=np.float32)


def _ground_shadow(box_m: tuple[float, float, float, float], image_hw: tuple[int, int], depth: float) -> F32:
    left, right, bottom, top = box_m
    x = np.linspace(left, right, image_hw[1], dtype=np.float32)[None, :]
    y = np.linspace(top, bottom, image_hw[0], dtype=np.float32)[:, None]
    shade = 1.0 - depth * np.exp(-((x / 0.30) ** 2) - (y / 0.07) ** 2)
    return np.asarray(shade[:, :, None], dtype=np.float32)


def _composed(canvas: Canvas, palette: F32, ambient: float, view: F32) -> F32:
    """Lay the figure over the view, each output pixel the mean of its samples."""
    height, width, channels = view.shape
    light = ambient + (1.0 - ambient) * canvas.light
    lit = palette[canvas.part] * light[:, :, None]
    covered = (canvas.part > 0).astype(np.float32)
    n = _SUPERSAMPLE
    rows = sum(lit[i::n, j::n] for i in range(n) for j in range(n))
    cover = sum(covered[i::n, j::n] for i in range(n) for j in range(n))
    samples = float(n * n)
    figure = np.asarray(rows, dtype=np.float32).reshape(height, width, channels) / samples
    alpha = np.asarray(cover, dtype=np.float32)[:, :, None] / samples
    return figure + (1.0 - alpha) * view
