"""What tells synthetic people apart: enough attributes, each of its own, all of them documented."""

import re
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from training.datasets.bodies import Habit
from training.datasets.garments import Lower, Neckline, Pattern, Pocket, Upper
from training.datasets.materials import Part
from training.datasets.people import Bag, Hair, Hat, Item, Scarf, draw_person
from training.datasets.synthetic import Spectrum, draw_camera, picture_stream, render

DOCS = Path(__file__).parents[2] / "docs" / "synthetic.md"
PEOPLE = 1200


def attributes(value, name=""):
    """Every attribute of a person that is drawn on its own, by its dotted name; materials apart."""
    found = {}
    for field in fields(value):
        child, path = getattr(value, field.name), f"{name}{field.name}"
        if is_dataclass(child):
            found |= attributes(child, f"{path}.")
        elif field.name != "materials":
            found[path] = child
    return found


def as_number(value):
    return float(list(type(value)).index(value)) if isinstance(value, Enum) else float(value)


@cache
def population():
    return [draw_person(11, who) for who in range(PEOPLE)]


def table():
    """Name and numbers of each attribute of each person, float64 (people, attributes)."""
    rows = [attributes(person) for person in population()]
    return list(rows[0]), np.array([[as_number(value) for value in row.values()] for row in rows])


def test_people_differ_in_at_least_thirty_attributes():
    names, numbers = table()
    assert len(names) >= 30
    for name, values in zip(names, numbers.T, strict=True):
        commonest = np.unique(values, return_counts=True)[1].max()
        assert commonest < 0.92 * PEOPLE, f"{name} is nearly the same for everyone"


# What has to be worn for an attribute to show at all.
SHOWN_BY = {
    "top.weave.period_m": {"top.weave.pattern": Pattern.HORIZONTAL},
    "top.weave.duty": {"top.weave.pattern": Pattern.HORIZONTAL},
    "top.weave.offset_m": {"top.weave.pattern": Pattern.BAND},
    "top.weave.slant": {"top.weave.pattern": Pattern.DIAGONAL},
    "top.weave.form": {"top.weave.pattern": Pattern.LOGO},
    "top.opening": {"top.cut": Upper.JACKET, "top.opening": 0.5},
    "top.hood_up": {"top.cut": Upper.HOODIE},
    "top.pocket": {"top.cut": Upper.PARKA, "top.pocket": Pocket.NONE},
    "top.quilt_m": {"top.cut": Upper.PUFFER},
    "top.neckline": {"top.cut": Upper.T_SHIRT, "top.neckline": Neckline.ROUND},
    "bottom.weave.pattern": {"bottom.cut": Lower.LONG_SKIRT, "bottom.weave.pattern": Pattern.PLAIN},
    "bottom.weave.period_m": {"bottom.weave.pattern": Pattern.CHECKS},
    "bottom.weave.duty": {"bottom.weave.pattern": Pattern.BLOTCHES},
    "bottom.weave.offset_m": {"bottom.weave.pattern": Pattern.BAND},
    "bottom.weave.slant": {
        "bottom.cut": Lower.LONG_SKIRT,
        "bottom.weave.pattern": Pattern.CHECKS,
        "bottom.weave.form": 2,
    },
    "bottom.weave.form": {"bottom.weave.pattern": Pattern.CHECKS, "bottom.cut": Lower.LONG_SKIRT},
    "hair_volume": {"hair": Hair.AFRO},
    "bag_side": {"bag": Bag.SHOULDER},
    "bag_size": {"bag": Bag.BACKPACK},
    "belt": {"top.hem": 0.0},
    "sock": {"bottom.cut": Lower.SHORTS, "sock": 0.9},
}
PLAINLY = {
    "top.cut": Upper.SWEATER,
    "top.sleeve": 0.5,
    "bottom.cut": Lower.TROUSERS,
    "hair": Hair.SHORT,
    "hat": Hat.NONE,
    "scarf": Scarf.NONE,
    "mask": False,
    "bag": Bag.NONE,
    "item": Item.NONE,
    "gait.habit": Habit.SWING,
}


def changed(value, path, new):
    name, _, rest = path.partition(".")
    return replace(value, **{name: changed(getattr(value, name), rest, new) if rest else new})


def dressed(person, wear):
    for path, value in wear.items():
        person = changed(person, path, value)
    return person


@pytest.mark.parametrize("path", list(attributes(draw_person(11, 0))))
def test_every_attribute_shows_in_visible_light_and_at_night(path):
    for camera in (draw_camera(3, 1, Spectrum.VISIBLE), draw_camera(3, 3, Spectrum.NEAR_INFRARED)):
        base = dressed(population()[3], PLAINLY | SHOWN_BY.get(path, {}))
        here = attributes(base)[path]
        values = sorted({attributes(person)[path] for person in population()[:60]} - {here}, key=as_number)
        other = dressed(base, {path: max(values, key=lambda value: abs(as_number(value) - as_number(here)))})
        seen = (
            np.abs(
                render(one, camera, picture_stream(3, 0, camera, image), (128, 64)).astype(int)
                - render(two, camera, picture_stream(3, 0, camera, image), (128, 64))
            ).max()
            for image in range(10)
            for one, two in [(base, other)]
        )
        assert any(change > 10 for change in seen)


def test_no_attribute_follows_from_another():
    """Five deviations of a correlation by chance, 1 / sqrt(people), over a thousand pairs."""
    names, numbers = table()
    related = np.corrcoef(numbers.T) - np.eye(len(names))
    worst = np.unravel_index(np.argmax(abs(related)), related.shape)
    assert abs(related[worst]) < 5 / PEOPLE**0.5, [names[place] for place in worst]


def test_the_number_of_an_identity_says_nothing_of_it():
    names, numbers = table()
    order = np.arange(PEOPLE)
    for name, values in zip(names, numbers.T, strict=True):
        assert abs(np.corrcoef(order, values)[0, 1]) < 5 / PEOPLE**0.5, name


def test_every_attribute_is_in_the_documentation_and_no_other():
    rows = re.findall(r"^\| `([\w.]+)` \|", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(rows) == sorted(table()[0])


def test_most_clothes_are_dark_or_muted():
    cloths = np.array(
        [person.materials[part].rgb for person in population() for part in (Part.UPPER, Part.LOWER)]
    )
    value, saturation = cloths.max(axis=1), np.ptp(cloths, axis=1) / cloths.max(axis=1)
    vivid = (value > 0.4) & (saturation > 0.5)
    assert np.mean(vivid) < 0.10
    assert np.mean(value < 0.35) > 0.5
    assert np.std(value) > 0.2


def test_one_pattern_in_three_vanishes_in_near_infrared_and_prints_more_often():
    def vanished(kinds):
        worn = [person.materials for person in population() if person.top.weave.pattern in kinds]
        return np.mean([worn[Part.UPPER].nir == worn[Part.UPPER_TRIM].nir for worn in worn])

    patterns = set(Pattern) - {Pattern.PLAIN}
    printed = {Pattern.LOGO, Pattern.DOTS, Pattern.BLOTCHES, Pattern.DIAGONAL}
    assert 0.22 < vanished(patterns) < 0.45
    assert vanished(printed) > vanished(patterns - printed) + 0.08
