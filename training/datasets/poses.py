"""Poses: how a person stands or walks in one picture, and walks past a camera."""

import math
from dataclasses import dataclass

import numpy as np

from training.datasets.bodies import Habit
from training.datasets.people import Person


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
        lean: How far the trunk leans forward.
        head_turn: Turn of the head against the body.
        head_nod: How far the head is carried forward, in metres.
        habit: What the arms do.
    """

    heading: float
    phase: float
    stride: float
    arm_swing: float
    elbow: float
    spread: float
    lean: float
    head_turn: float
    head_nod: float
    habit: Habit


@dataclass(frozen=True, slots=True)
class Step:
    """One moment of a walk past a camera; angles in radians.

    Attributes:
        heading: Turn of the body, as ``Pose``'s.
        phase: Where in the cycle of two steps.
    """

    heading: float
    phase: float


@dataclass(frozen=True, slots=True)
class Walk:
    """A way past a camera: pictures of one track turn slowly, and their steps follow each other.

    Attributes:
        start: The first moment.
        drift: Turn from one picture to the next, in radians.
        advance: Change of phase from one picture to the next, in radians.
    """

    start: Step
    drift: float
    advance: float

    def step(self, image: int) -> Step:
        """The moment of a picture, counted from 0."""
        return Step(self.start.heading + image * self.drift, self.start.phase + image * self.advance)


def draw_walk(rng: np.random.Generator, interval_s: float) -> Walk:
    """Draw a way past a camera.

    Args:
        rng: The track's stream of random numbers; four are used.
        interval_s: Seconds from one picture to the next.
    """
    heading, phase, turn, cadence = rng.random(4).tolist()
    cycles_per_s = 0.80 + 0.25 * cadence
    return Walk(
        start=Step(2 * math.pi * heading, 2 * math.pi * phase),
        drift=(turn - 0.5) * 0.2 * interval_s,
        advance=2 * math.pi * cycles_per_s * interval_s,
    )


def draw_pose(person: Person, rng: np.random.Generator, step: Step | None = None) -> Pose:
    """Draw a pose: one of eight headings with some turn, walking five times in six, in the person's gait.

    Args:
        person: Whose gait it is.
        rng: The picture's stream of random numbers; eleven are used.
        step: Fixes heading and phase, where the picture belongs to a walk.
    """
    gait = person.gait
    sector, turn, phase, walk, pace, arms, bend, lean, head, habit, other = rng.random(11).tolist()
    stride = 0.05 if walk < 1 / 6 and step is None else gait.stride * (0.8 + 0.4 * pace)
    shown = gait.habit if habit < 0.5 else Habit.PHONE if other < 0.12 else Habit.SWING
    if step is None:
        step = Step(int(sector * 8) * math.pi / 4 + (turn - 0.5) * 0.7, phase * 2 * math.pi)
    return Pose(
        heading=step.heading,
        phase=step.phase,
        stride=stride,
        arm_swing=stride * gait.arm_swing * (0.7 + 0.6 * arms),
        elbow=max(0.05, gait.elbow + (bend - 0.5) * 0.3),
        spread=0.05 + 0.09 * pace,
        lean=gait.lean + (lean - 0.5) * 0.06,
        head_turn=(head - 0.5) * 0.9,
        head_nod=gait.stoop + (0.03 if shown is Habit.PHONE else 0.0),
        habit=shown,
    )
