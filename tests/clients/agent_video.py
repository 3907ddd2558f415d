"""Synthetic videos of people who walk past a fixed camera, one after the other."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.datasets.cameras import Spectrum, draw_camera
from training.datasets.people import draw_person
from training.datasets.poses import Step
from training.datasets.rendering import render, take

FPS = 5
_FRAME_HW, _PERSON_HW = (260, 360), (200, 100)
_SECONDS_EACH, _SECONDS_BETWEEN = 2.0, 1.6
_SEED = 20_260_401
_SIDEWAYS = 0.6


def write_night_video(path: Path, identities: list[int]) -> None:
    """Write a near-infrared video in which each identity walks through the picture, with a pause after."""
    camera = draw_camera(_SEED, 1, Spectrum.NEAR_INFRARED)
    height, width = _FRAME_HW
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), FPS, (width, height))
    assert video.isOpened()
    place = _empty_place()
    for identity in identities:
        steps = round(_SECONDS_EACH * FPS)
        for number in range(steps):
            rng = np.random.default_rng((_SEED, identity))
            step = Step(heading=_SIDEWAYS, phase=2 * np.pi * number / FPS)
            shot = take(draw_person(_SEED, identity), camera, rng, _PERSON_HW, step)
            left = 20 + round((width - 40 - _PERSON_HW[1]) * number / (steps - 1))
            frame = place.copy()
            spot = frame[30 : 30 + _PERSON_HW[0], left : left + _PERSON_HW[1]]
            spot[shot.covered] = shot.pixels[shot.covered]
            video.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
        for _ in range(round(_SECONDS_BETWEEN * FPS)):
            video.write(cv2.cvtColor(place, cv2.COLOR_GRAY2BGR))
    video.release()


def day_picture(identity: int, phase: float = 0.5) -> bytes:
    """A JPEG of an identity by a visible camera, at a phase of its walk."""
    camera = draw_camera(_SEED, 2, Spectrum.VISIBLE)
    rng = np.random.default_rng((_SEED, identity, 1))
    step = Step(heading=_SIDEWAYS, phase=phase)
    pixels = render(draw_person(_SEED, identity), camera, rng, (240, 120), step)
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(pixels[:, :, ::-1]))
    assert done
    return data.tobytes()


def _empty_place() -> NDArray[np.uint8]:
    """A dark wall above a somewhat lighter floor, uint8 (H, W)."""
    height, width = _FRAME_HW
    place = np.full((height, width), 28.0)
    place[int(0.8 * height) :] = 42.0
    place += np.random.default_rng(1).normal(0, 2, place.shape)
    return place.clip(0, 255).astype(np.uint8)
