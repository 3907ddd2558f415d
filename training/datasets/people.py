"""Synthetic identities: the body, clothes and belongings of a person who does not exist.

A material has a visible colour and a near-infrared reflectance that are drawn from two separate
streams of random numbers, as dye and fibre do in life: a black shirt may be bright at night. What
two pictures of one person share across the modalities is therefore shape: build, cut of the clothes,
geometry of a pattern, hair, hat and bag.
"""

import colorsys
from dataclasses import dataclass
from enum import IntEnum, StrEnum, auto
from typing import TypeVar

import numpy as np

Rgb = tuple[float, float, float]
_Choice = TypeVar("_Choice")

_PEOPLE_STREAM = 1
_COLOUR_STREAM = 2
_REFLECTANCE_STREAM = 3


class Part(IntEnum):
    """What a point of a figure is made of; 0 is no figure."""

    NOTHING = 0
    SKIN = auto()
    FEATURE = auto()
    HAIR = auto()
    UPPER = auto()
    UPPER_TRIM = auto()
    INNER = auto()
    LOWER = auto()
    LOWER_TRIM = auto()
    SHOE = auto()
    SOLE = auto()
    BAG = auto()
    BAG_TRIM = auto()
    HAT = auto()


class Upper(StrEnum):
    """The cut of the upper garment."""

    TANK = "tank"
    T_SHIRT = "t-shirt"
    SHIRT = "shirt"
    SWEATER = "sweater"
    HOODIE = "hoodie"
    JACKET = "jacket"
    VEST = "vest"
    LONG_COAT = "long-coat"
    DRESS = "dress"


class Lower(StrEnum):
    """The cut of the lower garment."""

    SLIM = "slim"
    TROUSERS = "trousers"
    WIDE = "wide"
    SHORTS = "shorts"
    SHORT_SKIRT = "short-skirt"
    LONG_SKIRT = "long-skirt"


class Pattern(StrEnum):
    """Where the second cloth of a garment lies."""

    PLAIN = "plain"
    HORIZONTAL = "horizontal-stripes"
    VERTICAL = "vertical-stripes"
    DIAGONAL = "diagonal-stripes"
    CHECKS = "checks"
    DOTS = "dots"
    BAND = "band"
    HALVES = "halves"
    SLEEVES = "sleeves"
    SIDES = "sides"
    LOGO = "logo"


class Hair(StrEnum):
    """The style of the hair."""

    BALD = "bald"
    SHORT = "short"
    BOB = "bob"
    LONG = "long"
    PONYTAIL = "ponytail"
    BUN = "bun"
    AFRO = "afro"


class Hat(StrEnum):
    """What is worn on the head."""

    NONE = "none"
    CAP = "cap"
    BEANIE = "beanie"
    BRIM = "brim"


class Bag(StrEnum):
    """What is carried."""

    NONE = "none"
    BACKPACK = "backpack"
    SHOULDER = "shoulder-bag"
    TOTE = "tote"
    HAND = "hand-bag"


class Shoe(StrEnum):
    """What is worn on the feet."""

    SNEAKER = "sneaker"
    LOW = "low"
    BOOT = "boot"


@dataclass(frozen=True, slots=True)
class Body:
    """The build of a person, lengths in metres.

    Attributes:
        height_m: From the ground to the crown.
        leg_m: From the ground to the hip joint.
        shoulder_m: Half the width of the shoulders.
        hip_m: Half the width of the hips.
        waist_m: Half the width of the waist.
        girth: Depth of the trunk against the average, 1 is average.
        limb: Thickness of arms and legs against the average.
        head: Size of the head against the average.
    """

    height_m: float
    leg_m: float
    shoulder_m: float
    hip_m: float
    waist_m: float
    girth: float
    limb: float
    head: float


@dataclass(frozen=True, slots=True)
class Weave:
    """The geometry of a garment's second cloth, lengths in metres.

    Attributes:
        pattern: Its kind.
        period_m: Length after which it repeats, or its height where it does not repeat.
        duty: Share of a period that is the second cloth.
        offset_m: Where it starts, down from the collar.
        form: Which of the forms of a kind, 0 to 2 (a logo is a box, a disc or a triangle).
    """

    pattern: Pattern
    period_m: float
    duty: float
    offset_m: float
    form: int


