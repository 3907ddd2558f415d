"""The head of a figure, and what is worn on it and around the neck."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from training.datasets.canvas import Parts, Stack, Surface
from training.datasets.mannequins import Mannequin
from training.datasets.materials import Part
from training.datasets.people import Beard, Eyewear, Hair, Hat, Person, Scarf

# Eyes and mouths are seen from this size on, in samples for each metre.
_FACE_PX_PER_M = 120.0


def draw_head(mannequin: Mannequin) -> None:
    """Draw the head, its hair, and hat, hood and scarf."""
    _draw_face(mannequin)
    _draw_hair(mannequin)
    _draw_hat(mannequin)
    _draw_hood(mannequin)
    _draw_scarf(mannequin)


def _is_hooded(person: Person) -> bool:
    return person.top.has_hood and person.top.hood_up


@lru_cache(maxsize=16)
def _head_profile(low: float, high: float) -> tuple[tuple[float, float, float], ...]:
    """Share of the head's half height, and widths of face and skull there, from the chin's side up."""
    shares = np.linspace(low, high, 9)
    skull = np.sqrt(np.maximum(1.0 - np.abs(shares) ** 2.3, 0.0))
    face = skull * (1.0 - 0.16 * np.maximum(-shares, 0.0))
    return tuple(zip(shares.tolist(), face.tolist(), skull.tolist(), strict=True))


def _head_stack(
    mannequin: Mannequin, grow: float = 0.0, low: float = -1.0, high: float = 1.0, back: float = 0.0
) -> Stack:
    """The part of the head between two shares of its half height, ``grow`` metres thicker."""
    size = mannequin.person.body.head * mannequin.person.body.height_m / 1.7
    middle = mannequin.neck_y + 0.125 * size
    profile = _head_profile(low, high)
    return Stack(
        tuple(middle + share * (0.118 * size + grow) for share, _, _ in profile),
        tuple(face * (0.078 * size + grow) for _, face, _ in profile),
        tuple(skull * (0.098 * size + grow) for _, _, skull in profile),
        centre_z=0.012 + back,
    )


def _draw_face(mannequin: Mannequin) -> None:
    person = mannequin.person
    near = mannequin.px_per_m > _FACE_PX_PER_M

    def face(at: Surface) -> Parts:
        front = abs(at.angle)
        parts = np.full(front.shape, Part.SKIN, dtype=np.uint8)
        t = at.t + 0.0 * front
        if near:
            parts[(abs(t - 0.47) < 0.025) & (abs(front - 0.42) < 0.16)] = Part.FEATURE
            parts[(abs(t - 0.77) < 0.016) & (front < 0.25)] = Part.FEATURE
        if person.beard is not Beard.NONE:
            wide = 1.35 if person.beard is Beard.FULL else 0.5
            parts[(t > 0.70) & (front < wide) & ((abs(t - 0.76) > 0.03) | (front > 0.25))] = Part.HAIR
        if person.mask:
            parts[(t > 0.55) & (front < 1.15)] = Part.MASK
        if person.eyewear is not Eyewear.NONE:
            size = 0.085 if person.eyewear is Eyewear.SUNGLASSES else 0.045
            parts[(abs(t - 0.47) < size) & (front < 0.85) & (front > 0.10)] = Part.LENS
            parts[(abs(t - 0.45) < 0.02) & (front < 1.6)] = Part.LENS
        return parts

    mannequin.on_head(_head_stack(mannequin), face)
    nose_y = mannequin.neck_y + 0.105 * person.body.head
    nose = Stack((nose_y, nose_y + 0.035), (0.013, 0.009), (0.018, 0.008), centre_z=0.105)
    mannequin.on_head(nose, int(Part.MASK if person.mask else Part.SKIN))


def _draw_hair(mannequin: Mannequin) -> None:
    hair, volume = mannequin.person.hair, mannequin.person.hair_volume
    if hair is Hair.BALD:
        return
    grow = 0.045 + 0.045 * volume if hair is Hair.AFRO else 0.008 + 0.022 * volume
    length = {Hair.BOB: 0.80, Hair.LONG: 0.95, Hair.AFRO: 0.80}.get(hair, 0.62)

    def cap(at: Surface) -> Parts:
        front = abs(at.angle)
        # The hairline falls from the forehead to the nape.
        line = np.where(front < 0.75, 0.24, np.clip(0.24 + (front - 0.75) * 1.1, 0.0, length))
        return np.where(at.t < line, np.uint8(Part.HAIR), np.uint8(0))

    mannequin.on_head(_head_stack(mannequin, grow, back=-0.008), cap)
    top_y = mannequin.neck_y + 0.24 * mannequin.person.body.head
    if hair in (Hair.LONG, Hair.BOB):
        low = mannequin.neck_y - (0.12 + 0.14 * volume if hair is Hair.LONG else -0.02 + 0.03 * volume)
        fall = Stack(
            (low, mannequin.neck_y + 0.02, top_y - 0.06),
            (0.085, 0.098 + 0.015 * volume, 0.098),
            (0.035, 0.062, 0.08),
            centre_z=-0.055,
        )
        mannequin.on_head(fall, lambda at: np.where(abs(at.angle) > 0.9, np.uint8(Part.HAIR), np.uint8(0)))
    back = mannequin.head_z
    if hair is Hair.PONYTAIL:
        start, end = (0.0, top_y - 0.05, back - 0.10), (0.0, top_y - 0.22 - 0.12 * volume, back - 0.15)
        mannequin.limb(start, end, (0.036, 0.022), int(Part.HAIR))
    if hair is Hair.BUN:
        start, end = (0.0, top_y + 0.01, back - 0.05), (0.0, top_y + 0.03, back - 0.06)
        mannequin.limb(start, end, (0.05, 0.042 + 0.012 * volume), int(Part.HAIR))


def _draw_hat(mannequin: Mannequin) -> None:
    hat = mannequin.person.hat
    if hat is Hat.NONE or _is_hooded(mannequin.person):
        return
    grow = 0.022 + 0.012 * mannequin.person.hair_volume if mannequin.person.hair is not Hair.AFRO else 0.05
    if hat is Hat.HEADSCARF:
        _draw_headscarf(mannequin)
        return
    low = {Hat.CAP: 0.22, Hat.BEANIE: 0.10, Hat.BRIM: 0.20, Hat.BUCKET: 0.20}[hat]
    crown = _head_stack(mannequin, grow, low=low, back=-0.004)
    if hat is Hat.BEANIE:
        y = tuple(crown.y[0] + 1.25 * (value - crown.y[0]) for value in crown.y)
        crown = replace(crown, y=y)
    mannequin.on_head(crown, int(Part.HAT))
    edge = crown.y[0]
    if hat is Hat.CAP:
        mannequin.on_head(
            Stack((edge, edge + 0.025), (0.075, 0.070), (0.10, 0.09), centre_z=0.10), int(Part.HAT)
        )
    if hat is Hat.BRIM:
        mannequin.on_head(Stack((edge - 0.005, edge + 0.03), (0.185, 0.15), (0.185, 0.15)), int(Part.HAT))
    if hat is Hat.BUCKET:
        mannequin.on_head(Stack((edge - 0.035, edge + 0.04), (0.145, 0.105), (0.150, 0.115)), int(Part.HAT))


def _draw_headscarf(mannequin: Mannequin) -> None:
    def cloth(at: Surface) -> Parts:
        face = (abs(at.angle) < 0.85) & (at.t > 0.2)
        return np.where(face, np.uint8(0), np.uint8(Part.HAT))

    mannequin.on_head(_head_stack(mannequin, 0.022, back=-0.010), cloth)
    fall = Stack(
        (mannequin.neck_y - 0.12, mannequin.neck_y - 0.01, mannequin.neck_y + 0.09),
        (0.13, 0.10, 0.085),
        (0.10, 0.09, 0.08),
        centre_z=-0.005,
    )
    mannequin.on_head(fall, int(Part.HAT))


def _draw_hood(mannequin: Mannequin) -> None:
    if not mannequin.person.top.has_hood:
        return
    if _is_hooded(mannequin.person):

        def cloth(at: Surface) -> Parts:
            face = (abs(at.angle) < 0.95) & (at.t > 0.14)
            return np.where(face, np.uint8(0), np.uint8(Part.UPPER))

        mannequin.on_head(_head_stack(mannequin, 0.034, back=-0.014), cloth)
        fall = Stack(
            (mannequin.neck_y - 0.05, mannequin.neck_y + 0.07), (0.115, 0.095), (0.10, 0.10), centre_z=-0.02
        )
        mannequin.on_head(fall, lambda at: np.where(abs(at.angle) > 0.6, np.uint8(Part.UPPER), np.uint8(0)))
        return
    hood = Stack(
        (mannequin.bones.shoulder_y - 0.06, mannequin.neck_y - 0.02, mannequin.neck_y + 0.045),
        (0.06, 0.112, 0.09),
        (0.045, 0.080, 0.065),
        centre_z=-0.065,
    )
    mannequin.stack(mannequin.leaning(hood), int(Part.UPPER))


def _draw_scarf(mannequin: Mannequin) -> None:
    scarf = mannequin.person.scarf
    if scarf is Scarf.NONE:
        return
    low = mannequin.neck_y - 0.045
    wrap = Stack((low, low + 0.05, low + 0.11), (0.10, 0.105, 0.085), (0.105, 0.11, 0.09))
    mannequin.stack(mannequin.leaning(wrap), int(Part.SCARF))
    if scarf is Scarf.HANGING:

        def ends(at: Surface) -> Parts:
            held = (abs(abs(at.u) - 0.055) < 0.035) & (at.v < 0.42) & (abs(at.angle) < 1.2)
            return np.where(held, np.uint8(Part.SCARF), np.uint8(0))

        mannequin.stack(mannequin.trunk().grown(0.012), ends)
