"""Cloth: paints by the place on a garment, its weave, bands and seams."""

import numpy as np
from numpy.typing import NDArray

from training.datasets.canvas import Paint, Parts, Reals, Surface
from training.datasets.garments import Pattern, Weave
from training.datasets.materials import Part

Mask = NDArray[np.bool_]


def _logo(weave: Weave, at: Surface) -> Mask:
    half = 0.7 * weave.period_m + 0.02
    u, v = at.u, at.v - (0.15 + half)
    if weave.form == 0:
        mark = (abs(u) < half) & (abs(v) < 0.7 * half)
    elif weave.form == 1:
        mark = u * u + v * v < half * half
    else:
        mark = (v < half) & (v > 1.8 * abs(u) - half)
    on_front: Mask = mark & (abs(at.angle) < 1.4)
    return on_front


def _recurs(at_m: Reals, period_m: float, duty: float) -> Mask:
    within: Mask = np.mod(at_m, period_m) < duty * period_m
    return within


def _blotches(weave: Weave, u: Reals, v: Reals) -> Mask:
    """Irregular patches, from three waves whose directions the weave sets."""
    k = 3.6 / weave.period_m
    turn = weave.offset_m * 20
    total = np.sin(k * u + turn) + np.sin(k * (0.5 * u + 0.9 * v) + 2 * turn)
    mask: Mask = total + np.sin(k * (0.8 * u - 0.7 * v) - turn) > 1.2 - 2.0 * weave.duty
    return mask


def _is_trim(weave: Weave, at: Surface, sleeve: bool) -> Mask:
    """Where the second cloth of a garment lies on a surface; boolean, shaped as the surface."""
    u, v = at.u, at.v + 0.0 * at.u
    period, duty = weave.period_m, weave.duty
    if weave.pattern in (Pattern.HORIZONTAL, Pattern.VERTICAL, Pattern.CHECKS, Pattern.DOTS) and not sleeve:
        slant = weave.slant if weave.form == 2 else 0.0
        u, v = u - slant * v, v + slant * u
    match weave.pattern:
        case Pattern.HORIZONTAL:
            return _recurs(v, period, duty)
        case Pattern.VERTICAL:
            return _recurs(u + 0.5 * duty * period, period, duty)
        case Pattern.DIAGONAL:
            return _recurs(u * (1 + weave.slant) + v, period, duty)
        case Pattern.CHECKS:
            return _recurs(u, period, 0.5) ^ _recurs(v, period, 0.5)
        case Pattern.DOTS:
            across, down = np.mod(u, period) / period - 0.5, np.mod(v, period) / period - 0.5
            return across * across + down * down < 0.04 + 0.12 * duty
        case Pattern.BLOTCHES:
            return _blotches(weave, u, v)
        case Pattern.BAND:
            return (v > weave.offset_m) & (v < weave.offset_m + 0.04 + 0.8 * period)
        case Pattern.HALVES:
            return (v > weave.offset_m + 0.05) if weave.form else (v < weave.offset_m + 0.05)
        case Pattern.SLEEVES:
            return np.full(v.shape, sleeve)
        case Pattern.SIDES:
            return abs(np.sin(at.angle)) > (0.97 if sleeve else 0.80)
        case Pattern.LOGO:
            return np.zeros(v.shape, dtype=bool) if sleeve else _logo(weave, at)
        case Pattern.PLAIN:
            return np.zeros(v.shape, dtype=bool)


def patterned(weave: Weave, main: Part, trim: Part, *, sleeve: bool = False, down_m: float = 0.0) -> Paint:
    """The paint of a patterned cloth, ``down_m`` metres below its collar."""
    if weave.pattern is Pattern.PLAIN:
        return int(main)

    def paint(at: Surface) -> Parts:
        moved = Surface(at.u, at.v + down_m, at.angle, at.t)
        return np.where(_is_trim(weave, moved, sleeve), np.uint8(trim), np.uint8(main))

    return paint


def parts_of(paint: Paint, at: Surface) -> Parts:
    """The parts of a paint on a surface, an array of its own."""
    shape = np.broadcast_shapes(at.u.shape, at.v.shape)
    return np.broadcast_to(paint if isinstance(paint, int) else paint(at), shape).astype(np.uint8)


def banded(*bands: tuple[float, Paint]) -> Paint:
    """Paint that changes along a limb: each band reaches to its share of the length."""

    def paint(at: Surface) -> Parts:
        parts = np.zeros(np.broadcast_shapes(at.t.shape, at.u.shape), dtype=np.uint8)
        rest = np.ones(parts.shape, dtype=bool)
        for end, inner in bands:
            here = rest & (at.t <= end)
            np.copyto(parts, inner if isinstance(inner, int) else inner(at), where=here, casting="unsafe")
            rest &= ~here
        return parts

    return paint


def quilted(cloth: Paint, period_m: float) -> Paint:
    """A cloth of the upper garment with a seam every ``period_m`` metres down."""

    def paint(at: Surface) -> Parts:
        parts = parts_of(cloth, at)
        parts[np.mod(at.v + 0.0 * at.u, period_m) < 0.014] = Part.UPPER_SEAM
        return parts

    return paint


def side_seamed(cloth: Paint) -> Paint:
    """A cloth of the lower garment with a seam down its side."""

    def paint(at: Surface) -> Parts:
        parts = parts_of(cloth, at)
        parts[(abs(at.angle - 0.9) < 0.10) & (parts == Part.LOWER)] = Part.LOWER_SEAM
        return parts

    return paint