@dataclass(frozen=True, slots=True)
class Top:
    """An upper garment.

    Attributes:
        cut: Its kind.
        weave: Its pattern.
        sleeve: Length of a sleeve in arm segments: 1 ends at the elbow, 2 at the wrist.
        hem: Where it ends, in leg lengths below the hip joint; negative is above.
        bulk_m: Distance of the cloth from the body.
        flare_m: Widening of the hem.
        opening: Half angle of the open front, in radians; 0 is closed.
    """

    cut: Upper
    weave: Weave
    sleeve: float
    hem: float
    bulk_m: float
    flare_m: float
    opening: float


@dataclass(frozen=True, slots=True)
class Bottom:
    """A lower garment.

    Attributes:
        cut: Its kind.
        weave: Its pattern.
        length: Where it ends, in leg lengths below the hip joint: 1 is the ankle.
        width: Width of its hem against the leg.
    """

    cut: Lower
    weave: Weave
    length: float
    width: float


@dataclass(frozen=True, slots=True)
class Material:
    """What a part returns of the light, 0 to 1.

    Attributes:
        rgb: Reflectance in visible red, green and blue.
        nir: Reflectance in the near infrared, drawn independently of ``rgb``.
    """

    rgb: Rgb
    nir: float


@dataclass(frozen=True, slots=True)
class Person:
    """One synthetic identity: everything that two pictures of the same person share.

    Attributes:
        body: The build.
        top: The upper garment.
        bottom: The lower garment.
        hair: The style of the hair.
        beard: Whether there is a beard.
        glasses: Whether there are glasses.
        hat: What is on the head.
        bag: What is carried.
        bag_side: -1 for the right side of the body, 1 for the left.
        bag_size: Size of the bag against the average.
        shoe: What is on the feet.
        stride: Length of a step against the average.
        materials: One for each ``Part``, by its number.
    """

    body: Body
    top: Top
    bottom: Bottom
    hair: Hair
    beard: bool
    glasses: bool
    hat: Hat
    bag: Bag
    bag_side: int
    bag_size: float
    shoe: Shoe
    stride: float
    materials: tuple[Material, ...]


# cut: (sleeve, hem, bulk, flare, opening), each a range
_Range = tuple[float, float]
_TOPS: dict[Upper, tuple[_Range, _Range, _Range, _Range, _Range]] = {
    Upper.TANK: ((0.0, 0.0), (-0.02, 0.08), (0.006, 0.012), (0.0, 0.01), (0.0, 0.0)),
    Upper.T_SHIRT: ((0.45, 0.85), (0.02, 0.16), (0.010, 0.022), (0.0, 0.02), (0.0, 0.0)),
    Upper.SHIRT: ((1.85, 1.95), (0.06, 0.20), (0.010, 0.020), (0.0, 0.02), (0.0, 0.0)),
    Upper.SWEATER: ((1.85, 1.95), (0.02, 0.10), (0.020, 0.035), (-0.01, 0.0), (0.0, 0.0)),
    Upper.HOODIE: ((1.85, 1.95), (0.05, 0.16), (0.026, 0.042), (-0.02, 0.0), (0.0, 0.0)),
    Upper.JACKET: ((1.85, 1.95), (0.00, 0.18), (0.022, 0.045), (0.0, 0.02), (0.25, 0.6)),
    Upper.VEST: ((0.0, 0.0), (0.00, 0.10), (0.028, 0.045), (0.0, 0.0), (0.0, 0.3)),
    Upper.LONG_COAT: ((1.85, 1.95), (0.38, 0.68), (0.026, 0.045), (0.03, 0.09), (0.0, 0.35)),
    Upper.DRESS: ((0.0, 0.8), (0.32, 0.80), (0.008, 0.015), (0.06, 0.16), (0.0, 0.0)),
}
_BOTTOMS: dict[Lower, tuple[_Range, _Range]] = {
    Lower.SLIM: ((0.88, 0.96), (1.05, 1.20)),
    Lower.TROUSERS: ((0.94, 0.98), (1.45, 1.75)),
    Lower.WIDE: ((0.93, 0.98), (2.00, 2.60)),
    Lower.SHORTS: ((0.28, 0.52), (1.25, 1.60)),
    Lower.SHORT_SKIRT: ((0.32, 0.48), (1.10, 1.50)),
    Lower.LONG_SKIRT: ((0.65, 0.90), (1.20, 1.70)),
}
_WEAVES = {
    Pattern.PLAIN: 0.22,
    Pattern.HORIZONTAL: 0.12,
    Pattern.VERTICAL: 0.08,
    Pattern.DIAGONAL: 0.06,
    Pattern.CHECKS: 0.08,
    Pattern.DOTS: 0.06,
    Pattern.BAND: 0.10,
    Pattern.HALVES: 0.07,
    Pattern.SLEEVES: 0.07,
    Pattern.SIDES: 0.05,
    Pattern.LOGO: 0.09,
}
_BOTTOM_WEAVES = {Pattern.PLAIN: 0.7, Pattern.SIDES: 0.12, Pattern.BAND: 0.09, Pattern.CHECKS: 0.09}
_HAIRS = dict(zip(Hair, (0.07, 0.36, 0.15, 0.17, 0.11, 0.07, 0.07), strict=True))
_HATS = dict(zip(Hat, (0.70, 0.13, 0.10, 0.07), strict=True))
_BAGS = dict(zip(Bag, (0.30, 0.26, 0.17, 0.13, 0.14), strict=True))
_SKINS: tuple[Rgb, ...] = ((0.93, 0.76, 0.66), (0.82, 0.62, 0.48), (0.60, 0.41, 0.29), (0.33, 0.21, 0.15))
_HAIR_COLOURS: tuple[Rgb, ...] = (
    (0.06, 0.05, 0.05),
    (0.20, 0.13, 0.09),
    (0.42, 0.27, 0.15),
    (0.78, 0.62, 0.36),
    (0.62, 0.61, 0.60),
    (0.50, 0.20, 0.10),
)


