"""The mannequin: a person in a pose on a canvas, on whom clothes and belongings hang."""

import math
from dataclasses import replace

from training.datasets.canvas import Canvas, Paint, Point, Stack
from training.datasets.garments import Upper
from training.datasets.people import Person
from training.datasets.poses import Pose
from training.datasets.skeletons import skeleton_of


class Mannequin:
    """A person in a pose, on whom solids hang; points are in the coordinates of ``Skeleton``.

    Attributes:
        person: Who.
        pose: How they stand.
        bones: Where their joints are.
        neck_y: Height of the neck in metres.
        head_z: How far the head is before the body's axis, in metres.
        px_per_m: Samples of the canvas in a metre of height.
    """

    def __init__(self, canvas: Canvas, person: Person, pose: Pose, pitch: float) -> None:
        """Stand a person on a canvas.

        Args:
            canvas: What the solids are drawn on.
            person: Who.
            pose: How they stand.
            pitch: Sine of the angle by which the camera looks down, at least 0.
        """
        self._canvas, self._pitch = canvas, pitch
        self.person, self.pose, self.px_per_m = person, pose, canvas.px_per_m
        self._heading = (math.sin(pose.heading), math.cos(pose.heading))
        self.bones = skeleton_of(person, pose)
        self.neck_y = self.bones.shoulder_y + (0.025 + 0.02 * person.body.neck) * person.body.height_m
        self.head_z = pose.lean * (self.neck_y - self.bones.hip_y) + pose.head_nod

    def _view(self, point: Point) -> Point:
        s, c = self._heading
        x, y, z = point
        depth = z * c - x * s
        return (x * c + z * s, y - depth * self._pitch, depth)

    def limb(
        self, start: Point, end: Point, radii: tuple[float, float], paint: Paint, bulge: float = 0.0
    ) -> None:
        """Draw a round cone between two points, as ``Canvas.limb``."""
        self._canvas.limb(self._view(start), self._view(end), radii, paint, bulge)

    def stack(self, stack: Stack, paint: Paint) -> None:
        """Draw a stack that turns with the body."""
        self._canvas.stack(stack, self._heading, self._pitch, paint)

    def leaning(self, stack: Stack) -> Stack:
        """The stack as part of the leaning trunk."""
        return replace(stack, lean=self.pose.lean, pivot_y=self.bones.hip_y)

    def on_head(self, stack: Stack, paint: Paint) -> None:
        """Draw a stack that turns and moves with the head."""
        angle = self.pose.heading + self.pose.head_turn
        s, c = self._heading
        turned_s, turned_c = math.sin(angle), math.cos(angle)
        # The head is carried forward along the body's heading, whichever way it looks.
        x, z = self.head_z * s, self.head_z * c
        moved = replace(
            stack,
            centre_x=stack.centre_x + x * turned_c - z * turned_s,
            centre_z=stack.centre_z + x * turned_s + z * turned_c,
        )
        self._canvas.stack(moved, (turned_s, turned_c), self._pitch, paint)

    def trunk(self) -> Stack:
        """The upper garment from its hem to the collar."""
        body, top = self.person.body, self.person.top
        hip_y, shoulder_y, bulk = self.bones.hip_y, self.bones.shoulder_y, top.bulk_m
        depth = body.depth
        hem_y = hip_y - top.hem_legs * body.leg_m
        rise = shoulder_y - hip_y
        fall = max(0.0, hip_y - hem_y)
        tight = top.cut in (Upper.DRESS, Upper.TANK)
        loose = 0.45 * bulk if tight else bulk + 0.25 * (body.hip_m - body.waist_m)
        belly = 1.0 + 0.25 * body.weight
        y = [hem_y, hip_y + 0.45 * rise, hip_y + 0.80 * rise, shoulder_y - 0.012, shoulder_y + 0.022]
        x = [
            body.hip_m + bulk + top.flare_m,
            body.waist_m + loose,
            body.shoulder_m * 0.90 + bulk,
            body.shoulder_m * 0.90 + 0.55 * bulk,
            body.shoulder_m * 0.64 + bulk * 0.4,
        ]
        flat = [depth * 1.05, depth * 1.02 * belly, depth * 0.92, depth * 0.78, depth * 0.70]
        z = [a * b + (bulk if i < 3 else 0.4 * bulk) for i, (a, b) in enumerate(zip(x, flat, strict=True))]
        z[0] += 0.40 * self.pose.stride * fall
        if hem_y < hip_y - 0.03:
            y.insert(1, hip_y)
            x.insert(1, body.hip_m + bulk + 0.2 * top.flare_m)
            z.insert(1, body.hip_m * depth + bulk + 0.02)
        collar = 0.062 + 0.4 * bulk
        return self.leaning(Stack((*y, self.neck_y), (*x, collar), (*z, 0.9 * collar)))
