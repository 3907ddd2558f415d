"""Synthetic people: the same picture twice, the published layouts, and no colour across modalities."""

import csv
import hashlib
from dataclasses import replace
from datetime import datetime
from functools import cache

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from index.errors import InvalidInput
from index.space import Modality
from training.datasets.garments import Lower, Pattern, Upper
from training.datasets.materials import Material, Part
from training.datasets.people import Bag, Hair, Hat, Item, Scarf
from training.datasets.poses import draw_pose, draw_walk
from training.datasets.reader import read_dataset
from training.datasets.rendering import take
from training.datasets.synthetic import (
    Spectrum,
    draw_camera,
    draw_person,
    draw_sheet,
    picture_stream,
    render,
    write_site,
    write_tree,
)
from training.datasets.tree import Infrared, Layout

HW = (96, 48)
DAY = draw_camera(3, 1, Spectrum.VISIBLE)
NIGHT = draw_camera(3, 3, Spectrum.NEAR_INFRARED)
HEAT = draw_camera(3, 1, Spectrum.THERMAL)
EVERY_CAMERA = pytest.mark.parametrize("camera", [DAY, NIGHT, HEAT], ids=list(Spectrum))


def picture(person, camera, identity=0, image=0):
    return render(person, camera, picture_stream(3, identity, camera, image), HW)


@cache
def population():
    return [draw_person(7, who) for who in range(200)]


