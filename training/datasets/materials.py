"""Materials: the parts of a figure, and how each shows to each kind of camera.

A material has a visible colour, a near-infrared reflectance and a warmth that are drawn from three
separate streams of random numbers, as dye, fibre and insulation do in life: a black shirt may be
bright at night.
"""

import colorsys
import math
from dataclasses import dataclass
from enum import IntEnum, auto

import numpy as np

from training.datasets.chance import Range, generator, pick, within
from training.datasets.garments import Bottom, Pattern, Top

Rgb = tuple[float, float, float]

_COLOUR_STREAM = 2
_REFLECTANCE_STREAM = 3
_HEAT_STREAM = 4


class Part(IntEnum):
    """What a point of a figure is made of; 0 is no figure."""

    NOTHING = 0
    SKIN = auto()
    FEATURE = auto()
    LENS = auto()
    MASK = auto()
    HAIR = auto()
    UPPER = auto()
    UPPER_TRIM = auto()
    UPPER_SEAM = auto()
    INNER = auto()
    LOWER = auto()
    LOWER_TRIM = auto()
    LOWER_SEAM = auto()
    BELT = auto()
    SOCK = auto()
    SHOE = auto()
    SOLE = auto()
    GLOVE = auto()
    SCARF = auto()
    BAG = auto()
    BAG_TRIM = auto()
    HAT = auto()
    ITEM = auto()


@dataclass(frozen=True, slots=True)
class Material:
    """How a part shows to each kind of camera, 0 to 1.

    Attributes:
        rgb: Reflectance in visible red, green and blue.
        nir: Reflectance in the near infrared, drawn independently of ``rgb``.
        heat: Warmth of its outside: 0 is the surroundings, 1 bare skin. Follows from insulation.
    """

    rgb: Rgb
    nir: float
    heat: float


_SKINS: tuple[Rgb, ...] = ((0.90, 0.73, 0.63), (0.80, 0.60, 0.47), (0.58, 0.40, 0.29), (0.32, 0.21, 0.15))
_HAIR_COLOURS: dict[Rgb, float] = {
    (0.05, 0.045, 0.045): 0.42,
    (0.16, 0.11, 0.08): 0.28,
    (0.36, 0.24, 0.14): 0.12,
    (0.68, 0.54, 0.34): 0.07,
    (0.55, 0.54, 0.53): 0.08,
    (0.40, 0.18, 0.10): 0.03,
}


@dataclass(frozen=True, slots=True)
class _Dye:
    """A family of cloth colours: how common above and below the waist, and its ranges in HSV."""

    above: float
    below: float
    hue: Range
    saturation: Range
    value: Range


_DYES = (
    _Dye(0.24, 0.28, (0.0, 1.0), (0.0, 0.15), (0.035, 0.11)),  # black
    _Dye(0.12, 0.13, (0.0, 1.0), (0.0, 0.10), (0.12, 0.30)),  # charcoal
    _Dye(0.10, 0.07, (0.0, 1.0), (0.0, 0.08), (0.32, 0.62)),  # grey
    _Dye(0.13, 0.05, (0.05, 0.65), (0.0, 0.06), (0.68, 0.92)),  # white
    _Dye(0.11, 0.13, (0.59, 0.67), (0.40, 0.75), (0.08, 0.24)),  # navy
    _Dye(0.05, 0.17, (0.57, 0.62), (0.30, 0.60), (0.22, 0.52)),  # denim
    _Dye(0.07, 0.09, (0.08, 0.12), (0.22, 0.48), (0.38, 0.72)),  # khaki and camel
    _Dye(0.04, 0.03, (0.03, 0.08), (0.40, 0.65), (0.14, 0.32)),  # brown
    _Dye(0.04, 0.02, (0.15, 0.28), (0.25, 0.50), (0.15, 0.34)),  # olive
    _Dye(0.05, 0.01, (0.96, 1.0), (0.60, 0.85), (0.22, 0.62)),  # red and burgundy
    _Dye(0.03, 0.01, (0.0, 1.0), (0.15, 0.35), (0.50, 0.85)),  # pastel
    _Dye(0.02, 0.01, (0.0, 1.0), (0.55, 0.90), (0.40, 0.80)),  # bright
)
_TRIMS = {Part.UPPER_TRIM: Part.UPPER, Part.LOWER_TRIM: Part.LOWER, Part.BAG_TRIM: Part.BAG}
_SEAMS = {Part.UPPER_SEAM: Part.UPPER, Part.LOWER_SEAM: Part.LOWER}
_SEAM_SHADE = 0.55
_PRINTED = (Pattern.LOGO, Pattern.DOTS, Pattern.BLOTCHES, Pattern.DIAGONAL)


def _dye(rng: np.random.Generator, below: bool = False) -> Rgb:
    dye = pick(rng, {dye: dye.below if below else dye.above for dye in _DYES})
    return colorsys.hsv_to_rgb(*(within(rng, span) for span in (dye.hue, dye.saturation, dye.value)))


def _contrasting_dye(rng: np.random.Generator, other: Rgb) -> Rgb:
    while True:
        dye = _dye(rng)
        if max(abs(a - b) for a, b in zip(dye, other, strict=True)) > 0.22:
            return dye


