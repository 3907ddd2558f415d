"""Belongings: the bag of a person, and what the other hand holds."""

import numpy as np

from training.datasets.canvas import Paint, Parts, Stack, Surface
from training.datasets.cloth import banded
from training.datasets.mannequins import Mannequin
from training.datasets.materials import Part
from training.datasets.people import Bag, Item


def draw_belongings(mannequin: Mannequin) -> None:
    """Draw what the person carries."""
    _draw_bag(mannequin)
    _draw_item(mannequin)


def _draw_bag(mannequin: Mannequin) -> None:
    match mannequin.person.bag:
        case Bag.BACKPACK:
            _draw_backpack(mannequin)
        case Bag.SHOULDER:
            _draw_slung_bag(mannequin, drop_m=0.0, across=True)
        case Bag.TOTE:
            _draw_slung_bag(mannequin, drop_m=-0.18, across=False)
        case Bag.HAND:
            _draw_hand_bag(mannequin)
        case Bag.WAIST:
            _draw_waist_bag(mannequin)
        case Bag.NONE:
            return


def _straps(mannequin: Mannequin, where: Paint) -> None:
    mannequin.stack(mannequin.trunk().grown(0.012), where)


def _draw_backpack(mannequin: Mannequin) -> None:
    person, size = mannequin.person, mannequin.person.bag_size
    shoulder = person.body.shoulder_m
    back = mannequin.trunk().z[-4]
    top = mannequin.bones.shoulder_y + 0.01
    low = top - 0.40 * size
    wide, deep = 0.145 * size, 0.085 * size
    stack = Stack(
        (low, low + 0.04, top - 0.07, top),
        (wide * 0.9, wide, wide * 0.95, wide * 0.55),
        (deep * 0.8, deep * 1.1, deep, deep * 0.5),
        centre_z=-(back + 0.55 * deep),
    )
    trim = int(Part.BAG_TRIM)
    mannequin.stack(
        mannequin.leaning(stack), banded((0.50, int(Part.BAG)), (0.56, trim), (1.0, int(Part.BAG)))
    )

    def straps(at: Surface) -> Parts:
        x = shoulder * np.sin(at.angle)
        held = (abs(abs(x) - 0.62 * shoulder) < 0.024) & (at.v < 0.36) & (abs(at.angle) < 1.57)
        return np.where(held, np.uint8(Part.BAG_TRIM), np.uint8(0))

    _straps(mannequin, straps)


def _draw_slung_bag(mannequin: Mannequin, drop_m: float, across: bool) -> None:
    person, side, size = mannequin.person, mannequin.person.bag_side, mannequin.person.bag_size
    body = person.body
    middle_y = mannequin.bones.hip_y - 0.02 - drop_m
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
    mannequin.stack(stack, banded((0.40 if across else 0.12, trim), (1.0, int(Part.BAG))))
    reach = mannequin.bones.shoulder_y - middle_y
    shoulder = body.shoulder_m

    def strap(at: Surface) -> Parts:
        sideways = side * shoulder * np.sin(at.angle)
        if across:
            line = -0.55 * shoulder + (at.v - 0.03) / reach * 1.5 * shoulder
        else:
            line = 0.66 * shoulder + 0.0 * at.v
        held = (abs(sideways - line) < 0.022) & (at.v < reach)
        return np.where(held, np.uint8(trim), np.uint8(0))

    _straps(mannequin, strap)


def _draw_hand_bag(mannequin: Mannequin) -> None:
    size = mannequin.person.bag_size
    _hang(
        mannequin,
        mannequin.person.bag_side,
        0.26 * size,
        (0.055 * size, 0.165 * size),
        Part.BAG,
        Part.BAG_TRIM,
    )


def _hang(
    mannequin: Mannequin, side: int, tall: float, half: tuple[float, float], part: Part, handle: Part
) -> None:
    """Hang a bag of a height and half width and depth from the hand of a side."""
    hand = mannequin.bones.arms[(side + 1) // 2].hand
    top = hand[1] - 0.05
    stack = Stack(
        (top - tall, top - 0.03, top),
        (half[0], half[0] * 0.9, 0.03),
        (half[1], half[1] * 0.9, half[1] * 0.66),
        centre_x=hand[0] + side * 0.02,
        centre_z=hand[2],
    )
    mannequin.stack(stack, banded((0.16, int(handle)), (1.0, int(part))))
    mannequin.limb(hand, (hand[0], top, hand[2]), (0.018, 0.018), int(handle))


def _draw_waist_bag(mannequin: Mannequin) -> None:
    person, size = mannequin.person, mannequin.person.bag_size
    y = mannequin.bones.hip_y + 0.12
    front = person.body.waist_m * person.body.depth + person.top.bulk_m + 0.05
    stack = Stack(
        (y - 0.07 * size, y, y + 0.06 * size),
        (0.10 * size, 0.13 * size, 0.12 * size),
        (0.04 * size, 0.05 * size, 0.035 * size),
        centre_x=person.bag_side * 0.03,
        centre_z=front,
    )
    mannequin.stack(mannequin.leaning(stack), banded((0.25, int(Part.BAG_TRIM)), (1.0, int(Part.BAG))))
    trunk = mannequin.trunk().grown(0.012)
    top = trunk.y[-1]

    def strap(at: Surface) -> Parts:
        return np.where(abs(top - at.v - y + 0.0 * at.u) < 0.02, np.uint8(Part.BAG_TRIM), np.uint8(0))

    mannequin.stack(trunk, strap)


def _draw_item(mannequin: Mannequin) -> None:
    side, item = -mannequin.person.bag_side, int(Part.ITEM)
    arm = mannequin.bones.arms[(side + 1) // 2]
    x, y, z = arm.hand
    match mannequin.person.item:
        case Item.NONE:
            return
        case Item.BOTTLE:
            mannequin.limb((x, y + 0.10, z + 0.03), (x, y - 0.09, z + 0.03), (0.022, 0.036), item)
        case Item.FOLDER:
            folder = Stack(
                (y - 0.12, y + 0.14), (0.018, 0.018), (0.14, 0.14), centre_x=x + side * 0.03, centre_z=z
            )
            mannequin.stack(folder, item)
        case Item.UMBRELLA:
            mannequin.limb((x, y + 0.08, z - 0.02), (x, y - 0.50, z + 0.12), (0.018, 0.034), item)
        case Item.SHOPPING:
            _hang(mannequin, side, 0.34, (0.09, 0.15), Part.ITEM, Part.ITEM)
        case Item.COAT:
            fore = arm.wrist
            stack = Stack(
                (fore[1] - 0.36, fore[1] - 0.05, fore[1] + 0.04),
                (0.06, 0.07, 0.05),
                (0.12, 0.13, 0.11),
                centre_x=fore[0],
                centre_z=0.5 * (fore[2] + arm.elbow[2]),
            )
            mannequin.stack(stack, item)