def generator(*key: int) -> np.random.Generator:
    """A stream of random numbers of its own for every key, so that nothing depends on an order."""
    return np.random.default_rng(np.random.SeedSequence(key))


def _within(rng: np.random.Generator, span: _Range) -> float:
    return float(rng.uniform(*span))


def _pick(rng: np.random.Generator, weights: dict[_Choice, float]) -> _Choice:
    keys = list(weights)
    shares = np.fromiter(weights.values(), dtype=np.float64)
    return keys[int(rng.choice(len(keys), p=shares / shares.sum()))]


def _draw_body(rng: np.random.Generator) -> Body:
    height = float(np.clip(rng.normal(1.70, 0.10), 1.45, 1.98))
    fat = float(np.clip(rng.normal(0.35, 0.3), 0.0, 1.0))
    hip = height * _within(rng, (0.088, 0.106)) * (1 + 0.15 * fat)
    return Body(
        height_m=height,
        leg_m=height * _within(rng, (0.465, 0.535)),
        shoulder_m=height * _within(rng, (0.112, 0.142)),
        hip_m=hip,
        waist_m=hip * (_within(rng, (0.74, 0.92)) + 0.24 * fat),
        girth=0.88 + 0.50 * fat,
        limb=_within(rng, (0.85, 1.10)) + 0.22 * fat,
        head=_within(rng, (0.93, 1.09)),
    )


def _draw_weave(rng: np.random.Generator, weights: dict[Pattern, float]) -> Weave:
    return Weave(
        pattern=_pick(rng, weights),
        period_m=_within(rng, (0.075, 0.20)),
        duty=_within(rng, (0.30, 0.60)),
        offset_m=_within(rng, (0.06, 0.34)),
        form=int(rng.integers(3)),
    )


def _draw_top(rng: np.random.Generator) -> Top:
    cut = _pick(rng, dict(zip(Upper, (0.06, 0.17, 0.13, 0.11, 0.13, 0.14, 0.07, 0.11, 0.08), strict=True)))
    sleeve, hem, bulk, flare, opening = (_within(rng, span) for span in _TOPS[cut])
    return Top(cut, _draw_weave(rng, _WEAVES), sleeve, hem, bulk, flare, opening)


