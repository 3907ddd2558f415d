"""Synthetic cameras: each its own sensor and place, and what happens to a person before them."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from training.datasets.cameras import Spectrum, draw_camera, expose
from training.datasets.rendering import take
from training.datasets.scenes import background
from training.datasets.synthetic import draw_person, picture_stream

HW = (64, 32)
EVERY_SPECTRUM = pytest.mark.parametrize("spectrum", Spectrum)


def cameras(spectrum):
    return [draw_camera(1, number, spectrum) for number in range(1, 9)]


def clean(camera, **change):
    return replace(
        camera, noise=0.0, blur=0.0, quality=100, gamma=1.0, haze=0.0, gain=(0.6, 0.6, 0.6), **change
    )


def exposed(camera, radiance, image=0):
    return expose(camera, radiance, picture_stream(1, 0, camera, image), radiance.shape[:2]).astype(int)


@EVERY_SPECTRUM
@pytest.mark.parametrize("name", ["resolution", "quality", "noise", "blur", "gamma", "pitch", "gain"])
def test_cameras_of_a_site_differ_in_each_property(spectrum, name):
    assert len({getattr(camera, name) for camera in cameras(spectrum)}) >= 5


@EVERY_SPECTRUM
def test_every_camera_has_a_place_of_its_own_and_shows_other_parts_of_it(spectrum):
    first, second = cameras(spectrum)[:2]
    views = [
        background(camera, picture_stream(1, 0, first, 0), HW) / camera.reach for camera in (first, second)
    ]
    moved = background(first, picture_stream(1, 0, first, 1), HW) / first.reach
    assert np.abs(views[0] - views[1]).mean() > 0.02
    assert np.abs(views[0] - moved).mean() > 0.01


def test_only_visible_cameras_cast_a_colour():
    for spectrum in Spectrum:
        casts = [np.ptp(camera.gain) for camera in cameras(spectrum)]
        assert (max(casts) > 0.01) == (spectrum is Spectrum.VISIBLE)


def test_compression_leaves_blocks_where_the_quality_is_low():
    grain = np.random.default_rng(0).uniform(0, 1, (64, 32, 1)).astype(np.float32)
    camera = draw_camera(1, 3, Spectrum.NEAR_INFRARED)
    fine, coarse = (exposed(replace(clean(camera), quality=quality), grain) for quality in (100, 20))
    assert np.abs(fine - coarse).mean() > 3


def test_noise_is_the_sensors_and_new_in_each_picture():
    flat = np.full((*HW, 1), 0.5, dtype=np.float32)
    quiet = clean(draw_camera(1, 3, Spectrum.NEAR_INFRARED), fall_off=0.0, vignette=0.0)
    noisy = replace(quiet, noise=0.05)
    assert exposed(quiet, flat).std() < 1
    grains = [exposed(noisy, flat, image) for image in range(2)]
    assert all(8 < grain.std() < 16 for grain in grains)
    assert abs(np.corrcoef(grains[0].ravel(), grains[1].ravel())[0, 1]) < 0.1


def test_a_night_cameras_lamp_falls_off_and_glares():
    flat = np.full((*HW, 1), 0.4, dtype=np.float32)
    camera = clean(draw_camera(1, 3, Spectrum.NEAR_INFRARED), fall_off=0.8, vignette=0.0, glare=0.0)
    lit = exposed(camera, flat)
    assert lit.max() > 1.5 * lit.min()
    assert np.ptp(exposed(replace(camera, fall_off=0.0), flat)) <= 1
    bright = flat.copy()
    bright[24:40, 8:24] = 2.0
    even = replace(camera, fall_off=0.0)
    spilled = exposed(replace(even, glare=0.4), bright) - exposed(even, bright)
    assert spilled[20:24, 8:24].mean() > spilled[:4].mean() + 3


def test_the_place_behind_a_person_is_dimmer_by_night_than_by_day():
    assert {camera.reach for camera in cameras(Spectrum.VISIBLE)} == {1.0}
    assert max(camera.reach for camera in cameras(Spectrum.NEAR_INFRARED)) < 0.91


@EVERY_SPECTRUM
def test_one_person_in_seven_is_hidden_in_part_and_some_are_cut_off(spectrum):
    camera = draw_camera(1, 1, spectrum)
    person = draw_person(1, 0)
    taken = [take(person, camera, picture_stream(1, 0, camera, image), HW) for image in range(150)]
    hidden = [picture.hidden.any() for picture in taken]
    assert 0.08 < np.mean(hidden) < 0.24
    assert all(picture.covered[picture.hidden].all() for picture in taken)
    cut = [picture.covered[-1].any() for picture in taken if not picture.hidden.any()]
    assert 0.05 < np.mean(cut) < 0.60


@EVERY_SPECTRUM
def test_boxes_of_one_person_jitter_in_scale_and_place(spectrum):
    camera = draw_camera(1, 1, spectrum)
    person = draw_person(1, 0)
    taken = [take(person, camera, picture_stream(1, 0, camera, image), HW) for image in range(60)]
    free = [picture.covered for picture in taken if not picture.hidden.any()]
    heights = [np.ptp(np.flatnonzero(mask.any(axis=1))) for mask in free]
    middles = [np.flatnonzero(mask.any(axis=0)).mean() for mask in free]
    assert np.ptp(heights) > 5
    assert np.ptp(middles) > 4


@EVERY_SPECTRUM
def test_a_picture_is_no_sharper_than_its_sensor(spectrum):
    """Detail finer than the sensor's pixels is gone: shrinking to the sensor's size loses little."""
    camera = replace(draw_camera(1, 1, spectrum), resolution=0.4, noise=0.0)
    pixels = take(draw_person(1, 0), camera, picture_stream(1, 0, camera, 0), (160, 80)).pixels
    image = Image.fromarray(pixels)
    again = image.resize((32, 64), Image.Resampling.LANCZOS).resize((80, 160), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(again).astype(int) - pixels).mean() < 2.5