def digests(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def ids(path):
    (line,) = lines(path)
    return {int(number) for number in line.split(",")}


@EVERY_CAMERA
def test_a_picture_depends_on_its_key_alone(camera):
    first = picture(draw_person(3, 5), camera, identity=5)
    picture(draw_person(3, 6), camera, identity=6)
    assert np.array_equal(first, picture(draw_person(3, 5), camera, identity=5))


def test_infrared_has_one_channel_and_visible_three():
    person = draw_person(3, 0)
    day, night, heat = (picture(person, camera) for camera in (DAY, NIGHT, HEAT))
    assert (day.shape, day.dtype) == ((*HW, 3), np.uint8)
    assert (night.shape, night.dtype) == (HW, np.uint8)
    assert (heat.shape, heat.dtype) == (HW, np.uint8)


@EVERY_CAMERA
def test_the_identity_and_the_image_each_change_the_picture(camera):
    one, other = draw_person(3, 0), draw_person(3, 1)
    same_stream = picture(one, camera).astype(int) - picture(other, camera)
    next_image = picture(one, camera).astype(int) - picture(one, camera, image=1)
    assert np.abs(same_stream).mean() > 4
    assert np.abs(next_image).mean() > 4


@EVERY_CAMERA
def test_the_background_does_not_know_who_stands_before_it(camera):
    """Glare and compression carry light over a figure's edge, in life too: both are off here."""
    plain = replace(camera, quality=100, glare=0.0)
    body = draw_person(3, 0).body
    compared = 0
    for image in range(4):
        first, *others = (
            take(
                replace(draw_person(3, who), body=body), plain, picture_stream(3, 0, camera, image), (160, 80)
            )
            for who in range(5)
        )
        for other in others:
            place = ~ndimage.binary_dilation(first.covered | other.covered, iterations=8)
            change = np.abs(first.pixels.astype(int) - other.pixels)[place]
            assert change.max(initial=0) <= 8
            compared += int(place.sum())
    assert compared > 5000


def test_reflectance_at_night_does_not_follow_from_colour():
    cloths = (Part.UPPER, Part.LOWER, Part.SHOE, Part.BAG, Part.HAT, Part.UPPER_TRIM)
    materials = [person.materials[part] for person in population() for part in cloths]
    nir = np.array([material.nir for material in materials])
    colours = np.array([(*material.rgb, 1.0) for material in materials])
    weights = np.linalg.lstsq(colours, nir, rcond=None)[0]
    explained = 1 - np.var(nir - colours @ weights) / np.var(nir)
    assert np.std(nir) > 0.15
    assert explained < 0.1


def test_each_spectrum_shows_its_own_property_of_a_material_and_no_other():
    person = draw_person(3, 0)

    def made(**change):
        materials = tuple(replace(material, **change) for material in person.materials)
        return replace(person, materials=materials)

    changed = {Spectrum.VISIBLE: made(rgb=(0.9, 0.1, 0.1)), Spectrum.NEAR_INFRARED: made(nir=0.9)}
    changed[Spectrum.THERMAL] = made(heat=0.05)
    for camera in (DAY, NIGHT, HEAT):
        for spectrum, other in changed.items():
            alike = np.array_equal(picture(other, camera), picture(person, camera))
            assert alike == (spectrum is not camera.spectrum)


@EVERY_CAMERA
@pytest.mark.parametrize("pattern", [pattern for pattern in Pattern if pattern is not Pattern.PLAIN])
def test_a_pattern_shows_in_each_spectrum_where_its_cloths_differ(camera, pattern):
    person = replace(draw_person(3, 0), bag=Bag.NONE, scarf=Scarf.NONE, item=Item.NONE)
    worn = replace(person.top, cut=Upper.SWEATER)
    materials = list(person.materials)
    materials[Part.UPPER] = Material((0.1, 0.1, 0.1), 0.9, 0.1)
    materials[Part.UPPER_TRIM] = Material((0.9, 0.9, 0.9), 0.2, 0.9)

    def taken(kind, image):
        top = replace(worn, weave=replace(worn.weave, pattern=kind, form=0))
        return picture(replace(person, top=top, materials=tuple(materials)), camera, image=image).astype(int)

    changes = (np.abs(taken(pattern, image) - taken(Pattern.PLAIN, image)).max() for image in range(8))
    assert any(change > 30 for change in changes)


@EVERY_CAMERA
@pytest.mark.parametrize(
    "wear",
    [
        *({"bag": bag} for bag in Bag),
        *({"hat": hat} for hat in Hat),
        *({"scarf": scarf} for scarf in Scarf),
        *({"item": item} for item in Item),
        *({"hair": hair} for hair in Hair),
        *({"top": cut} for cut in Upper),
        *({"bottom": cut} for cut in Lower),
    ],
    ids=lambda wear: str(*wear.values()),
)
def test_every_kind_of_wear_can_be_drawn_and_seen(camera, wear):
    """A person of each kind exists in the population and looks unlike one of another kind."""
    name, kind = next(iter(wear.items()))
    worn = [getattr(person, name) for person in population()]
    kinds = [getattr(value, "cut", value) for value in worn]
    here = worn[kinds.index(kind)]
    other = next(value for value, its in zip(worn, kinds, strict=True) if its is not kind)
    base = replace(population()[0], hat=Hat.NONE, bag=Bag.NONE, item=Item.NONE, scarf=Scarf.NONE)
    pairs = (
        [picture(replace(base, **{name: value}), camera, image=image) for value in (here, other)]
        for image in range(8)
    )
    assert any(not np.array_equal(one, two) for one, two in pairs)


def test_grey_pixels_do_not_find_a_person_in_the_other_modality():
    def rows(camera):
        taken = [Image.fromarray(picture(draw_person(3, who), camera, identity=who)) for who in range(60)]
        flat = np.array([np.asarray(image.convert("L").resize((16, 32)), float).ravel() for image in taken])
        flat -= flat.mean(axis=1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    nearest = np.argmax(rows(NIGHT) @ rows(DAY).T, axis=1)
    assert np.mean(nearest == np.arange(60)) < 0.15


def test_bare_skin_is_warmest_and_the_thicker_the_jacket_the_cooler_its_outside():
    for person in population():
        heats = [material.heat for material in person.materials]
        assert max(heats) == heats[Part.SKIN] > 0.85
        assert heats[Part.BAG] < heats[Part.SKIN] - 0.5
    thickness = [person.top.bulk_m for person in population()]
    warmth = [person.materials[Part.UPPER].heat for person in population()]
    assert np.corrcoef(thickness, warmth)[0, 1] < -0.8


def test_thermal_people_stand_out_from_a_place_that_keeps_still():
    for who in range(8):
        stream = picture_stream(3, who, HEAT, 0)
        seen = take(draw_person(3, who), HEAT, stream, (160, 80))
        apart = ~ndimage.binary_dilation(seen.covered, iterations=10)
        assert seen.pixels[seen.covered].max() > seen.pixels[apart].max(initial=0) + 60


@pytest.mark.parametrize("layout", Layout)
def test_a_tree_is_the_same_twice_and_reads_back(tmp_path, layout):
    seen = []
    roots = [tmp_path / "one", tmp_path / "two"]
    written = [write_tree(root, layout, 5, 1, 2, image_hw=(32, 16)) for root in roots]
    write_tree(tmp_path / "three", layout, 5, 1, 2, image_hw=(32, 16), progress=lambda *at: seen.append(at))
    assert digests(roots[0]) == digests(roots[1]) == digests(tmp_path / "three")
    assert seen == [(done, written[0]) for done in range(1, written[0] + 1)]
    dataset = read_dataset(layout, roots[0])
    assert len(dataset.train) + len(dataset.test) == written[0] == written[1]
    assert (
        {image.modality for image in dataset.train}
        == {image.modality for image in dataset.test}
        == set(Modality)
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "three", "two"]


def test_sysu_layout(tmp_path):
    root = tmp_path / "tree"
    assert write_tree(root, Layout.SYSU, 10, 2, 0, image_hw=(32, 16)) == 10 * 6 * 2
    expected = {f"cam{c}/{k:04d}/{n:04d}.jpg" for c in range(1, 7) for k in range(1, 11) for n in (1, 2)}
    lists = {f"exp/{part}_id.txt" for part in ("train", "val", "test")}
    assert set(digests(root)) == expected | lists
    parts = [ids(root / "exp" / f"{part}_id.txt") for part in ("train", "val", "test")]
    assert [len(part) for part in parts] == [7, 1, 2]
    assert set.union(*parts) == set(range(1, 11))
    for camera, mode in ((1, "RGB"), (3, "L"), (5, "RGB"), (6, "L")):
        with Image.open(root / f"cam{camera}/0001/0001.jpg") as image:
            assert (image.mode, image.size) == (mode, (16, 32))


def test_regdb_layout(tmp_path):
    root = tmp_path / "tree"
    assert write_tree(root, Layout.REGDB, 6, 2, 0, image_hw=(32, 16)) == 6 * 2 * 2
    with Image.open(root / "Thermal/1/t_00001_1.bmp") as image:
        camera = draw_camera(0, 1, Spectrum.THERMAL)
        shown = render(draw_person(0, 0), camera, picture_stream(0, 0, camera, 0), (32, 16))
        assert np.array_equal(np.asarray(image), shown)
    halves = set()
    for split in range(1, 11):
        members = {}
        for side in ("train", "test"):
            for name, folder in (("visible", "Visible"), ("thermal", "Thermal")):
                rows = [line.split(" ") for line in lines(root / f"idx/{side}_{name}_{split}.txt")]
                assert [label for _, label in rows] == [str(k) for k in range(3) for _ in range(2)]
                assert all((root / path).is_file() and path.startswith(f"{folder}/") for path, _ in rows)
                assert all(path.endswith(f"_{path.split('/')[1]}.bmp") for path, _ in rows)
                members[side, name] = [path.split("/")[1] for path, _ in rows]
        assert members["train", "visible"] == members["train", "thermal"]
        assert members["test", "visible"] == members["test", "thermal"]
        assert {*members["train", "visible"], *members["test", "visible"]} == {str(k) for k in range(1, 7)}
        halves.add(tuple(members["train", "visible"]))
    assert len(halves) > 5


def test_llcm_layout(tmp_path):
    root = tmp_path / "tree"
    assert write_tree(root, Layout.LLCM, 6, 1, 0, image_hw=(32, 16)) == 6 * 9 * 2
    test = ids(root / "idx/test_id.txt")
    train = sorted(set(range(1, 7)) - test)
    assert len(test) == 2
    expected = {"idx/test_id.txt", "idx/train_vis.txt", "idx/train_nir.txt"}
    for short in ("vis", "nir"):
        listed = [
            f"{short}/{k:04d}/{k:04d}_c{c}_0001.jpg {n}" for n, k in enumerate(train) for c in range(1, 10)
        ]
        assert lines(root / f"idx/train_{short}.txt") == listed
        expected |= {line.split(" ")[0] for line in listed}
        expected |= {f"test_{short}/cam{c}/{k:04d}/{k:04d}_c{c}_0001.jpg" for c in range(1, 10) for k in test}
    assert set(digests(root)) == expected


def test_a_site_has_a_manifest_and_names_that_say_nothing(tmp_path):
    manifest = write_site(tmp_path / "site", 4, 2, 0, first_identity=20, image_hw=(32, 16))
    write_site(tmp_path / "again", 4, 2, 0, first_identity=20, image_hw=(32, 16))
    assert digests(tmp_path / "site") == digests(tmp_path / "again")
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "filename",
        "camera_id",
        "modality",
        "captured_at",
        "image_id",
        "person_id",
        "track_id",
    ]
    assert set(digests(tmp_path / "site")) == {"manifest.csv", *(row["filename"] for row in rows)}
    assert {row["person_id"] for row in rows} == {"p0021", "p0022", "p0023", "p0024"}
    assert len({row["image_id"] for row in rows}) == len(rows) == 4 * 4 * 2
    assert len({row["track_id"] for row in rows}) == 4 * 4
    moments = [datetime.fromisoformat(row["captured_at"]) for row in rows]
    assert moments == sorted(moments)
    for row, moment in zip(rows, moments, strict=True):
        assert row["modality"] == ("visible" if row["camera_id"] in ("cam1", "cam2") else "infrared")
        assert (8 <= moment.hour < 17) == (row["modality"] == "visible")
        assert row["person_id"] not in row["filename"]
    numbers = [int(row["filename"].split("/")[1].removesuffix(".jpg")) for row in rows]
    people = [int(row["person_id"][1:]) for row in rows]
    assert abs(np.corrcoef(numbers, people)[0, 1]) < 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identities": 3}, "identities must be at least 4"),
        ({"images_per_camera": 0}, "images_per_camera must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"image_hw": (8, 4)}, "image_hw must be at least 16"),
    ],
)
def test_numbers_too_small_are_refused_before_anything_is_written(tmp_path, change, message):
    asked = {"identities": 4, "images_per_camera": 1, "seed": 0} | change
    with pytest.raises(InvalidInput, match=message):
        write_tree(tmp_path / "tree", Layout.SYSU, **asked)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "write", [lambda out: write_tree(out, Layout.SYSU, 4, 1, 0), lambda out: write_site(out, 1, 1, 0)]
)
def test_a_folder_that_holds_something_is_left_alone(tmp_path, write):
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    with pytest.raises(InvalidInput, match="absent or empty"):
        write(tmp_path)
    with pytest.raises(InvalidInput, match="must be a folder"):
        write(kept)
    assert kept.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [kept]


