"""Garments: their cuts and weaves, what each cut allows, and how often each is worn."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from training.datasets.chance import Range, pick, within, yes


class Upper(StrEnum):
    """The cut of the upper garment."""

    TANK = "tank"
    T_SHIRT = "t-shirt"
    SHIRT = "shirt"
    SWEATER = "sweater"
    HOODIE = "hoodie"
    JACKET = "jacket"
    BLAZER = "blazer"
    PUFFER = "puffer"
    VEST = "vest"
    PARKA = "parka"
    LONG_COAT = "long-coat"
    DRESS = "dress"


class Lower(StrEnum):
    """The cut of the lower garment."""

    SLIM = "slim"
    TROUSERS = "trousers"
    WIDE = "wide"
    JOGGERS = "joggers"
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
    BLOTCHES = "blotches"
    BAND = "band"
    HALVES = "halves"
    SLEEVES = "sleeves"
    SIDES = "sides"
    LOGO = "logo"


class Neckline(StrEnum):
    """How the upper garment, or what is under it, ends at the neck."""

    ROUND = "round"
    V = "v"
    HIGH = "high"


class Pocket(StrEnum):
    """Where the upper garment shows pockets."""

    NONE = "none"
    CHEST = "chest"
    HIP = "hip"


@dataclass(frozen=True, slots=True)
class Weave:
    """The geometry of a garment's second cloth, lengths in metres.

    Attributes:
        pattern: Its kind.
        period_m: Length after which it repeats, or its height where it does not repeat.
        duty: Share of a period that is the second cloth.
        offset_m: Where it starts, down from the collar.
        slant: Turn of stripes, checks and dots, in radians.
        form: Which of the forms of a kind, 0 to 2 (a logo is a box, a disc or a triangle).
    """

    pattern: Pattern
    period_m: float
    duty: float
    offset_m: float
    slant: float
    form: int


@dataclass(frozen=True, slots=True)
class Top:
    """An upper garment; lengths are shares, 0 to 1, of what its cut allows.

    Attributes:
        cut: Its kind.
        weave: Its pattern.
        sleeve: Length of the sleeves.
        hem: Length of the body.
        bulk: Thickness and looseness.
        flare: Widening of the hem.
        opening: How far the front stands open, where the cut opens.
        hood_up: Whether the hood is up, where the cut has one.
        neckline: How it, or what is under it, ends at the neck.
        pocket: Where it shows pockets.
        cuffs: Whether the second cloth edges sleeves and hem.
        quilt_m: Distance of the seams of a quilted cut, in metres.
        drape: Depth of the folds, 0 to 1.
    """

    cut: Upper
    weave: Weave
    sleeve: float
    hem: float
    bulk: float
    flare: float
    opening: float
    hood_up: bool
    neckline: Neckline
    pocket: Pocket
    cuffs: bool
    quilt_m: float
    drape: float

    @property
    def sleeve_arms(self) -> float:
        """Length of a sleeve in arm segments: 1 ends at the elbow, 2 at the wrist."""
        return _at(_TOPS[self.cut].sleeve, self.sleeve)

    @property
    def hem_legs(self) -> float:
        """Where it ends, in leg lengths below the hip joint; negative is above."""
        return _at(_TOPS[self.cut].hem, self.hem)

    @property
    def bulk_m(self) -> float:
        """Distance of the cloth from the body, in metres."""
        return _at(_TOPS[self.cut].bulk, self.bulk)

    @property
    def flare_m(self) -> float:
        """Widening of the hem, in metres."""
        return _at(_TOPS[self.cut].flare, self.flare)

    @property
    def opening_rad(self) -> float:
        """Half angle of the open front, in radians; 0 is closed."""
        widest = _TOPS[self.cut].opening
        return widest * max(0.0, self.opening - 0.4) / 0.6

    @property
    def has_hood(self) -> bool:
        """Whether the cut has a hood."""
        return self.cut in (Upper.HOODIE, Upper.PARKA)


@dataclass(frozen=True, slots=True)
class Bottom:
    """A lower garment; lengths are shares, 0 to 1, of what its cut allows.

    Attributes:
        cut: Its kind.
        weave: Its pattern.
        length: How far it reaches down.
        width: Width of its hem.
        seams: Whether seams and pockets show.
    """

    cut: Lower
    weave: Weave
    length: float
    width: float
    seams: bool

    @property
    def length_legs(self) -> float:
        """Where it ends, in leg lengths below the hip joint: 1 is the ankle."""
        return _at(_BOTTOMS[self.cut][0], self.length)

    @property
    def hem_width(self) -> float:
        """Width of its hem against the leg."""
        return _at(_BOTTOMS[self.cut][1], self.width)


@dataclass(frozen=True, slots=True)
class _Cut:
    """What a cut of the upper garment allows: ranges, and the widest opening in radians."""

    weight: float
    sleeve: Range
    hem: Range
    bulk: Range
    flare: Range
    opening: float = 0.0


_TOPS = {
    Upper.TANK: _Cut(0.03, (0.0, 0.0), (-0.02, 0.08), (0.006, 0.014), (0.0, 0.01)),
    Upper.T_SHIRT: _Cut(0.15, (0.45, 0.95), (0.02, 0.18), (0.010, 0.028), (0.0, 0.02)),
    Upper.SHIRT: _Cut(0.10, (1.3, 1.95), (0.06, 0.20), (0.012, 0.028), (0.0, 0.02), 0.5),
    Upper.SWEATER: _Cut(0.11, (1.7, 1.95), (0.02, 0.12), (0.020, 0.045), (-0.01, 0.0)),
    Upper.HOODIE: _Cut(0.13, (1.85, 1.95), (0.05, 0.18), (0.028, 0.055), (-0.02, 0.0), 0.35),
    Upper.JACKET: _Cut(0.13, (1.85, 1.95), (0.00, 0.18), (0.024, 0.055), (-0.01, 0.02), 0.7),
    Upper.BLAZER: _Cut(0.06, (1.85, 1.95), (0.14, 0.24), (0.018, 0.034), (0.0, 0.02), 0.6),
    Upper.PUFFER: _Cut(0.08, (1.85, 1.98), (-0.02, 0.20), (0.050, 0.090), (-0.02, 0.0), 0.4),
    Upper.VEST: _Cut(0.04, (0.0, 0.0), (0.00, 0.12), (0.030, 0.060), (0.0, 0.0), 0.4),
    Upper.PARKA: _Cut(0.06, (1.85, 1.98), (0.22, 0.48), (0.040, 0.070), (0.0, 0.04), 0.4),
    Upper.LONG_COAT: _Cut(0.06, (1.85, 1.95), (0.38, 0.72), (0.028, 0.055), (0.02, 0.08), 0.5),
    Upper.DRESS: _Cut(0.05, (0.0, 1.9), (0.32, 0.80), (0.008, 0.018), (0.05, 0.16)),
}
_BOTTOMS: dict[Lower, tuple[Range, Range]] = {
    Lower.SLIM: ((0.86, 0.96), (1.05, 1.25)),
    Lower.TROUSERS: ((0.93, 0.98), (1.40, 1.75)),
    Lower.WIDE: ((0.88, 0.98), (1.95, 2.60)),
    Lower.JOGGERS: ((0.86, 0.94), (1.10, 1.30)),
    Lower.SHORTS: ((0.28, 0.55), (1.25, 1.70)),
    Lower.SHORT_SKIRT: ((0.30, 0.50), (1.10, 1.60)),
    Lower.LONG_SKIRT: ((0.62, 0.92), (1.10, 1.80)),
}
_BOTTOM_WEIGHTS = dict(zip(Lower, (0.30, 0.27, 0.13, 0.10, 0.09, 0.05, 0.06), strict=True))
_WEAVES = {
    Pattern.PLAIN: 0.42,
    Pattern.HORIZONTAL: 0.08,
    Pattern.VERTICAL: 0.04,
    Pattern.DIAGONAL: 0.03,
    Pattern.CHECKS: 0.06,
    Pattern.DOTS: 0.03,
    Pattern.BLOTCHES: 0.04,
    Pattern.BAND: 0.07,
    Pattern.HALVES: 0.05,
    Pattern.SLEEVES: 0.06,
    Pattern.SIDES: 0.04,
    Pattern.LOGO: 0.08,
}
_BOTTOM_WEAVES = {
    Pattern.PLAIN: 0.80,
    Pattern.SIDES: 0.09,
    Pattern.BAND: 0.04,
    Pattern.CHECKS: 0.04,
    Pattern.BLOTCHES: 0.03,
}
_NECKLINES = dict(zip(Neckline, (0.55, 0.20, 0.25), strict=True))
_POCKETS = dict(zip(Pocket, (0.40, 0.22, 0.38), strict=True))


def _at(span: Range, share: float) -> float:
    return span[0] + (span[1] - span[0]) * share


def _draw_weave(rng: np.random.Generator, weights: dict[Pattern, float]) -> Weave:
    return Weave(
        pattern=pick(rng, weights),
        period_m=within(rng, (0.05, 0.18)),
        duty=within(rng, (0.25, 0.60)),
        offset_m=within(rng, (0.06, 0.34)),
        slant=within(rng, (-0.2, 0.2)),
        form=int(rng.integers(3)),
    )


def draw_top(rng: np.random.Generator) -> Top:
    """Draw an upper garment; each of its attributes on its own."""
    return Top(
        cut=pick(rng, {cut: kind.weight for cut, kind in _TOPS.items()}),
        weave=_draw_weave(rng, _WEAVES),
        sleeve=float(rng.random()),
        hem=float(rng.random()),
        bulk=float(rng.random()),
        flare=float(rng.random()),
        opening=float(rng.random()),
        hood_up=yes(rng, 0.3),
        neckline=pick(rng, _NECKLINES),
        pocket=pick(rng, _POCKETS),
        cuffs=yes(rng, 0.2),
        quilt_m=within(rng, (0.06, 0.15)),
        drape=float(rng.random()),
    )


def draw_bottom(rng: np.random.Generator) -> Bottom:
    """Draw a lower garment; each of its attributes on its own."""
    return Bottom(
        cut=pick(rng, _BOTTOM_WEIGHTS),
        weave=_draw_weave(rng, _BOTTOM_WEAVES),
        length=float(rng.random()),
        width=float(rng.random()),
        seams=yes(rng, 0.6),
    )
