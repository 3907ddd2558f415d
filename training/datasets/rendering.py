"""One picture of one person by one camera."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from training.datasets.cameras import Camera, Spectrum, expose, native_hw
from training.datasets.canvas import F32, Canvas, Reals
from training.datasets.chance import generator
from training.datasets.figures import draw_figure
from training.datasets.materials import Part
from training.datasets.people import Person, draw_person
from training.datasets.poses import Pose, Step, draw_pose
from training.datasets.scenes import background

_SUPERSAMPLE = 2
_FOLD_STREAM = 31
_FOLD_SIDE = 512
_FOLD_KINDS = 10
_FAR_M = -0.6
_HIDDEN_SHARE = 0.15

_CONTACT_SHADE = 2.4
# Folds hold warm air where they are deep, and so do armpits and the gap between the legs.
_CREASE_FROM = 0.08
_CREASE_HEAT = 5.0
_TRAPPED_HEAT = 1.8
_SHADOWS = {Spectrum.VISIBLE: 0.55, Spectrum.NEAR_INFRARED: 0.25, Spectrum.THERMAL: 0.0}

Box = tuple[float, float, float, float]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture and where its person is.

    Attributes:
        pixels: uint8 (H, W, 3) by a visible camera, (H, W) by an infrared one.
        covered: Boolean (H, W), True where the person or what hides them may show; the rest is place.
        hidden: Boolean (H, W), True where something or someone else may stand before the person.
    """

    pixels: NDArray[np.uint8]
    covered: Mask
    hidden: Mask


def render(
    person: Person,
    camera: Camera,
    rng: np.random.Generator,
    image_hw: tuple[int, int],
    step: Step | None = None,
) -> NDArray[np.uint8]:
    """Take one picture of a person: background, pose, crop and noise are drawn from ``rng``.

    Args:
        person: Who is seen.
        camera: By what; its spectrum decides how the person's materials show.
        rng: The picture's own stream of random numbers; the same state gives the same picture.
        image_hw: Height and width of the crop in pixels.
        step: Where in a walk past the camera the person is; None draws a heading and a phase.

    Returns:
        uint8 (H, W, 3) by a visible camera, (H, W) by an infrared one.
    """
    return take(person, camera, rng, image_hw, step).pixels


def take(
    person: Person,
    camera: Camera,
    rng: np.random.Generator,
    image_hw: tuple[int, int],
    step: Step | None = None,
) -> Picture:
    """Take one picture as ``render`` does, and tell which of its pixels are the place alone.

    Args:
        person: Who is seen.
        camera: By what.
        rng: The picture's own stream of random numbers.
        image_hw: Height and width of the crop in pixels.
        step: As for ``render``.

    Returns:
        The picture with its mask.
    """
    hw = native_hw(camera, rng, image_hw)
    view = background(camera, rng, hw)
    box_m = _crop_box(person.body.height_m, rng, image_hw)
    pose = draw_pose(person, rng, step)
    view *= _ground_shadow(box_m, hw, _SHADOWS[camera.spectrum])
    scene, figure = _painted(person, pose, camera, box_m, view, rng)
    scene, hidden = _hide(scene, camera, box_m, rng)
    pixels = expose(camera, scene, rng, image_hw)
    return Picture(pixels, _resized(figure | hidden, image_hw), _resized(hidden, image_hw))


