"""Nothing but what a camera would see tells synthetic people apart."""

from functools import cache

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from training.datasets.materials import Part
from training.datasets.rendering import take
from training.datasets.synthetic import (
    Spectrum,
    draw_camera,
    draw_person,
    picture_stream,
    write_site,
    write_tree,
)
from training.datasets.tree import Layout

PEOPLE, IMAGES = 16, 12
HW = (80, 40)
PATCH = 8
CAMERAS = [
    draw_camera(2, 1, Spectrum.VISIBLE),
    draw_camera(2, 3, Spectrum.NEAR_INFRARED),
    draw_camera(2, 1, Spectrum.THERMAL),
]
EVERY_CAMERA = pytest.mark.parametrize("camera", CAMERAS, ids=list(Spectrum))


@cache
def pictures(camera):
    """Each person's pictures by a camera, and whose each is."""
    taken, whose = [], []
    for who in range(PEOPLE):
        for image in range(IMAGES):
            taken.append(take(draw_person(2, who), camera, picture_stream(2, who, camera, image), HW))
            whose.append(who)
    return taken, np.array(whose)


def corners(camera):
    """The pixels of an upper corner that shows the place alone, and whose each is; rows of length 1."""
    rows, kept = [], []
    for picture, who in zip(*pictures(camera), strict=True):
        near = ndimage.binary_dilation(picture.covered, iterations=3)
        for side in (slice(0, PATCH), slice(HW[1] - PATCH, HW[1])):
            if not near[: 2 * PATCH, side].any():
                rows.append(picture.pixels[: 2 * PATCH, side].astype(float).ravel())
                kept.append(who)
                break
    found = np.array(rows)
    found -= found.mean(axis=0)
    return found / np.linalg.norm(found, axis=1, keepdims=True), np.array(kept)


def chance_bound(whose):
    """The share of hits that guessing passes once in a thousand times."""
    share = sum(np.mean(whose == who) ** 2 for who in range(PEOPLE))
    return share + 3.1 * (share * (1 - share) / len(whose)) ** 0.5


@EVERY_CAMERA
def test_the_nearest_background_is_not_the_same_persons(camera):
    rows, whose = corners(camera)
    assert len(rows) > 90
    alike = rows @ rows.T
    np.fill_diagonal(alike, -np.inf)
    assert np.mean(whose[np.argmax(alike, axis=1)] == whose) < chance_bound(whose)


@EVERY_CAMERA
def test_a_linear_classifier_on_the_background_is_at_chance(camera):
    rows, whose = corners(camera)
    guessed = np.empty_like(whose)
    for fold in range(5):
        held = np.arange(len(rows)) % 5 == fold
        known, targets = rows[~held], np.eye(PEOPLE)[whose[~held]]
        weights = np.linalg.solve(known.T @ known + 0.1 * np.eye(rows.shape[1]), known.T @ targets)
        guessed[held] = np.argmax(rows[held] @ weights, axis=1)
    assert np.mean(guessed == whose) < chance_bound(whose)


def test_these_classifiers_find_a_background_that_is_marked():
    """The bounds above can be passed: a faint mark for each person gives them away."""
    rows, whose = corners(CAMERAS[0])
    marks = np.random.default_rng(0).normal(size=(PEOPLE, rows.shape[1]))
    rows = rows + marks[whose] / np.linalg.norm(marks, axis=1)[whose, None]
    alike = rows @ rows.T
    np.fill_diagonal(alike, -np.inf)
    assert np.mean(whose[np.argmax(alike, axis=1)] == whose) > 2 * chance_bound(whose)


@EVERY_CAMERA
def test_a_person_is_seen_before_other_parts_of_the_place_each_time(camera):
    rows, _ = corners(camera)
    alike = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    assert np.quantile(abs(alike), 0.5) < 0.9


def test_every_file_of_a_tree_is_compressed_alike_and_carries_no_note(tmp_path):
    write_tree(tmp_path / "tree", Layout.SYSU, 4, 1, 0, image_hw=(32, 16))
    tables, notes = set(), set()
    for path in (tmp_path / "tree").rglob("*.jpg"):
        with Image.open(path) as image:
            tables.add((image.mode, str(image.quantization)))
            notes |= set(image.info) - {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
            assert not image.getexif()
    assert {mode for mode, _ in tables} == {"RGB", "L"}
    assert len(tables) == 2
    assert notes == set()


def test_names_and_order_on_a_site_say_nothing_of_who_is_seen(tmp_path):
    people = 30
    manifest = write_site(tmp_path / "site", people, 1, 1, image_hw=(16, 16))
    lines = [line.split(",") for line in manifest.read_text(encoding="utf-8").splitlines()[1:]]
    whose = [int(line[5][1:]) - 1 for line in lines]
    persons = [draw_person(1, who) for who in whose]
    traits = {
        "identity": whose,
        "height": [person.body.height_m for person in persons],
        "weight": [person.body.weight for person in persons],
        "bulk": [person.top.bulk for person in persons],
        "brightness": [sum(person.materials[Part.UPPER].rgb) for person in persons],
    }
    names = [int(line[0].split("/")[1].removesuffix(".jpg")) for line in lines]
    for order in (names, range(len(lines))):
        for trait, values in traits.items():
            assert abs(np.corrcoef(order, values)[0, 1]) < 3.5 / len(lines) ** 0.5, trait
    files = sorted((tmp_path / "site").rglob("*.jpg"), key=lambda path: path.name)
    listed = {line[0]: place for place, line in enumerate(lines)}
    places = [listed[path.relative_to(tmp_path / "site").as_posix()] for path in files]
    assert abs(np.corrcoef(places, range(len(files)))[0, 1]) < 3.5 / len(files) ** 0.5