def infrared_files(root):
    """The files of the infrared pictures below ``root``, by camera number."""
    return {number: sorted(root.glob(f"cam{number}/*/*.jpg")) for number in (3, 6)}


def test_infrared_cameras_receive_what_is_asked(tmp_path):
    """Camera 3 of ``both`` draws what that of ``near`` draws, camera 6 what that of ``thermal`` draws."""
    trees = {infrared: tmp_path / infrared for infrared in Infrared}
    for infrared, root in trees.items():
        write_tree(root, Layout.SYSU, 4, 1, 0, infrared=infrared, image_hw=(32, 16))
    near, thermal, both = (
        {n: [file.read_bytes() for file in files] for n, files in infrared_files(trees[kind]).items()}
        for kind in (Infrared.NEAR, Infrared.THERMAL, Infrared.BOTH)
    )
    assert near[3]
    assert near != thermal
    assert both == {3: near[3], 6: thermal[6]}
    assert not set(near[6]) & set(thermal[6])


def test_one_infrared_camera_cannot_receive_both(tmp_path):
    with pytest.raises(InvalidInput, match="one infrared camera"):
        write_tree(tmp_path / "tree", Layout.REGDB, 4, 1, 0, infrared=Infrared.BOTH)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_tree_leaves_nothing(tmp_path):
    def stop(done, _total):
        if done == 3:
            raise KeyboardInterrupt

    out = tmp_path / "tree"
    out.mkdir()
    with pytest.raises(KeyboardInterrupt):
        write_tree(out, Layout.SYSU, 4, 1, 0, image_hw=(32, 16), progress=stop)
    assert list(tmp_path.iterdir()) == [out]
    assert list(out.iterdir()) == []


