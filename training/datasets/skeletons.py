"""The skeleton of a person in a pose: where the joints are."""

import math
from dataclasses import dataclass

from training.datasets.bodies import Habit
from training.datasets.canvas import Point
from training.datasets.people import Bag, Item, Person
from training.datasets.poses import Pose


@dataclass(frozen=True, slots=True)
class Leg:
    """The joints of a leg, in the coordinates of ``Skeleton``."""

    hip: Point
    knee: Point
    ankle: Point
    toe: Point


@dataclass(frozen=True, slots=True)
class Arm:
    """The joints of an arm, in the coordinates of ``Skeleton``."""

    shoulder: Point
    elbow: Point
    wrist: Point
    hand: Point


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Joints in the coordinates of the body: x to its left, y up from the ground, z to its front.

    Attributes:
        hip_y: Height of the hip joints in metres, as all of these.
        shoulder_y: Height of the shoulders.
        legs: The right leg and the left one.
        arms: The right arm and the left one.
    """

    hip_y: float
    shoulder_y: float
    legs: tuple[Leg, Leg]
    arms: tuple[Arm, Arm]


def _swung(start: Point, length: float, angle: float, out: float = 0.0) -> Point:
    down = length * math.cos(angle)
    return (
        start[0] + down * math.sin(out),
        start[1] - down * math.cos(out),
        start[2] + length * math.sin(angle),
    )


def _leg(person: Person, pose: Pose, side: int) -> Leg:
    body, gait = person.body, person.gait
    thigh_m, shin_m = body.leg_m * 0.50, body.leg_m * 0.46
    cycle = pose.phase + (math.pi if side > 0 else 0.0)
    thigh = pose.stride * math.sin(cycle)
    bend = 0.04 + 1.5 * pose.stride * max(0.0, math.cos(cycle)) ** 2
    hip = (side * body.hip_m * 0.50, 0.0, 0.0)
    out = side * (gait.stance - 0.52) * body.hip_m / body.leg_m
    knee = _swung(hip, thigh_m, thigh, out)
    ankle = _swung(knee, shin_m, thigh - bend, out)
    lift = 0.5 * (thigh - bend)
    foot_m = body.height_m * 0.105
    toe = (
        ankle[0] + side * foot_m * math.sin(gait.toe_out),
        ankle[1] - 0.045 + foot_m * math.sin(lift),
        ankle[2] + foot_m * math.cos(lift) * math.cos(gait.toe_out),
    )
    return Leg(hip, knee, ankle, toe)


def _held_arm(habit: Habit, side: int) -> tuple[float, float, float, float]:
    """Angles of an arm that does not swing: shoulder forward, shoulder out, elbow bend, forearm out."""
    match habit:
        case Habit.POCKETS:
            return (-0.20, 0.24, 0.55, -0.18)
        case Habit.PHONE:
            return (0.15, 0.06, 1.75, -0.55) if side > 0 else (0.05, 0.10, 1.15, -0.35)
        case Habit.BEHIND:
            return (-0.45, 0.20, -0.15, -0.75)
        case Habit.SWING:
            return (0.0, 0.0, 0.0, 0.0)


def _arm(person: Person, pose: Pose, side: int, shoulder_y: float) -> Arm:
    body, top = person.body, person.top
    cycle = pose.phase + (0.0 if side > 0 else math.pi)
    swing, bend = pose.arm_swing * math.sin(cycle), pose.elbow
    out = pose.spread + 0.5 * top.bulk_m + 0.06 * body.weight
    fore_out = out * 0.4
    carries = (person.bag is Bag.HAND and side == person.bag_side) or (
        person.item is not Item.NONE and side == -person.bag_side
    )
    if carries:
        swing, bend = 0.3 * swing, 1.35 if person.item is Item.COAT and side == -person.bag_side else 0.08
    elif pose.habit is not Habit.SWING:
        swing, extra, bend, fore_out = _held_arm(pose.habit, side)
        out += extra
    x = side * (body.shoulder_m * 0.90 + 0.3 * top.bulk_m)
    shoulder = (x - side * 0.012, shoulder_y - 0.042 * body.height_m - 0.5 * top.bulk_m, 0.0)
    elbow = _swung(shoulder, body.height_m * 0.172 * body.arm, swing, side * out)
    wrist = _swung(elbow, body.height_m * 0.150 * body.arm, swing + bend, side * fore_out)
    hand = _swung(wrist, body.height_m * 0.045, swing + bend, side * fore_out * 0.5)
    if fore_out < 0:
        # A bent forearm turns inwards about the upper arm.
        inward = side * body.height_m * 0.150 * math.sin(fore_out) * abs(math.sin(bend))
        wrist, hand = (wrist[0] + inward, *wrist[1:]), (hand[0] + inward * 1.2, *hand[1:])
    return Arm(shoulder, elbow, wrist, hand)


def _raised(point: Point, by: float) -> Point:
    return (point[0], point[1] + by, point[2])


def skeleton_of(person: Person, pose: Pose) -> Skeleton:
    """The joints of a person in a pose, the lower foot on the ground."""
    body = person.body
    legs = [_leg(person, pose, side) for side in (-1, 1)]
    ground = min(min(leg.ankle[1] - 0.075, leg.toe[1] - 0.03) for leg in legs)
    hip_y = -ground
    shoulder_y = hip_y + (body.height_m - body.leg_m) - body.height_m * (0.135 + 0.04 * body.neck)
    right_leg, left_leg = (
        Leg(*(_raised(point, hip_y) for point in (leg.hip, leg.knee, leg.ankle, leg.toe))) for leg in legs
    )

    def leant(point: Point) -> Point:
        return (point[0], point[1], point[2] + pose.lean * (point[1] - hip_y))

    arms = tuple(_arm(person, pose, side, shoulder_y) for side in (-1, 1))
    right_arm, left_arm = (
        Arm(*(leant(point) for point in (arm.shoulder, arm.elbow, arm.wrist, arm.hand))) for arm in arms
    )
    return Skeleton(hip_y, shoulder_y, (right_leg, left_leg), (right_arm, left_arm))
