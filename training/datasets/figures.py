"""The figure of a person in a pose: the clothed body, with the head and the belongings."""

from dataclasses import replace

import numpy as np

from training.datasets.belongings import draw_belongings
from training.datasets.bodies import Habit
from training.datasets.canvas import Canvas, Paint, Parts, Reals, Stack, Surface
from training.datasets.cloth import banded, parts_of, patterned, quilted, side_seamed
from training.datasets.garments import Lower, Neckline, Pocket, Upper
from training.datasets.heads import draw_head
from training.datasets.mannequins import Mannequin
from training.datasets.materials import Part
from training.datasets.people import Person, Shoe
from training.datasets.poses import Pose
from training.datasets.skeletons import Leg

_OPEN_FRONTS = (
    Upper.JACKET,
    Upper.BLAZER,
    Upper.PUFFER,
    Upper.VEST,
    Upper.PARKA,
    Upper.LONG_COAT,
    Upper.HOODIE,
)
_BARE_NECKS = (Upper.TANK, Upper.T_SHIRT, Upper.SWEATER, Upper.DRESS, Upper.SHIRT)
_COLLARS = (Upper.SHIRT, Upper.JACKET, Upper.BLAZER, Upper.LONG_COAT, Upper.PUFFER, Upper.VEST)
_SKIRTS = (Lower.SHORT_SKIRT, Lower.LONG_SKIRT)


def draw_figure(canvas: Canvas, person: Person, pose: Pose, pitch: float) -> None:
    """Draw a person onto a canvas, feet at height 0 and the body's axis at 0.

    Args:
        canvas: Where to; its parts, light and depth are filled in.
        person: Who.
        pose: How they stand.
        pitch: Sine of the angle by which the camera looks down, at least 0.
    """
    mannequin = Mannequin(canvas, person, pose, pitch)
    _draw_legs(mannequin)
    _draw_hips(mannequin)
    _draw_trunk(mannequin)
    _draw_arms(mannequin)
    draw_head(mannequin)
    draw_belongings(mannequin)


def _draw_legs(mannequin: Mannequin) -> None:
    body, bottom = mannequin.person.body, mannequin.person.bottom
    thick = body.thickness
    thigh, knee, ankle = 0.078 * thick, 0.050 * thick, 0.034 * thick
    bare = bottom.cut in _SKIRTS or mannequin.person.top.cut is Upper.DRESS
    covered = 0.0 if bare else bottom.length_legs
    loose = 0.010 + 0.022 * (bottom.hem_width - 1.0) if covered else 0.0
    hem = ankle * bottom.hem_width if covered > 0.8 else ankle
    middle = max(knee + loose, 0.45 * (thigh + hem))
    for leg in mannequin.bones.legs:
        upper = _trousers(mannequin.person, covered / 0.52, 0.0)
        lower = _trousers(mannequin.person, (covered - 0.5) / 0.46, 0.5 * body.leg_m, shin=True)
        mannequin.limb(leg.hip, leg.knee, (thigh + loose, middle), upper, 0.04)
        mannequin.limb(leg.knee, leg.ankle, (middle, max(hem, ankle)), lower, 0.04 if covered > 0.8 else 0.16)
        if bottom.cut is Lower.JOGGERS and covered:
            cuff = (leg.ankle[0], leg.ankle[1] + 0.05, leg.ankle[2])
            mannequin.limb(cuff, leg.ankle, (ankle + 0.014, ankle + 0.012), int(Part.LOWER_SEAM))
        _draw_shoe(mannequin, leg, ankle, cover=max(hem, ankle) if covered > 0.8 else 0.0)


def _trousers(person: Person, share: float, down_m: float, *, shin: bool = False) -> Paint:
    bottom, sock = person.bottom, person.sock
    bare: Paint = int(Part.SKIN)
    if shin and sock > 0.3:
        bare = banded((1.0 - 0.55 * (sock - 0.3), bare), (1.0, int(Part.SOCK)))
    if share <= 0.0:
        return bare
    cloth = patterned(bottom.weave, Part.LOWER, Part.LOWER_TRIM, sleeve=True, down_m=down_m + 0.1)
    if bottom.seams:
        cloth = side_seamed(cloth)
    return cloth if share >= 0.97 else banded((share, cloth), (1.0, bare))


