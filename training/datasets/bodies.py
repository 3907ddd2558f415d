"""The body and the gait of a person who does not exist."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from training.datasets.chance import pick, within


class Habit(StrEnum):
    """What the arms do half of the time."""

    SWING = "swing"
    POCKETS = "pockets"
    PHONE = "phone"
    BEHIND = "behind"


@dataclass(frozen=True, slots=True)
class Body:
    """The build of a person: independent numbers, and the lengths in metres that follow from them.

    Attributes:
        height_m: From the ground to the crown.
        leg: From the ground to the hip joint, as a share of the height.
        shoulder: Half the width of the shoulders, as a share of the height.
        hip: Half the width of the hips of a lean person, as a share of the height.
        waist: Width of the waist against the hips of a lean person.
        weight: 0 is lean, 1 is stout.
        limb: Thickness of arms and legs against the average.
        head: Size of the head against the average.
        neck: Length of the neck against the average.
        arm: Length of the arms against the average.
    """

    height_m: float
    leg: float
    shoulder: float
    hip: float
    waist: float
    weight: float
    limb: float
    head: float
    neck: float
    arm: float

    @property
    def leg_m(self) -> float:
        """From the ground to the hip joint, in metres."""
        return self.height_m * self.leg

    @property
    def shoulder_m(self) -> float:
        """Half the width of the shoulders, in metres."""
        return self.height_m * self.shoulder

    @property
    def hip_m(self) -> float:
        """Half the width of the hips, in metres."""
        return self.height_m * self.hip * (1 + 0.22 * self.weight)

    @property
    def waist_m(self) -> float:
        """Half the width of the waist, in metres."""
        return self.hip_m * (self.waist + 0.26 * self.weight)

    @property
    def depth(self) -> float:
        """Depth of the trunk against its width."""
        return 0.60 + 0.32 * self.weight

    @property
    def thickness(self) -> float:
        """Thickness of arms and legs against an average person of 1.7 m."""
        return self.height_m / 1.7 * (self.limb + 0.24 * self.weight)


@dataclass(frozen=True, slots=True)
class Gait:
    """How a person walks and stands; angles in radians.

    Attributes:
        stride: Swing of the thighs when walking.
        arm_swing: Swing of the arms against the thighs.
        elbow: Bend of the elbows.
        lean: How far the trunk leans forward.
        stoop: How far the head is carried forward, in metres.
        toe_out: How far the feet point outwards.
        stance: Distance of the feet from the middle, against the hips.
        habit: What the arms do half of the time.
    """

    stride: float
    arm_swing: float
    elbow: float
    lean: float
    stoop: float
    toe_out: float
    stance: float
    habit: Habit


_HABITS = dict(zip(Habit, (0.50, 0.20, 0.20, 0.10), strict=True))


def draw_body(rng: np.random.Generator) -> Body:
    """Draw a build; each of its numbers on its own."""
    return Body(
        height_m=float(np.clip(rng.normal(1.69, 0.10), 1.45, 1.98)),
        leg=within(rng, (0.465, 0.530)),
        shoulder=within(rng, (0.112, 0.142)),
        hip=within(rng, (0.088, 0.106)),
        waist=within(rng, (0.74, 0.92)),
        weight=float(np.clip(rng.normal(0.35, 0.3), 0.0, 1.0)),
        limb=within(rng, (0.88, 1.12)),
        head=within(rng, (0.92, 1.08)),
        neck=within(rng, (0.75, 1.25)),
        arm=within(rng, (0.94, 1.06)),
    )


def draw_gait(rng: np.random.Generator) -> Gait:
    """Draw a way of walking and standing; each of its numbers on its own."""
    return Gait(
        stride=within(rng, (0.22, 0.50)),
        arm_swing=within(rng, (0.4, 1.5)),
        elbow=within(rng, (0.10, 0.80)),
        lean=within(rng, (-0.04, 0.13)),
        stoop=within(rng, (-0.01, 0.05)),
        toe_out=within(rng, (-0.10, 0.45)),
        stance=within(rng, (0.35, 0.75)),
        habit=pick(rng, _HABITS),
    )