def _resized(mask: Mask, image_hw: tuple[int, int]) -> Mask:
    """A mask at another size, True wherever a True pixel has a part."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    resized: Mask = np.asarray(image.resize((image_hw[1], image_hw[0]), Image.Resampling.BILINEAR)) > 0
    return resized


def _crop_box(height_m: float, rng: np.random.Generator, image_hw: tuple[int, int]) -> Box:
    """A detector's box around a person, in metres: left, right, bottom, top.

    One in eight cuts the feet or the legs off.
    """
    fill, below, aside, stretch, cut, depth = rng.random(6).tolist()
    tall = height_m / (0.80 + 0.17 * fill)
    bottom = -(tall - 1.04 * height_m) * below - 0.04
    if cut < 0.125:
        missing = height_m * (0.08 + 0.30 * depth)
        bottom += missing
        tall -= missing
    wide = tall * image_hw[1] / image_hw[0] * (0.82 + 0.34 * stretch)
    middle = (aside - 0.5) * 0.20
    return (middle - 0.5 * wide, middle + 0.5 * wide, bottom, bottom + tall)


def _palette(person: Person, spectrum: Spectrum) -> F32:
    """How each part shows in a spectrum, float32 (parts, channels)."""
    match spectrum:
        case Spectrum.VISIBLE:
            return np.array([material.rgb for material in person.materials], dtype=np.float32)
        case Spectrum.NEAR_INFRARED:
            return np.array([[material.nir] for material in person.materials], dtype=np.float32)
        case Spectrum.THERMAL:
            return np.array([[material.heat] for material in person.materials], dtype=np.float32)


def _painted(
    person: Person, pose: Pose, camera: Camera, box_m: Box, view: F32, rng: np.random.Generator
) -> tuple[F32, Mask]:
    """Draw a person before a view; and where the person is."""
    height, width, _ = view.shape
    canvas = Canvas((height * _SUPERSAMPLE, width * _SUPERSAMPLE), box_m, camera.light)
    draw_figure(canvas, person, pose, camera.pitch)
    folds = _cut_folds(canvas, person, rng)
    light = camera.ambient + (1.0 - camera.ambient) * canvas.light
    if camera.spectrum is Spectrum.THERMAL:
        light *= 1.0 + folds + _CREASE_HEAT * np.maximum(folds - _CREASE_FROM, 0.0)
        light *= 1.0 + _TRAPPED_HEAT * _enclosed(canvas)
    else:
        light *= 1.0 + folds
        light *= 1.0 - _CONTACT_SHADE * _enclosed(canvas)
    return _composed(canvas, _palette(person, camera.spectrum), light, view)


def _ground_shadow(box_m: Box, hw: tuple[int, int], depth: float) -> F32:
    left, right, bottom, top = box_m
    x = np.linspace(left, right, hw[1], dtype=np.float32)[None, :]
    y = np.linspace(top, bottom, hw[0], dtype=np.float32)[:, None]
    shade = 1.0 - depth * np.exp(-((x / 0.30) ** 2) - (y / 0.07) ** 2)
    return np.asarray(shade[:, :, None], dtype=np.float32)


@lru_cache(maxsize=_FOLD_KINDS)
def _folds(kind: int) -> F32:
    """Light on creased cloth, mean 0 and deviation 1: long soft ridges in one direction, and short ones."""
    rng = generator(_FOLD_STREAM, kind)
    side = _FOLD_SIDE
    turn = math.pi * kind / _FOLD_KINDS
    total = np.zeros((side, side))
    for long, short, weight in ((14.0, 6.0, 0.8), (7.0, 3.0, 0.4), (22.0, 12.0, 1.0)):
        noise = rng.standard_normal((side, side))
        smooth = ndimage.gaussian_filter(noise, (short, long), mode="wrap")
        slope = np.gradient(smooth, axis=0)
        turned = ndimage.rotate(slope, math.degrees(turn), reshape=False, mode="wrap", order=1)
        total += weight * turned / turned.std()
    folds: F32 = np.clip(total / total.std(), -2.2, 2.2).astype(np.float32)
    return folds


def _fold_depth(person: Person) -> F32:
    """How much folds change the light on each part, float32 (parts,)."""
    depth = np.full(len(Part), 0.08, dtype=np.float32)
    depth[[Part.SKIN, Part.FEATURE, Part.LENS, Part.SHOE, Part.SOLE]] = 0.03
    top = 0.06 + 0.13 * person.top.drape
    depth[[Part.UPPER, Part.UPPER_TRIM, Part.UPPER_SEAM, Part.SCARF]] = top
    depth[[Part.LOWER, Part.LOWER_TRIM, Part.LOWER_SEAM, Part.INNER]] = 0.12
    depth[Part.HAIR] = 0.14
    return depth


def _cut_folds(canvas: Canvas, person: Person, rng: np.random.Generator) -> F32:
    """Share of the light that folds add, float32 as the canvas: the picture's own cut of a creased cloth."""
    kind, across, down, mirror, depth = rng.random(5).tolist()
    height, width = canvas.part.shape
    left = int(across * (_FOLD_SIDE - width % _FOLD_SIDE))
    top = int(down * max(_FOLD_SIDE - height, 1))
    rows, columns = np.arange(top, top + height), np.arange(left, left + width)
    if mirror < 0.5:
        columns = columns[::-1]
    cut = _folds(int(kind * _FOLD_KINDS)).take(rows, axis=0, mode="wrap").take(columns, axis=1, mode="wrap")
    strength = (0.7 + 0.6 * depth) * _fold_depth(person).take(canvas.part)
    return np.asarray(strength * cut, dtype=np.float32)