def _draw_shoe(mannequin: Mannequin, leg: Leg, ankle_m: float, cover: float) -> None:
    shoe = mannequin.person.shoe
    heel = (leg.ankle[0], leg.ankle[1] - 0.035, leg.ankle[2] - 0.035)
    upper = banded((0.35, int(Part.SHOE)), (0.6, int(Part.SKIN)), (1.0, int(Part.SHOE)))
    mannequin.limb(heel, leg.toe, (0.042, 0.034), upper if shoe is Shoe.SANDAL else int(Part.SHOE))
    if shoe is Shoe.SNEAKER:
        lower = [(point[0], point[1] - 0.022, point[2] + 0.004) for point in (heel, leg.toe)]
        mannequin.limb(lower[0], lower[1], (0.036, 0.030), int(Part.SOLE))
    if shoe is Shoe.BOOT and cover < 0.06:
        shaft = tuple(a + 0.42 * (b - a) for a, b in zip(leg.ankle, leg.knee, strict=True))
        mannequin.limb(
            (shaft[0], shaft[1], shaft[2]), leg.ankle, (ankle_m + 0.026, ankle_m + 0.014), int(Part.SHOE)
        )


def _draw_hips(mannequin: Mannequin) -> None:
    body, bottom = mannequin.person.body, mannequin.person.bottom
    hip_y, hip, waist, depth = mannequin.bones.hip_y, body.hip_m, body.waist_m, body.depth
    if bottom.cut in _SKIRTS and mannequin.person.top.cut is not Upper.DRESS:
        hem_y = hip_y - bottom.length_legs * body.leg_m
        wide = hip * (0.85 + 0.25 * bottom.hem_width)
        swing = 0.45 * mannequin.pose.stride * bottom.length_legs * body.leg_m
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
    mannequin.stack(mannequin.leaning(stack), patterned(bottom.weave, Part.LOWER, Part.LOWER_TRIM))


def _draw_trunk(mannequin: Mannequin) -> None:
    body, top = mannequin.person.body, mannequin.person.top
    stack = mannequin.trunk()
    mannequin.stack(
        stack, _with_front(mannequin.person, patterned(top.weave, Part.UPPER, Part.UPPER_TRIM), stack)
    )
    if mannequin.person.belt and top.hem_legs < 0.10 and top.cut is not Upper.DRESS:
        belt = replace(stack.grown(0.004), y=(stack.y[0] - 0.03, *stack.y[1:]))
        mannequin.stack(belt, banded((0.93, 0), (1.0, int(Part.BELT))))
    if top.cut in _COLLARS:
        high = 0.05 if top.cut in (Upper.PUFFER, Upper.LONG_COAT) else 0.03
        collar = Stack((mannequin.neck_y - 0.02, mannequin.neck_y + high), (0.085, 0.074), (0.085, 0.074))
        mannequin.stack(
            mannequin.leaning(collar),
            lambda at: np.where(abs(at.angle) > 0.5, np.uint8(Part.UPPER), np.uint8(0)),
        )
    covered = top.neckline is Neckline.HIGH
    under = Part.INNER if top.cut in _OPEN_FRONTS else Part.UPPER
    chin = (0.0, mannequin.neck_y + 0.05 * body.height_m, mannequin.head_z + 0.01)
    base = (0.0, mannequin.neck_y - 0.04, mannequin.head_z - mannequin.pose.head_nod)
    neck = banded((0.35, int(Part.SKIN)), (1.0, int(under))) if covered else int(Part.SKIN)
    mannequin.limb(chin, base, (0.052, 0.060), neck)