def _draw_bottom(rng: np.random.Generator) -> Bottom:
    cut = _pick(rng, dict(zip(Lower, (0.24, 0.26, 0.14, 0.17, 0.10, 0.09), strict=True)))
    length, width = (_within(rng, span) for span in _BOTTOMS[cut])
    return Bottom(cut, _draw_weave(rng, _BOTTOM_WEAVES), length, width)


def _dye(rng: np.random.Generator) -> Rgb:
    if rng.random() < 0.35:
        return colorsys.hsv_to_rgb(float(rng.random()), _within(rng, (0.0, 0.1)), _within(rng, (0.06, 0.92)))
    return colorsys.hsv_to_rgb(float(rng.random()), _within(rng, (0.35, 0.9)), _within(rng, (0.22, 0.92)))


def _contrasting_dye(rng: np.random.Generator, other: Rgb) -> Rgb:
    while True:
        dye = _dye(rng)
        if max(abs(a - b) for a, b in zip(dye, other, strict=True)) > 0.4:
            return dye


def _draw_colours(rng: np.random.Generator) -> dict[Part, Rgb]:
    low = int(rng.integers(len(_SKINS) - 1))
    share = float(rng.random())
    skin = [(1 - share) * a + share * b for a, b in zip(_SKINS[low], _SKINS[low + 1], strict=True)]
    hair = _HAIR_COLOURS[int(rng.choice(6, p=(0.34, 0.28, 0.16, 0.09, 0.08, 0.05)))]
    colours: dict[Part, Rgb] = {
        Part.NOTHING: (0.0, 0.0, 0.0),
        Part.SKIN: (skin[0], skin[1], skin[2]),
        Part.FEATURE: (0.10, 0.07, 0.07),
        Part.HAIR: hair,
    }
    for part in (Part.UPPER, Part.INNER, Part.LOWER, Part.SHOE, Part.SOLE, Part.BAG, Part.HAT):
        colours[part] = _dye(rng)
    for trim, main in _TRIMS.items():
        colours[trim] = _contrasting_dye(rng, colours[main])
    return colours


def _draw_reflectances(rng: np.random.Generator) -> dict[Part, float]:
    nir = {part: _within(rng, (0.12, 0.95)) for part in Part}
    nir[Part.NOTHING] = 0.0
    nir[Part.SKIN] = _within(rng, (0.62, 0.80))
    nir[Part.FEATURE] = _within(rng, (0.08, 0.2))
    nir[Part.HAIR] = _within(rng, (0.12, 0.60))
    for trim, main in _TRIMS.items():
        # One pattern in ten vanishes at night: two dyes over one fibre.
        if rng.random() < 0.1:
            nir[trim] = nir[main]
            continue
        while abs(nir[trim] - nir[main]) < 0.28:
            nir[trim] = _within(rng, (0.12, 0.95))
    return nir


_TRIMS = {Part.UPPER_TRIM: Part.UPPER, Part.LOWER_TRIM: Part.LOWER, Part.BAG_TRIM: Part.BAG}


def _draw_materials(seed: int, identity: int) -> tuple[Material, ...]:
    colours = _draw_colours(generator(seed, _COLOUR_STREAM, identity))
    nir = _draw_reflectances(generator(seed, _REFLECTANCE_STREAM, identity))
    return tuple(Material(colours[part], nir[part]) for part in Part)


def draw_person(seed: int, identity: int) -> Person:
    """Draw one identity.

    Args:
        seed: The population, at least 0.
        identity: Which of its people, at least 0; the same number is the same person.

    Returns:
        The person; equal for equal arguments on every machine.
    """
    rng = generator(seed, _PEOPLE_STREAM, identity)
    return Person(
        body=_draw_body(rng),
        top=_draw_top(rng),
        bottom=_draw_bottom(rng),
        hair=_pick(rng, _HAIRS),
        beard=bool(rng.random() < 0.15),
        glasses=bool(rng.random() < 0.2),
        hat=_pick(rng, _HATS),
        bag=_pick(rng, _BAGS),
        bag_side=int(rng.choice((-1, 1))),
        bag_size=_within(rng, (0.8, 1.3)),
        shoe=_pick(rng, dict(zip(Shoe, (0.45, 0.3, 0.25), strict=True))),
        stride=_within(rng, (0.75, 1.2)),
        materials=_draw_materials(seed, identity),
    )