def test_the_pictures_of_a_track_are_steps_of_one_walk():
    walk = draw_walk(picture_stream(3, 0, DAY, 0), 1.5)
    steps = [walk.step(image) for image in range(4)]
    turns = np.diff([step.heading for step in steps])
    phases = np.diff([step.phase for step in steps])
    assert np.allclose(turns, turns[0])
    assert abs(turns[0]) <= 0.15
    assert np.allclose(phases, phases[0])
    assert phases[0] > 2 * np.pi
    person = draw_person(3, 0)
    drawn = [draw_pose(person, picture_stream(3, 0, DAY, image), steps[0]) for image in range(4)]
    assert {(pose.heading, pose.phase) for pose in drawn} == {(steps[0].heading, steps[0].phase)}
    free = [draw_pose(person, picture_stream(3, 0, DAY, image)) for image in range(4)]
    assert len({pose.heading for pose in free}) == 4


def test_a_site_draws_walks_and_a_tree_does_not(tmp_path):
    """The same people by the same streams: only what the walk fixes differs."""
    write_site(tmp_path / "site", 1, 2, 0, image_hw=(64, 32))
    camera = draw_camera(0, 101, Spectrum.VISIBLE)
    free = render(draw_person(0, 0), camera, picture_stream(0, 0, camera, 0), (64, 32))
    shown = [np.asarray(Image.open(path)).astype(int) for path in (tmp_path / "site/cam1").iterdir()]
    assert min(np.abs(picture - free).mean() for picture in shown) > 3


def test_a_contact_sheet_has_a_row_for_each_person_and_columns_for_each_spectrum():
    sheet = draw_sheet(range(3, 5), 0, images_per_camera=1, image_hw=(64, 32))
    assert (sheet.mode, sheet.size) == ("RGB", (6 * 32, 2 * 64))
    pixels = np.asarray(sheet).astype(int)
    colourful = np.ptp(pixels, axis=2).max(axis=0)
    assert colourful[: 2 * 32].max() > 10
    assert colourful[2 * 32 :].max() == 0
    camera = draw_camera(0, 5, Spectrum.THERMAL)
    last = render(draw_person(0, 4), camera, picture_stream(0, 4, camera, 0), (64, 32))
    assert np.array_equal(pixels[64:, 5 * 32 :, 0], last)
    with pytest.raises(InvalidInput, match="identities must be at least 1"):
        draw_sheet(range(0), 0)


def test_an_unknown_first_identity_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="first_identity must be at least 0"):
        write_site(tmp_path / "site", 1, 1, 0, first_identity=-1)