def _with_front(person: Person, cloth: Paint, stack: Stack) -> Paint:
    """Add what shows on the upper garment: neckline, opening, quilting, pockets, hem."""
    top = person.top
    bare = top.cut in _BARE_NECKS
    deep = {Neckline.ROUND: 0.055, Neckline.V: 0.13, Neckline.HIGH: 0.0}[top.neckline]
    if top.cut in (Upper.TANK, Upper.DRESS):
        deep += 0.05
    tall = stack.y[-1] - stack.y[0]

    def paint(at: Surface) -> Parts:
        parts = parts_of(cloth, at)
        v = at.v + 0.0 * at.u
        front = abs(at.angle)
        if top.cut in (Upper.VEST, Upper.PUFFER):
            parts[np.mod(v, top.quilt_m) < 0.014] = Part.UPPER_SEAM
        _paint_pockets(person, parts, at.u, v, front, tall)
        if top.cuffs:
            parts[v > tall - 0.055] = Part.UPPER_TRIM
        if top.opening_rad and top.cut in _OPEN_FRONTS:
            parts[front < top.opening_rad * (0.55 + 0.6 * at.t)] = Part.INNER
        elif top.cut in _OPEN_FRONTS or top.cut is Upper.SHIRT:
            parts[abs(at.u) < 0.008] = Part.UPPER_SEAM
        if top.cut is Upper.BLAZER:
            lapel = (front < 0.75 - 2.2 * v) & (front > 0.55 - 2.2 * v)
            parts[lapel] = Part.UPPER_SEAM
            parts[(front < 0.55 - 2.0 * v) & (v < 0.3)] = Part.INNER
        neckline = (front < 1.5) & (v < deep * np.cos(at.angle))
        if top.neckline is Neckline.V:
            neckline &= front < 1.0 - 6.0 * v
        parts[neckline] = Part.SKIN if bare else Part.INNER
        if top.cut is Upper.TANK:
            parts[(v < 0.07) & (abs(np.sin(at.angle)) > 0.75)] = Part.SKIN
        return parts

    return paint


def _paint_pockets(person: Person, parts: Parts, u: Reals, v: Reals, front: Reals, tall: float) -> None:
    top = person.top
    seam = Part.UPPER_SEAM
    if top.cut is Upper.HOODIE:
        parts[(v > 0.68 * tall) & (front < 0.9) & (v < 0.68 * tall + 0.014)] = seam
    elif top.pocket is Pocket.CHEST:
        side = person.bag_side
        parts[(abs(side * u - 0.09) < 0.05) & (v > 0.17) & (v < 0.184) & (front < 1.4)] = seam
    elif top.pocket is Pocket.HIP and top.cut in _OPEN_FRONTS:
        low = 0.62 * tall
        parts[(abs(abs(u) - 0.12) < 0.06) & (v > low) & (v < low + 0.016) & (front < 1.5)] = seam


def _draw_arms(mannequin: Mannequin) -> None:
    body, top = mannequin.person.body, mannequin.person.top
    thick = body.thickness
    sleeve = top.sleeve_arms
    bulk = 0.85 * top.bulk_m if sleeve > 0 else 0.0
    under: Part = Part.INNER if top.cut is Upper.VEST else Part.SKIN
    hand = Part.GLOVE if mannequin.person.gloves else Part.SKIN
    radii = (0.052 * thick + bulk, 0.041 * thick + bulk, 0.029 * thick + 0.7 * bulk)
    for arm in mannequin.bones.arms:
        upper, fore = (
            _sleeve(mannequin.person, sleeve, 0.0, under),
            _sleeve(mannequin.person, sleeve - 1, 0.17, under),
        )
        mannequin.limb(
            arm.shoulder, arm.elbow, radii[:2] if sleeve > 0.3 else (0.05 * thick, 0.04 * thick), upper
        )
        fore_radii = radii[1:] if sleeve > 1.2 else (0.040 * thick, 0.028 * thick)
        mannequin.limb(arm.elbow, arm.wrist, fore_radii, fore, 0.05)
        in_pocket = mannequin.pose.habit is Habit.POCKETS and hand is Part.SKIN
        size = 0.6 if in_pocket else 1.0
        mannequin.limb(arm.wrist, arm.hand, (0.029 * thick * size, 0.036 * thick * size), int(hand))


def _sleeve(person: Person, share: float, down: float, under: Part) -> Paint:
    """Paint of an arm segment that the sleeve covers to a share of its length."""
    top = person.top
    if share <= 0.05:
        return int(under)
    down_m = down * person.body.height_m + 0.06
    cloth = patterned(top.weave, Part.UPPER, Part.UPPER_TRIM, sleeve=True, down_m=down_m)
    if top.cut is Upper.PUFFER:
        cloth = quilted(cloth, top.quilt_m)
    if share >= 1.0:
        return cloth
    if share >= 0.9:
        # The sleeve ends at the joint, so only its cuff, if any, is told apart.
        return banded((0.73, cloth), (0.85, int(Part.UPPER_TRIM)), (1.0, int(under))) if top.cuffs else cloth
    edge = [(share - 0.12, cloth), (share, int(Part.UPPER_TRIM))] if top.cuffs else [(share, cloth)]
    return banded(*edge, (1.0, int(under)))
