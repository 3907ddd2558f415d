"""Solids drawn by depth: limbs (round cones) and stacks (ellipses piled along the height).

View coordinates are metres: X to the right of the picture, Y up, Z towards the camera; the camera
looks along -Z without perspective.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Reals = NDArray[np.floating]
Parts = NDArray[np.uint8]
Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Surface:
    """The visible skin of a solid, point by point; arrays broadcast to (rows, columns).

    Attributes:
        u: Metres around the solid from its front.
        v: Metres down from its top.
        angle: Radians around a stack from its front, or across a limb from its middle.
        t: Share of the way from the solid's top, 0, to its end, 1.
    """

    u: Reals
    v: Reals
    angle: Reals
    t: Reals


Paint = Callable[[Surface], Parts] | int


@dataclass(frozen=True, slots=True)
class Stack:
    """Ellipses piled along the height of the body, from the lowest up; lengths in metres.

    Attributes:
        y: (M,) heights, strictly increasing.
        x: (M,) half widths.
        z: (M,) half depths.
        centre_x: Offset of the axis to the left of the body.
        centre_z: Offset of the axis to the front.
        lean: How far the axis moves to the front with each metre of height.
        pivot_y: Height at which the axis is where ``centre_z`` says.
    """

    y: tuple[float, ...]
    x: tuple[float, ...]
    z: tuple[float, ...]
    centre_x: float = 0.0
    centre_z: float = 0.0
    lean: float = 0.0
    pivot_y: float = 0.0

    def grown(self, by_m: float) -> "Stack":
        """The same stack with a skin of ``by_m`` metres more."""
        return replace(
            self, x=tuple(value + by_m for value in self.x), z=tuple(value + by_m for value in self.z)
        )


class Canvas:
    """A picture of solids: for each pixel the nearest solid's depth, part and light.

    Attributes:
        part: uint8 (H, W), ``Part`` numbers, 0 where there is no solid.
        light: float32 (H, W), direct light that the surface gets, about 0 to 1.
        depth: float32 (H, W), metres towards the camera, -inf where there is no solid.
        px_per_m: Pixels in a metre of height.
    """

    def __init__(self, hw: tuple[int, int], box_m: tuple[float, float, float, float], light: Point) -> None:
        """Open an empty canvas.

        Args:
            hw: Height and width in pixels.
            box_m: What the canvas shows: left, right, bottom and top in metres.
            light: Direction towards the light, of any length.
        """
        self._height, self._width = hw
        left, right, bottom, top = box_m
        self._left, self._top = left, top
        self._per_m_x, self._per_m_y = self._width / (right - left), self._height / (top - bottom)
        self.px_per_m = self._per_m_y
        self._xs = ((np.arange(self._width) + 0.5) / self._per_m_x + left).astype(np.float32)
        self._ys = (top - (np.arange(self._height) + 0.5) / self._per_m_y).astype(np.float32)
        length = float(np.sqrt(sum(value * value for value in light)))
        self._light = (light[0] / length, light[1] / length, light[2] / length)
        self.depth: F32 = np.full(hw, -np.inf, dtype=np.float32)
        self.part: Parts = np.zeros(hw, dtype=np.uint8)
        self.light: F32 = np.zeros(hw, dtype=np.float32)

    def _window(self, left: float, right: float, bottom: float, top: float) -> tuple[slice, slice] | None:
        """The pixels of a box in metres; None where it misses the canvas."""
        x0 = max(int((left - self._left) * self._per_m_x), 0)
        x1 = min(int((right - self._left) * self._per_m_x) + 1, self._width)
        y0 = max(int((self._top - top) * self._per_m_y), 0)
        y1 = min(int((self._top - bottom) * self._per_m_y) + 1, self._height)
        return (slice(y0, y1), slice(x0, x1)) if x0 < x1 and y0 < y1 else None

    def _put(
        self, window: tuple[slice, slice], seen: NDArray[np.bool_], z: Reals, light: Reals, parts: Parts | int
    ) -> None:
        depth = self.depth[window]
        cover = seen & (z > depth)
        if not isinstance(parts, int):
            cover &= parts > 0
        np.copyto(depth, z, where=cover)
        np.copyto(self.part[window], parts, where=cover, casting="unsafe")
        np.copyto(self.light[window], light, where=cover)

    def limb(
        self, start: Point, end: Point, radii: tuple[float, float], paint: Paint, bulge: float = 0.0
    ) -> None:
        """Draw a round cone with round ends.

        Args:
            start: View coordinates of its top.
            end: View coordinates of its end.
            radii: Metres at the top and at the end.
            paint: One part, or parts by the place on the surface (0 leaves a hole).
            bulge: Swelling of the middle, as a share of the radius: the muscle of a calf.
        """
        widest = max(radii) * (1.0 + bulge)
        window = self._window(
            min(start[0], end[0]) - widest,
            max(start[0], end[0]) + widest,
            min(start[1], end[1]) - widest,
            max(start[1], end[1]) + widest,
        )
        if window is None:
            return
        x = self._xs[None, window[1]] - start[0]
        y = self._ys[window[0], None] - start[1]
        dx, dy, dz = end[0] - start[0], end[1] - start[1], end[2] - start[2]
        squared = dx * dx + dy * dy + 1e-6
        t = np.minimum(np.maximum((x * (dx / squared)) + (y * (dy / squared)), 0.0), 1.0)
        radius = radii[0] + (radii[1] - radii[0]) * t
        if bulge:
            radius *= 1.0 + 4.0 * bulge * t * (1.0 - t)
        nx = (x - t * dx) / radius
        ny = (y - t * dy) / radius
        facing = 1.0 - nx * nx - ny * ny
        seen = facing > 0
        nz = np.sqrt(np.maximum(facing, 0.0))
        lx, ly, lz = self._light
        light = _wrapped(nx * lx + ny * ly + nz * lz)
        length = float(np.sqrt(squared + dz * dz))
        parts: Parts | int
        if isinstance(paint, int):
            parts = paint
        else:
            across = np.clip((ny * dx - nx * dy) / float(np.sqrt(squared)), -1.0, 1.0)
            angle = np.arcsin(across)
            parts = paint(Surface(u=angle * radius, v=t * length, angle=angle, t=t))
        self._put(window, seen, start[2] + t * dz + radius * nz, light, parts)

    def stack(self, stack: Stack, heading: tuple[float, float], pitch: float, paint: Paint) -> None:
        """Draw a stack that stands upright, its outline rounded.

        Args:
            stack: The solid, in the coordinates of the body.
            heading: Sine and cosine of the body's turn; (0, 1) faces the camera.
            pitch: Sine of the angle by which the camera looks down.
            paint: One part, or parts by the place on the surface (0 leaves a hole).
        """
        s, c = heading
        axis_x = stack.centre_x * c + stack.centre_z * s
        axis_z = stack.centre_z * c - stack.centre_x * s
        drop = axis_z * pitch
        widest = max(max(stack.x), max(stack.z)) + abs(stack.lean) * (stack.y[-1] - stack.y[0])
        window = self._window(axis_x - widest, axis_x + widest, stack.y[0] - drop, stack.y[-1] - drop)
        if window is None:
            return
        rows = self._ys[window[0]] + drop
        half_x, slope = _outline(rows, stack.y, stack.x)
        half_z, _ = _outline(rows, stack.y, stack.z)
        forward = (np.float32(stack.lean) * (rows - np.float32(stack.pivot_y)))[:, None]
        x = self._xs[None, window[1]] - axis_x - forward * s
        ax, az = 1.0 / (half_x * half_x), 1.0 / (half_z * half_z)
        a = s * s * ax + c * c * az
        b = x * (s * c * (az - ax))
        root = b * b - a * (x * x * (c * c * ax + s * s * az) - 1.0)
        within = (rows >= stack.y[0]) & (rows <= stack.y[-1])
        seen = (root > 0) & within[:, None]
        z = (np.sqrt(np.maximum(root, 0.0)) - b) / a
        body_x, body_z = x * c - z * s, x * s + z * c
        nx, nz = body_x * ax, body_z * az
        scale = 1.0 / np.sqrt(nx * nx + nz * nz + 1e-12)
        ny = np.clip(slope, -2.0, 2.0)
        tilt = 1.0 / np.sqrt(1.0 + ny * ny)
        lx, ly, lz = self._light
        light = ((nx * c + nz * s) * lx + (nz * c - nx * s) * lz) * scale
        light = _wrapped((light + ny * ly) * tilt)
        parts: Parts | int
        if isinstance(paint, int):
            parts = paint
        else:
            angle = np.arctan2(body_x / half_x, body_z / half_z)
            v = (stack.y[-1] - rows)[:, None].astype(np.float32)
            span = stack.y[-1] - stack.y[0]
            parts = paint(Surface(u=angle * (sum(stack.x) / len(stack.x)), v=v, angle=angle, t=v / span))
        self._put(window, seen, z + axis_z + forward * c, light, parts)


_CORNER_M = np.array([[-0.018], [-0.006], [0.006], [0.018]])


def _outline(rows: F32, y: tuple[float, ...], half: tuple[float, ...]) -> tuple[F32, F32]:
    """Half widths of each row, the corners between ellipses rounded over 4 cm, and how fast they widen."""
    sharp = np.interp(rows + _CORNER_M, y, half)
    smooth = np.maximum(np.add.reduce(sharp) * (1.0 / len(sharp)), 1e-3).astype(np.float32)[:, None]
    widening = ((sharp[0] - sharp[3]) / 0.036).astype(np.float32)[:, None]
    return smooth, widening


def _wrapped(facing: Reals) -> Reals:
    """Direct light by the cosine towards it, with some that reaches round the edge."""
    light: Reals = np.maximum((facing + 0.2) / 1.2, 0.0)
    return light