def _draw_colours(rng: np.random.Generator) -> dict[Part, Rgb]:
    low = int(rng.choice(len(_SKINS) - 1, p=(0.5, 0.3, 0.2)))
    share = float(rng.random())
    skin = [(1 - share) * a + share * b for a, b in zip(_SKINS[low], _SKINS[low + 1], strict=True)]
    colours: dict[Part, Rgb] = {part: _dye(rng) for part in Part}
    colours[Part.NOTHING] = (0.0, 0.0, 0.0)
    colours[Part.SKIN] = (skin[0], skin[1], skin[2])
    colours[Part.FEATURE] = (0.55 * skin[0], 0.42 * skin[1], 0.38 * skin[2])
    colours[Part.LENS] = (0.06, 0.06, 0.07)
    colours[Part.MASK] = ((0.62, 0.76, 0.84), (0.86, 0.87, 0.88), (0.07, 0.07, 0.08))[int(rng.integers(3))]
    colours[Part.HAIR] = pick(rng, _HAIR_COLOURS)
    for part in (Part.LOWER, Part.SHOE, Part.BELT):
        colours[part] = _dye(rng, below=True)
    for trim, main in _TRIMS.items():
        colours[trim] = _contrasting_dye(rng, colours[main])
    for seam, main in _SEAMS.items():
        red, green, blue = (_SEAM_SHADE * value for value in colours[main])
        colours[seam] = (red, green, blue)
    return colours


def _fibre(rng: np.random.Generator) -> float:
    """Reflectance of a cloth at night: most synthetic fibres are bright."""
    return within(rng, (0.42, 0.95) if rng.random() < 0.62 else (0.10, 0.42))


def _draw_reflectances(rng: np.random.Generator, patterns: dict[Part, Pattern]) -> dict[Part, float]:
    nir = {part: _fibre(rng) for part in Part}
    nir[Part.NOTHING] = 0.0
    nir[Part.SKIN] = within(rng, (0.62, 0.80))
    nir[Part.FEATURE] = nir[Part.SKIN] * within(rng, (0.55, 0.80))
    nir[Part.LENS] = within(rng, (0.10, 0.50))
    nir[Part.HAIR] = within(rng, (0.12, 0.62))
    for trim, main in _TRIMS.items():
        # One pattern in three vanishes at night, two dyes over one fibre; prints more often.
        if rng.random() < (0.5 if patterns.get(trim) in _PRINTED else 0.27):
            nir[trim] = nir[main]
            continue
        while abs(nir[trim] - nir[main]) < 0.24:
            nir[trim] = _fibre(rng)
    for seam, main in _SEAMS.items():
        nir[seam] = _SEAM_SHADE * nir[main]
    return nir


# Parts whose warmth is their own; cloths follow from their thickness.
_HEATS: dict[Part, Range] = {
    Part.SKIN: (0.90, 1.0),
    Part.LENS: (0.08, 0.35),
    Part.MASK: (0.50, 0.75),
    Part.HAIR: (0.30, 0.60),
    Part.BELT: (0.30, 0.55),
    Part.SOCK: (0.40, 0.65),
    Part.SHOE: (0.22, 0.55),
    Part.SOLE: (0.15, 0.60),
    Part.GLOVE: (0.25, 0.60),
    Part.SCARF: (0.12, 0.40),
    Part.BAG: (0.02, 0.20),
    Part.BAG_TRIM: (0.05, 0.25),
    Part.HAT: (0.15, 0.50),
    Part.ITEM: (0.0, 0.25),
    Part.INNER: (0.50, 0.80),
}


def _draw_heats(rng: np.random.Generator, top: Top, bottom: Bottom) -> dict[Part, float]:
    """Warmth of each part: the thicker and looser a cloth, the cooler its outside."""
    heat = {part: within(rng, span) for part, span in _HEATS.items()}
    heat[Part.NOTHING] = 0.0
    heat[Part.FEATURE] = heat[Part.SKIN] * within(rng, (0.90, 0.98))
    heat[Part.UPPER] = 0.95 * math.exp(-top.bulk_m / 0.032) * within(rng, (0.8, 1.2))
    heat[Part.LOWER] = (0.80 - 0.20 * (bottom.hem_width - 1.0)) * within(rng, (0.62, 1.05))
    for trim, main in ((Part.UPPER_TRIM, Part.UPPER), (Part.LOWER_TRIM, Part.LOWER)):
        # Dye has no warmth: a pattern shows where its cloth is a thicker or thinner one.
        heat[trim] = heat[main] * (1.0 if rng.random() < 0.6 else within(rng, (0.70, 1.30)))
    for seam, main in _SEAMS.items():
        heat[seam] = heat[main] + (1.0 - heat[main]) * within(rng, (0.12, 0.30))
    return {part: min(value, heat[Part.SKIN]) for part, value in heat.items()}


def draw_materials(seed: int, identity: int, top: Top, bottom: Bottom) -> tuple[Material, ...]:
    """Draw what a person is made of.

    Args:
        seed: The population, at least 0.
        identity: Which of its people, at least 0.
        top: The upper garment; its thickness sets its warmth.
        bottom: The lower garment; its width sets its warmth.

    Returns:
        One material for each ``Part``, by its number.
    """
    patterns = {Part.UPPER_TRIM: top.weave.pattern, Part.LOWER_TRIM: bottom.weave.pattern}
    colours = _draw_colours(generator(seed, _COLOUR_STREAM, identity))
    nir = _draw_reflectances(generator(seed, _REFLECTANCE_STREAM, identity), patterns)
    heat = _draw_heats(generator(seed, _HEAT_STREAM, identity), top, bottom)
    return tuple(Material(colours[part], nir[part], heat[part]) for part in Part)
