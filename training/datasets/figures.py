"""The figure of a person in a pose: a skeleton, and the solids that hang on it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.datasets.canvas import Canvas, Paint, Parts, Point, Reals, Stack, Surface
from training.datasets.people import Bag, Hair, Hat, Lower, Part, Pattern, Person, Shoe, Upper, Weave

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pose:
    """How a person stands or walks in one picture; angles in radians.

    Attributes:
        heading: Turn of the body: 0 faces the camera, pi / 2 walks to the right of the picture.
        phase: Where in the cycle of two steps.
        stride: Swing of the thighs; 0 stands.
        arm_swing: Swing of the arms.
        elbow: Bend of the elbows.
        spread: How far the arms hang from the body.
        head_turn: Turn of the head against the body.
    """

    heading: float
    phase: float
    stride: float
    arm_swing: float
    elbow: float
    spread: float
    head_turn: float


def draw_pose(rng: np.random.Generator) -> Pose:
    """Draw a pose: one of eight headings with some turn, walking four times in five.

    Args:
        rng: The picture's stream of random numbers; seven are used.
    """
    sector, turn, phase, walk, swing, arms, head = rng.random(7).tolist()
    stride = 0.06 if walk < 0.2 else 0.25 + 0.25 * swing
    return Pose(
        heading=int(sector * 8) * math.pi / 4 + (turn - 0.5) * 0.6,
        phase=phase * 2 * math.pi,
        stride=stride,
        arm_swing=stride * (0.5 + 0.7 * arms),
        elbow=0.15 + 0.6 * arms * arms,
        spread=0.06 + 0.08 * swing,
        head_turn=(head - 0.5) * 0.9,
    )


@dataclass(frozen=True, slots=True)
class _Leg:
    hip: Point
    knee: Point
    ankle: Point
    toe: Point


@dataclass(frozen=True, slots=True)
class _Arm:
    shoulder: Point
    elbow: Point
    wrist: Point
    hand: Point


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """Joints in the coordinates of the body: x to its left, y up from the ground, z to its front."""

    hip_y: float
    shoulder_y: float
    legs: tuple[_Leg, _Leg]
    arms: tuple[_Arm, _Arm]


def _swung(start: Point, length: float, angle: float, out: float = 0.0) -> Point:
    down = length * math.cos(angle)
    return (
        start[0] + down * math.sin(out),
        start[1] - down * math.cos(out),
        start[2] + length * math.sin(angle),
    )


def _leg(person: Person, pose: Pose, side: int) -> _Leg:
    body = person.body
    thigh_m, shin_m = body.leg_m * 0.50, body.leg_m * 0.46
    cycle = pose.phase + (math.pi if side > 0 else 0.0)
    thigh = pose.stride * person.stride * math.sin(cycle)
    bend = 0.04 + 1.5 * pose.stride * max(0.0, math.cos(cycle)) ** 2 * (1 if math.cos(cycle) > 0 else 0)
    hip = (side * body.hip_m * 0.52, 0.0, 0.0)
    knee = _swung(hip, thigh_m, thigh)
    ankle = _swung(knee, shin_m, thigh - bend)
    lift = 0.5 * (thigh - bend)
    foot_m = body.height_m * 0.105
    toe = (
        ankle[0] + side * 0.03,
        ankle[1] - 0.045 + foot_m * math.sin(lift),
        ankle[2] + foot_m * math.cos(lift),
    )
    return _Leg(hip, knee, ankle, toe)


def _arm(person: Person, pose: Pose, side: int, shoulder_y: float) -> _Arm:
    body = person.body
    cycle = pose.phase + (0.0 if side > 0 else math.pi)
    swing = pose.arm_swing * math.sin(cycle)
    elbow_bend = pose.elbow
    if person.bag is Bag.HAND and side == person.bag_side:
        swing, elbow_bend = 0.3 * swing, 0.08
    out = side * (pose.spread + 0.5 * person.top.bulk_m)
    x = side * (body.shoulder_m * 0.92 + 0.4 * person.top.bulk_m)
    shoulder = (x - side * 0.012, shoulder_y - 0.040 * body.height_m, 0.0)
    elbow = _swung(shoulder, body.height_m * 0.172, swing, out)
    wrist = _swung(elbow, body.height_m * 0.150, swing + elbow_bend, out * 0.4)
    hand = _swung(wrist, body.height_m * 0.05, swing + elbow_bend, 0.0)
    return _Arm(shoulder, elbow, wrist, hand)


def _raised(point: Point, by: float) -> Point:
    return (point[0], point[1] + by, point[2])


def _skeleton(person: Person, pose: Pose) -> _Skeleton:
    body = person.body
    legs = [_leg(person, pose, side) for side in (-1, 1)]
    ground = min(min(leg.ankle[1] - 0.075, leg.toe[1] - 0.03) for leg in legs)
    hip_y = -ground
    shoulder_y = hip_y + (body.height_m - body.leg_m) - body.height_m * 0.175
    left, right = (
        _Leg(*(_raised(point, hip_y) for point in (leg.hip, leg.knee, leg.ankle, leg.toe))) for leg in legs
    )
    arms = (_arm(person, pose, -1, shoulder_y), _arm(person, pose, 1, shoulder_y))
    return _Skeleton(hip_y, shoulder_y, (left, right), arms)


def _logo(weave: Weave, at: Surface) -> Mask:
    half = 0.6 * weave.period_m + 0.02
    u, v = at.u, at.v - (0.13 + half)
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


def _is_trim(weave: Weave, at: Surface, sleeve: bool) -> Mask:
    """Where the second cloth of a garment lies on a surface; boolean, shaped as the surface."""
    u, v = at.u, at.v + 0.0 * at.u
    period, duty = weave.period_m, weave.duty
    match weave.pattern:
        case Pattern.HORIZONTAL:
            return _recurs(v, period, duty)
        case Pattern.VERTICAL:
            return _recurs(u + 0.5 * duty * period, period, duty)
        case Pattern.DIAGONAL:
            return _recurs(u + v, period, duty)
        case Pattern.CHECKS:
            return _recurs(u, period, 0.5) ^ _recurs(v, period, 0.5)
        case Pattern.DOTS:
            across, down = np.mod(u, period) / period - 0.5, np.mod(v, period) / period - 0.5
            return across * across + down * down < 0.09
        case Pattern.BAND:
            return (v > weave.offset_m) & (v < weave.offset_m + 0.06 + 0.6 * period)
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


def _cloth(weave: Weave, main: Part, trim: Part, *, sleeve: bool = False, down_m: float = 0.0) -> Paint:
    """The paint of a patterned cloth, ``down_m`` metres below its collar."""
    if weave.pattern is Pattern.PLAIN:
        return int(main)

    def paint(at: Surface) -> Parts:
        moved = Surface(at.u, at.v + down_m, at.angle, at.t)
        return np.where(_is_trim(weave, moved, sleeve), np.uint8(trim), np.uint8(main))

    return paint


def _banded(*bands: tuple[float, Paint]) -> Paint:
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


class _Figure:
    """Draws one person in one pose; each method adds the solids of one thing."""

    def __init__(self, canvas: Canvas, person: Person, pose: Pose, pitch: float) -> None:
        self._canvas, self._person, self._pose, self._pitch = canvas, person, pose, pitch
        self._heading = (math.sin(pose.heading), math.cos(pose.heading))
        self._bones = _skeleton(person, pose)
        self._neck_y = self._bones.shoulder_y + 0.045 * person.body.height_m

    def _view(self, point: Point) -> Point:
        s, c = self._heading
        x, y, z = point
        depth = z * c - x * s
        return (x * c + z * s, y - depth * self._pitch, depth)

    def _limb(
        self, start: Point, end: Point, radii: tuple[float, float], paint: Paint, crease: float = 0.0
    ) -> None:
        self._canvas.limb(self._view(start), self._view(end), radii, paint, crease)

    def _stack(self, stack: Stack, paint: Paint, crease: float = 0.0) -> None:
        self._canvas.stack(stack, self._heading, self._pitch, paint, crease)

    def draw(self) -> None:
        """Draw everything that the person is and wears."""
        self._draw_legs()
        self._draw_hips()
        self._draw_trunk()
        self._draw_arms()
        self._draw_head()
        self._draw_hair()
        self._draw_hat()
        self._draw_bag()

    def _draw_legs(self) -> None:
        body, bottom = self._person.body, self._person.bottom
        skirt = bottom.cut in (Lower.SHORT_SKIRT, Lower.LONG_SKIRT)
        thick = body.height_m / 1.7 * body.limb
        thigh, knee, ankle = 0.076 * thick, 0.050 * thick, 0.034 * thick
        covered = 0.0 if skirt or self._person.top.cut is Upper.DRESS else bottom.length
        loose = 0.010 + 0.020 * (bottom.width - 1.0) if covered else 0.0
        hem = ankle * bottom.width if covered > 0.8 else ankle
        middle = max(knee + loose, 0.45 * (thigh + hem))
        split = covered / 0.52
        for leg in self._bones.legs:
            upper = self._trousers(split, 0.0)
            lower = self._trousers((covered - 0.5) / 0.46, 0.5 * body.leg_m)
            self._limb(leg.hip, leg.knee, (thigh + loose, middle), upper, 0.10)
            self._limb(leg.knee, leg.ankle, (middle, max(hem, ankle)), lower, 0.10)
            self._draw_shoe(leg, ankle, cover=max(hem, ankle) if covered > 0.8 else 0.0)

    def _trousers(self, share: float, down_m: float) -> Paint:
        weave = self._person.bottom.weave
        cloth = _cloth(weave, Part.LOWER, Part.LOWER_TRIM, sleeve=True, down_m=down_m + 0.1)
        if share <= 0.0:
            return int(Part.SKIN)
        return cloth if share >= 0.97 else _banded((share, cloth), (1.0, int(Part.SKIN)))

    def _draw_shoe(self, leg: _Leg, ankle_m: float, cover: float) -> None:
        shoe = self._person.shoe
        heel = (leg.ankle[0], leg.ankle[1] - 0.035, leg.ankle[2] - 0.035)
        self._limb(heel, leg.toe, (0.042, 0.034), int(Part.SHOE))
        if shoe is Shoe.SNEAKER:
            lower = [(point[0], point[1] - 0.022, point[2] + 0.004) for point in (heel, leg.toe)]
            self._limb(lower[0], lower[1], (0.036, 0.030), int(Part.SOLE))
        if shoe is Shoe.BOOT and cover < 0.06:
            shaft = tuple(a + 0.42 * (b - a) for a, b in zip(leg.ankle, leg.knee, strict=True))
            self._limb(
                (shaft[0], shaft[1], shaft[2]), leg.ankle, (ankle_m + 0.026, ankle_m + 0.014), int(Part.SHOE)
            )

    def _draw_hips(self) -> None:
        body, bottom = self._person.body, self._person.bottom
        hip_y, hip, waist = self._bones.hip_y, body.hip_m, body.waist_m
        depth = 0.66 * body.girth
        if bottom.cut in (Lower.SHORT_SKIRT, Lower.LONG_SKIRT) and self._person.top.cut is not Upper.DRESS:
            hem_y = hip_y - bottom.length * body.leg_m
            wide = hip * (0.85 + 0.25 * bottom.width)
            swing = 0.45 * self._pose.stride * bottom.length * body.leg_m
            stack = Stack(
                (hem_y, hip_y + 0.02, hip_y + 0.16),
                (wide, hip + 0.012, waist + 0.01),
                (wide * 0.8 + swing, hip * depth + 0.02, waist * depth),
            )
        else:
            stack = Stack(
                (hip_y - 0.07, hip_y - 0.03, hip_y + 0.04, hip_y + 0.17),
                (hip * 0.80, hip + 0.004, hip + 0.006, waist + 0.006),
                (hip * depth * 0.75, hip * depth, hip * depth, waist * depth),
            )
        self._stack(stack, _cloth(bottom.weave, Part.LOWER, Part.LOWER_TRIM), 0.06)

    def _trunk(self) -> Stack:
        """The upper garment from its hem to the collar."""
        person = self._person
        body, top = person.body, person.top
        hip_y, shoulder_y, bulk = self._bones.hip_y, self._bones.shoulder_y, top.bulk_m
        depth = 0.66 * body.girth
        hem_y = hip_y - top.hem * body.leg_m
        rise = shoulder_y - hip_y
        fall = max(0.0, hip_y - hem_y)
        loose = (
            0.45 * bulk if top.cut in (Upper.DRESS, Upper.TANK) else bulk + 0.25 * (body.hip_m - body.waist_m)
        )
        swing = 0.40 * self._pose.stride * fall
        y = [
            hem_y,
            hip_y + 0.45 * rise,
            hip_y + 0.80 * rise,
            shoulder_y - 0.012,
            shoulder_y + 0.022,
            self._neck_y,
        ]
        x = [
            body.hip_m + bulk + top.flare_m,
            body.waist_m + loose,
            body.shoulder_m * 0.90 + bulk,
            body.shoulder_m * 0.96 + bulk,
            body.shoulder_m * 0.78 + bulk * 0.6,
            0.062 + 0.5 * bulk,
        ]
        flat = [depth * 1.05, depth * 1.02, depth * 0.92, depth * 0.78, depth * 0.70, 0.9]
        z = [a * b + (bulk if i < 3 else 0.4 * bulk) for i, (a, b) in enumerate(zip(x, flat, strict=True))]
        z[0] += swing
        if hem_y < hip_y - 0.03:
            y.insert(1, hip_y)
            x.insert(1, body.hip_m + bulk + 0.2 * top.flare_m)
            z.insert(1, body.hip_m * depth + bulk + 0.02)
        return Stack(tuple(y), tuple(x), tuple(z))

    def _draw_trunk(self) -> None:
        person = self._person
        body, top = person.body, person.top
        stack = self._trunk()
        crease = 0.12 if top.bulk_m > 0.02 else 0.07
        cloth = _cloth(top.weave, Part.UPPER, Part.UPPER_TRIM)
        self._stack(stack, self._with_front(cloth, stack), crease)
        if top.cut is Upper.HOODIE:
            hood = Stack(
                (self._bones.shoulder_y - 0.05, self._neck_y - 0.02, self._neck_y + 0.035),
                (0.05, 0.105, 0.085),
                (0.04, 0.075, 0.06),
                centre_z=-0.065,
            )
            self._stack(hood, int(Part.UPPER))
        if top.cut in (Upper.JACKET, Upper.LONG_COAT, Upper.SHIRT):
            collar = Stack((self._neck_y - 0.02, self._neck_y + 0.025), (0.085, 0.072), (0.085, 0.072))
            self._stack(collar, lambda at: np.where(abs(at.angle) > 0.5, np.uint8(Part.UPPER), np.uint8(0)))
        neck = (0.0, self._neck_y - 0.04, 0.0)
        self._limb((0.0, self._neck_y + 0.06 * body.height_m, 0.01), neck, (0.052, 0.058), int(Part.SKIN))

    def _with_front(self, cloth: Paint, stack: Stack) -> Paint:
        """Add what the front of the upper garment shows: neckline, opening, quilting, pocket."""
        top = self._person.top
        bare = top.cut in (Upper.TANK, Upper.DRESS, Upper.T_SHIRT)
        deep = {Upper.TANK: 0.13, Upper.DRESS: 0.11, Upper.T_SHIRT: 0.06}.get(top.cut, 0.05)
        tall = stack.y[-1] - stack.y[0]

        def paint(at: Surface) -> Parts:
            parts = np.broadcast_to(cloth if isinstance(cloth, int) else cloth(at), at.angle.shape).astype(
                np.uint8
            )
            v = at.v + 0.0 * at.u
            if top.cut is Upper.VEST:
                parts[np.mod(v, 0.085) < 0.014] = Part.FEATURE
            if top.cut is Upper.HOODIE:
                parts[(v > 0.68 * tall) & (abs(at.angle) < 0.9) & (v < 0.70 * tall + 0.012)] = Part.FEATURE
            if top.opening:
                parts[abs(at.angle) < top.opening * (0.55 + 0.6 * at.t)] = Part.INNER
            elif top.cut in (Upper.SHIRT, Upper.LONG_COAT):
                parts[abs(at.u) < 0.008] = Part.FEATURE
            neckline = (abs(at.angle) < 1.5) & (v < deep * np.cos(at.angle))
            parts[neckline] = Part.SKIN if bare or top.cut is Upper.SHIRT else Part.INNER
            if top.cut is Upper.TANK:
                parts[(v < 0.07) & (abs(np.sin(at.angle)) > 0.75)] = Part.SKIN
            return parts

        return paint

    def _draw_arms(self) -> None:
        body, top = self._person.body, self._person.top
        thick = body.height_m / 1.7 * body.limb
        bulk = 0.85 * top.bulk_m if top.sleeve > 0 else 0.0
        under: Part = Part.INNER if top.cut is Upper.VEST else Part.SKIN
        for arm in self._bones.arms:
            radii = (0.052 * thick + bulk, 0.041 * thick + bulk, 0.029 * thick + 0.8 * bulk)
            if 0 < top.sleeve < 1:
                upper = _banded((top.sleeve, self._sleeve(0.0)), (1.0, int(under)))
                self._limb(arm.shoulder, arm.elbow, radii[:2], upper, 0.08)
                self._limb(arm.elbow, arm.wrist, (0.040 * thick, 0.028 * thick), int(under))
            else:
                long = top.sleeve >= 1
                self._limb(
                    arm.shoulder, arm.elbow, radii[:2], self._sleeve(0.0) if long else int(under), 0.10
                )
                forearm = self._sleeve(0.17 * body.height_m) if long else int(under)
                self._limb(arm.elbow, arm.wrist, radii[1:], forearm, 0.10)
            self._limb(arm.wrist, arm.hand, (0.031 * thick, 0.034 * thick), int(Part.SKIN))

    def _sleeve(self, down_m: float) -> Paint:
        cloth = _cloth(self._person.top.weave, Part.UPPER, Part.UPPER_TRIM, sleeve=True, down_m=down_m + 0.06)
        if self._person.top.cut is not Upper.VEST:
            return cloth
        return int(Part.INNER)

    def _head_stack(
        self, grow: float = 0.0, low: float = -1.0, high: float = 1.0, back: float = 0.0
    ) -> Stack:
        """The part of the head between two shares of its half height, ``grow`` metres thicker."""
        size = self._person.body.head * self._person.body.height_m / 1.7
        shares = np.linspace(low, high, 9)
        middle = self._neck_y + 0.125 * size
        round_ = np.sqrt(np.maximum(1.0 - np.abs(shares) ** 2.3, 0.0))
        chin = 1.0 - 0.16 * np.maximum(-shares, 0.0)
        return Stack(
            tuple((middle + shares * (0.118 * size + grow)).tolist()),
            tuple((round_ * chin * (0.080 * size + grow)).tolist()),
            tuple((round_ * (0.098 * size + grow)).tolist()),
            centre_z=0.012 + back,
        )

    def _head(self, stack: Stack, paint: Paint) -> None:
        angle = self._pose.heading + self._pose.head_turn
        self._canvas.stack(stack, (math.sin(angle), math.cos(angle)), self._pitch, paint)

    def _draw_head(self) -> None:
        person = self._person

        def face(at: Surface) -> Parts:
            front = abs(at.angle)
            parts = np.full(front.shape, Part.SKIN, dtype=np.uint8)
            t = at.t + 0.0 * front
            parts[(abs(t - 0.47) < 0.028) & (abs(front - 0.42) < 0.17)] = Part.FEATURE
            parts[(abs(t - 0.77) < 0.018) & (front < 0.26)] = Part.FEATURE
            if person.beard:
                parts[(t > 0.70) & (front < 1.35) & ((abs(t - 0.76) > 0.03) | (front > 0.25))] = Part.HAIR
            if person.glasses:
                parts[(abs(t - 0.47) < 0.055) & (front < 0.80) & (front > 0.10)] = Part.FEATURE
                parts[(abs(t - 0.45) < 0.02) & (front < 1.6)] = Part.FEATURE
            return parts

        self._head(self._head_stack(), face)

    def _draw_hair(self) -> None:
        hair = self._person.hair
        if hair is Hair.BALD:
            return
        grow = {Hair.SHORT: 0.012, Hair.BOB: 0.024, Hair.LONG: 0.018, Hair.AFRO: 0.062}.get(hair, 0.012)
        length = {Hair.BOB: 0.80, Hair.LONG: 0.95, Hair.AFRO: 0.80}.get(hair, 0.62)

        def cap(at: Surface) -> Parts:
            front = abs(at.angle)
            # The hairline falls from the forehead to the nape.
            line = np.where(front < 0.75, 0.24, np.clip(0.24 + (front - 0.75) * 1.1, 0.0, length))
            return np.where(at.t < line, np.uint8(Part.HAIR), np.uint8(0))

        self._head(self._head_stack(grow, back=-0.008), cap)
        top_y = self._neck_y + 0.24 * self._person.body.head
        if hair in (Hair.LONG, Hair.BOB):
            low = self._neck_y - (0.20 if hair is Hair.LONG else -0.01)
            fall = Stack(
                (low, self._neck_y + 0.02, top_y - 0.06),
                (0.085, 0.105, 0.098),
                (0.035, 0.062, 0.08),
                centre_z=-0.055,
            )
            self._head(fall, lambda at: np.where(abs(at.angle) > 0.9, np.uint8(Part.HAIR), np.uint8(0)))
        if hair is Hair.PONYTAIL:
            self._limb((0.0, top_y - 0.05, -0.10), (0.0, top_y - 0.28, -0.15), (0.036, 0.022), int(Part.HAIR))
        if hair is Hair.BUN:
            self._limb((0.0, top_y + 0.01, -0.05), (0.0, top_y + 0.03, -0.06), (0.05, 0.046), int(Part.HAIR))

    def _draw_hat(self) -> None:
        hat = self._person.hat
        if hat is Hat.NONE:
            return
        grow = 0.026 if self._person.hair is not Hair.AFRO else 0.05
        low = {Hat.CAP: 0.22, Hat.BEANIE: 0.10, Hat.BRIM: 0.20}[hat]
        crown = self._head_stack(grow, low=low, back=-0.004)
        if hat is Hat.BEANIE:
            y = tuple(crown.y[0] + 1.25 * (value - crown.y[0]) for value in crown.y)
            crown = Stack(y, crown.x, crown.z, crown.centre_x, crown.centre_z)
        self._head(crown, int(Part.HAT))
        edge = crown.y[0]
        if hat is Hat.CAP:
            self._head(
                Stack((edge, edge + 0.025), (0.075, 0.070), (0.10, 0.09), centre_z=0.10), int(Part.HAT)
            )
        if hat is Hat.BRIM:
            self._head(Stack((edge - 0.005, edge + 0.03), (0.185, 0.15), (0.185, 0.15)), int(Part.HAT))

    def _draw_bag(self) -> None:
        match self._person.bag:
            case Bag.BACKPACK:
                self._draw_backpack()
            case Bag.SHOULDER:
                self._draw_slung_bag(drop_m=0.0, across=True)
            case Bag.TOTE:
                self._draw_slung_bag(drop_m=-0.18, across=False)
            case Bag.HAND:
                self._draw_hand_bag()
            case Bag.NONE:
                return

    def _straps(self, where: Paint) -> None:
        self._stack(self._trunk().grown(0.012), where)

    def _draw_backpack(self) -> None:
        person, size = self._person, self._person.bag_size
        shoulder = person.body.shoulder_m
        back = self._trunk().z[-4]
        top = self._bones.shoulder_y + 0.01
        low = top - 0.40 * size
        wide, deep = 0.145 * size, 0.085 * size
        stack = Stack(
            (low, low + 0.04, top - 0.07, top),
            (wide * 0.9, wide, wide * 0.95, wide * 0.55),
            (deep * 0.8, deep * 1.1, deep, deep * 0.5),
            centre_z=-(back + 0.55 * deep),
        )
        trim = int(Part.BAG_TRIM)
        self._stack(stack, _banded((0.50, int(Part.BAG)), (0.56, trim), (1.0, int(Part.BAG))), 0.05)

        def straps(at: Surface) -> Parts:
            x = shoulder * np.sin(at.angle)
            held = (abs(abs(x) - 0.62 * shoulder) < 0.024) & (at.v < 0.36) & (abs(at.angle) < 1.57)
            return np.where(held, np.uint8(Part.BAG_TRIM), np.uint8(0))

        self._straps(straps)

    def _draw_slung_bag(self, drop_m: float, across: bool) -> None:
        person, side, size = self._person, self._person.bag_side, self._person.bag_size
        body = person.body
        middle_y = self._bones.hip_y - 0.02 - drop_m
        x = side * (max(body.hip_m, body.shoulder_m * 0.85) + person.top.bulk_m + 0.075)
        tall, wide = (0.24, 0.055) if across else (0.34, 0.050)
        stack = Stack(
            (middle_y - 0.5 * tall * size, middle_y + 0.5 * tall * size),
            (wide * size, wide * 0.9 * size),
            (0.17 * size, 0.155 * size),
            centre_x=x,
            centre_z=-0.03,
        )
        trim = int(Part.BAG_TRIM)
        self._stack(stack, _banded((0.40 if across else 0.12, trim), (1.0, int(Part.BAG))))
        reach = self._bones.shoulder_y - middle_y
        shoulder = body.shoulder_m

        def strap(at: Surface) -> Parts:
            sideways = side * shoulder * np.sin(at.angle)
            if across:
                line = -0.55 * shoulder + (at.v - 0.03) / reach * 1.5 * shoulder
            else:
                line = 0.66 * shoulder + 0.0 * at.v
            held = (abs(sideways - line) < 0.022) & (at.v < reach)
            return np.where(held, np.uint8(trim), np.uint8(0))

        self._straps(strap)

    def _draw_hand_bag(self) -> None:
        person, size = self._person, self._person.bag_size
        hand = self._bones.arms[(person.bag_side + 1) // 2].hand
        top = hand[1] - 0.05
        stack = Stack(
            (top - 0.26 * size, top - 0.03, top),
            (0.055 * size, 0.05 * size, 0.03),
            (0.165 * size, 0.15 * size, 0.11),
            centre_x=hand[0] + person.bag_side * 0.02,
            centre_z=hand[2],
        )
        bag = _banded((0.16, int(Part.BAG_TRIM)), (1.0, int(Part.BAG)))
        self._stack(stack, bag)
        self._limb(hand, (hand[0], top, hand[2]), (0.018, 0.018), int(Part.BAG_TRIM))


def draw_figure(canvas: Canvas, person: Person, pose: Pose, pitch: float) -> None:
    """Draw a person onto a canvas, feet at height 0 and the body's axis at 0.

    Args:
        canvas: Where to; its parts and light are filled in.
        person: Who.
        pose: How they stand.
        pitch: Sine of the angle by which the camera looks down, at least 0.
    """
    _Figure(canvas, person, pose, pitch).draw()