def _enclosed(canvas: Canvas) -> F32:
    """How far the surroundings of a sample stand before it, 0 to 0.16 m: joints, gaps, under a chin."""
    depth = np.maximum(canvas.depth[::2, ::2], _FAR_M)
    near = ndimage.uniform_filter(depth, max(3, int(0.07 * canvas.px_per_m * 0.5) | 1), mode="nearest")
    before: F32 = np.minimum(np.maximum(near - depth, 0.0), 0.16)
    return before.repeat(2, axis=0).repeat(2, axis=1)


def _composed(canvas: Canvas, palette: F32, light: F32, view: F32) -> tuple[F32, Mask]:
    """Lay the figure over the view, each pixel the mean of its samples; and where the figure is."""
    lit = palette.take(canvas.part, axis=0)
    lit *= light[:, :, None]
    covered = (canvas.part > 0).astype(np.float32)
    alpha = _pooled(covered)
    return _pooled(lit) + (1.0 - alpha[:, :, None]) * view, alpha > 0


def _pooled(samples: F32) -> F32:
    """The mean of each pixel's samples."""
    n = _SUPERSAMPLE
    total = samples[0::n, 0::n].copy()
    for i, j in list(np.ndindex(n, n))[1:]:
        total += samples[i::n, j::n]
    total *= np.float32(1.0 / (n * n))
    return total


def _hide(scene: F32, camera: Camera, box_m: Box, rng: np.random.Generator) -> tuple[F32, Mask]:
    """Put something before the person in one picture of seven, or another person in one of 22."""
    hides, kind, where, size, level, tint, stranger = rng.random(7).tolist()
    height, width, channels = scene.shape
    if hides >= _HIDDEN_SHARE:
        return scene, np.zeros((height, width), dtype=bool)
    if kind < 0.30:
        return _pass_by(scene, camera, box_m, rng, int(stranger * 2**31), where)
    tone = np.array((1.0, 0.92 + 0.16 * tint, 1.08 - 0.16 * tint), dtype=np.float32)[:channels]
    colour = (0.08 + 0.6 * level) * tone
    if camera.spectrum is Spectrum.THERMAL:
        colour = camera.reach * colour
    x, y = np.arange(width)[None, :] / width, np.arange(height)[:, None] / height
    hidden, shade = _obstacle(x, y, kind, where, size)
    thing = colour * np.asarray(shade, dtype=np.float32)[:, :, None]
    return np.where(hidden[:, :, None], thing, scene).astype(np.float32), hidden


def _obstacle(x: Reals, y: Reals, kind: float, where: float, size: float) -> tuple[Mask, Reals]:
    """Where a post, the edge of a wall, or a low thing stands, and its shading; by shares of the crop."""
    everywhere = 0.0 * x + 0.0 * y
    if kind < 0.55:
        middle, half = 0.15 + 0.7 * where, 0.03 + 0.05 * size
        return abs(x + everywhere - middle) < half, 1.0 - 0.5 * ((x - middle) / half) ** 2 + 0.0 * y
    if kind < 0.78:
        edge = 0.12 + 0.26 * size
        return (x + everywhere < edge) if where < 0.5 else (
            x + everywhere > 1 - edge
        ), 0.9 + 0.2 * y + 0.0 * x
    return y + everywhere > 0.62 + 0.28 * size, 0.8 + 0.15 * np.sin(14 * y) + 0.05 * x


def _pass_by(
    scene: F32, camera: Camera, box_m: Box, rng: np.random.Generator, stranger: int, where: float
) -> tuple[F32, Mask]:
    """Another person, of no population, before the edge of the picture."""
    other = draw_person(stranger, 0)
    left, right, bottom, top = box_m
    away = (0.34 + 0.10 * abs(2 * where - 1)) * (1 if where < 0.5 else -1)
    pose = draw_pose(other, rng)
    return _painted(other, pose, camera, (left + away, right + away, bottom, top), scene, rng)
