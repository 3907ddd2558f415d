"""Synthetic identities: people who do not exist, their hair, and what they wear and carry beside clothes.

Every attribute is drawn on its own, and colour, near-infrared reflectance and warmth are drawn apart
from each other. What two pictures of one person share across the modalities is therefore shape: build,
gait, cut of the clothes, geometry of a pattern, hair, hat and what is carried.
"""

from dataclasses import dataclass
from enum import StrEnum

from training.datasets.bodies import Body, Gait, draw_body, draw_gait
from training.datasets.chance import generator, pick, within, yes
from training.datasets.garments import Bottom, Top, draw_bottom, draw_top
from training.datasets.materials import Material, draw_materials

_PEOPLE_STREAM = 1


class Hair(StrEnum):
    """The style of the hair."""

    BALD = "bald"
    SHORT = "short"
    BOB = "bob"
    LONG = "long"
    PONYTAIL = "ponytail"
    BUN = "bun"
    AFRO = "afro"


class Beard(StrEnum):
    """The hair of the face."""

    NONE = "none"
    CHIN = "chin"
    FULL = "full"


class Eyewear(StrEnum):
    """What is worn before the eyes."""

    NONE = "none"
    GLASSES = "glasses"
    SUNGLASSES = "sunglasses"


class Hat(StrEnum):
    """What is worn on the head."""

    NONE = "none"
    CAP = "cap"
    BEANIE = "beanie"
    BUCKET = "bucket"
    BRIM = "brim"
    HEADSCARF = "headscarf"


class Scarf(StrEnum):
    """What is worn around the neck."""

    NONE = "none"
    WRAPPED = "wrapped"
    HANGING = "hanging"


class Bag(StrEnum):
    """The bag that is worn or held."""

    NONE = "none"
    BACKPACK = "backpack"
    SHOULDER = "shoulder-bag"
    TOTE = "tote"
    HAND = "hand-bag"
    WAIST = "waist-bag"


class Item(StrEnum):
    """What the hand on the other side of the bag holds."""

    NONE = "none"
    BOTTLE = "bottle"
    FOLDER = "folder"
    UMBRELLA = "umbrella"
    SHOPPING = "shopping"
    COAT = "coat"


class Shoe(StrEnum):
    """What is worn on the feet."""

    SNEAKER = "sneaker"
    LOW = "low"
    BOOT = "boot"
    SANDAL = "sandal"


@dataclass(frozen=True, slots=True)
class Person:
    """One synthetic identity: everything that two pictures of the same person share.

    Attributes:
        body: The build.
        gait: The way of walking and standing.
        top: The upper garment.
        bottom: The lower garment.
        belt: Whether a belt shows.
        hair: The style of the hair.
        hair_volume: How far the hair stands from the head, 0 to 1.
        beard: The hair of the face.
        eyewear: What is before the eyes.
        mask: Whether a mask covers mouth and nose.
        hat: What is on the head.
        scarf: What is around the neck.
        gloves: Whether there are gloves.
        bag: The bag.
        bag_side: -1 for the right side of the body, 1 for the left.
        bag_size: Size of the bag against the average.
        item: What the other hand holds.
        shoe: What is on the feet.
        sock: How high the socks reach, 0 to 1.
        materials: One for each ``Part``, by its number.
    """

    body: Body
    gait: Gait
    top: Top
    bottom: Bottom
    belt: bool
    hair: Hair
    hair_volume: float
    beard: Beard
    eyewear: Eyewear
    mask: bool
    hat: Hat
    scarf: Scarf
    gloves: bool
    bag: Bag
    bag_side: int
    bag_size: float
    item: Item
    shoe: Shoe
    sock: float
    materials: tuple[Material, ...]


_HAIRS = dict(zip(Hair, (0.07, 0.38, 0.14, 0.18, 0.11, 0.07, 0.05), strict=True))
_BEARDS = dict(zip(Beard, (0.80, 0.08, 0.12), strict=True))
_EYEWEARS = dict(zip(Eyewear, (0.72, 0.22, 0.06), strict=True))
_HATS = dict(zip(Hat, (0.70, 0.10, 0.08, 0.03, 0.04, 0.05), strict=True))
_SCARVES = dict(zip(Scarf, (0.84, 0.10, 0.06), strict=True))
_BAGS = dict(zip(Bag, (0.38, 0.22, 0.15, 0.10, 0.09, 0.06), strict=True))
_ITEMS = dict(zip(Item, (0.66, 0.07, 0.06, 0.05, 0.10, 0.06), strict=True))
_SHOES = dict(zip(Shoe, (0.46, 0.28, 0.18, 0.08), strict=True))


def draw_person(seed: int, identity: int) -> Person:
    """Draw one identity.

    Args:
        seed: The population, at least 0.
        identity: Which of its people, at least 0; the same number is the same person.

    Returns:
        The person; equal for equal arguments on every machine.
    """
    rng = generator(seed, _PEOPLE_STREAM, identity)
    top, bottom = draw_top(rng), draw_bottom(rng)
    return Person(
        body=draw_body(rng),
        gait=draw_gait(rng),
        top=top,
        bottom=bottom,
        belt=yes(rng, 0.25),
        hair=pick(rng, _HAIRS),
        hair_volume=float(rng.random()),
        beard=pick(rng, _BEARDS),
        eyewear=pick(rng, _EYEWEARS),
        mask=yes(rng, 0.12),
        hat=pick(rng, _HATS),
        scarf=pick(rng, _SCARVES),
        gloves=yes(rng, 0.10),
        bag=pick(rng, _BAGS),
        bag_side=int(rng.choice((-1, 1))),
        bag_size=within(rng, (0.75, 1.3)),
        item=pick(rng, _ITEMS),
        shoe=pick(rng, _SHOES),
        sock=float(rng.random()),
        materials=draw_materials(seed, identity, top, bottom),
    )
