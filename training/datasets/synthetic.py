"""Synthetic people on disk: data set trees of every layout, and a demo site with its manifest.

Every picture has its own stream of random numbers, keyed by seed, identity, camera and image, so any
one of them can be drawn alone and in any order. Nothing but what a camera sees tells identities
apart: places, light, noise and (on the site) file names are drawn without them.
"""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from index.errors import InvalidInput
from training.datasets.cameras import Camera, Spectrum, draw_camera
from training.datasets.chance import generator
from training.datasets.people import Person, draw_person
from training.datasets.plans import Shot, plan_llcm, plan_regdb, plan_sysu
from training.datasets.poses import draw_walk
from training.datasets.rendering import render
from training.datasets.tree import Infrared, Layout

__all__ = [
    "Camera",
    "Person",
    "Spectrum",
    "draw_camera",
    "draw_person",
    "draw_sheet",
    "picture_stream",
    "render",
    "write_site",
    "write_tree",
]

Progress = Callable[[int, int], None]

_PICTURE_STREAM = 21
_SITE_STREAM = 23
_TRACK_STREAM = 24
_TRACK_INTERVAL_S = 1.5
# Beyond the cameras of every tree: a site of the same seed has places that no encoder trained on.
_SITE_CAMERAS = {
    101: Spectrum.VISIBLE,
    102: Spectrum.VISIBLE,
    103: Spectrum.NEAR_INFRARED,
    104: Spectrum.NEAR_INFRARED,
}
_SHEET_CAMERAS = (
    (Spectrum.VISIBLE, 1),
    (Spectrum.VISIBLE, 2),
    (Spectrum.NEAR_INFRARED, 3),
    (Spectrum.NEAR_INFRARED, 6),
    (Spectrum.THERMAL, 1),
    (Spectrum.THERMAL, 5),
)
_SITE_DAY = datetime(2026, 3, 2, tzinfo=UTC)
_MANIFEST = ("filename", "camera_id", "modality", "captured_at", "image_id", "person_id", "track_id")


# What the cameras of the published sets are.
_INFRARED = {Layout.SYSU: Infrared.NEAR, Layout.REGDB: Infrared.THERMAL, Layout.LLCM: Infrared.NEAR}


def picture_stream(seed: int, identity: int, camera: Camera, image: int) -> np.random.Generator:
    """The random numbers of one picture, for ``render``.

    Args:
        seed: The population's seed.
        identity: Who, at least 0.
        camera: By which camera.
        image: Which of that person's pictures by that camera, at least 0.

    Returns:
        A fresh generator; equal arguments give equal numbers, others independent ones.
    """
    spectrum = list(Spectrum).index(camera.spectrum)
    return generator(seed, _PICTURE_STREAM, identity, camera.number, spectrum, image)


def draw_sheet(
    identities: range, seed: int, *, images_per_camera: int = 2, image_hw: tuple[int, int] = (160, 80)
) -> Image.Image:
    """Draw a contact sheet: a row for each person, columns by two cameras of each spectrum.

    Args:
        identities: Whom to show, counted from 0.
        seed: Draws people, cameras and pictures, at least 0.
        images_per_camera: Pictures of each person by each camera, at least 1.
        image_hw: Height and width of each picture in pixels.

    Returns:
        An RGB picture: visible on the left, near infrared in the middle, thermal on the right.

    Raises:
        InvalidInput: Nobody is asked for, or a number is too small.
    """
    _check_numbers(len(identities), 1, images_per_camera, seed, image_hw)
    height, width = image_hw
    cameras = [draw_camera(seed, number, spectrum) for spectrum, number in _SHEET_CAMERAS]
    columns = [(camera, image) for camera in cameras for image in range(images_per_camera)]
    sheet = Image.new("RGB", (width * len(columns), height * len(identities)))
    for row, identity in enumerate(identities):
        for column, (camera, image) in enumerate(columns):
            stream = picture_stream(seed, identity, camera, image)
            pixels = render(_person(seed, identity), camera, stream, image_hw)
            sheet.paste(Image.fromarray(pixels).convert("RGB"), (column * width, row * height))
    return sheet


def write_tree(
    out: Path,
    layout: Layout,
    identities: int,
    images_per_camera: int,
    seed: int,
    *,
    infrared: Infrared | None = None,
    image_hw: tuple[int, int] = (160, 80),
    progress: Progress | None = None,
) -> int:
    """Write a data set tree of synthetic people, complete or not at all.

    Every identity is seen by every camera of the layout: four visible and two infrared in SYSU-MM01's,
    one of each in RegDB's, nine that see by day and in infrared in LLCM's.

    Args:
        out: Where to; absent or an empty folder.
        layout: Whose folder layout and list files to follow.
        identities: Number of people, at least 4; identity k is ``draw_person(seed, k - 1)``.
        images_per_camera: Pictures of each person by each camera and modality, at least 1.
        seed: Draws people, cameras, pictures and splits, at least 0.
        infrared: What the infrared cameras receive; as in the published set where not given: heat in
            RegDB, near infrared in the others.
        image_hw: Height and width of each picture in pixels.
        progress: Called after each picture with the number written and the number to write.

    Returns:
        The number of pictures written.

    Raises:
        InvalidInput: ``out`` holds something, a number is too small, or the layout's one infrared camera
            is to receive both.
    """
    layout = Layout(layout)
    infrared = infrared or _INFRARED[layout]
    _check_numbers(identities, 4, images_per_camera, seed, image_hw)
    with _complete_folder(out) as folder:
        match layout:
            case Layout.SYSU:
                shots = plan_sysu(folder, identities, images_per_camera, seed, infrared)
            case Layout.REGDB:
                shots = plan_regdb(folder, identities, images_per_camera, seed, infrared)
            case Layout.LLCM:
                shots = plan_llcm(folder, identities, images_per_camera, seed, infrared)
        for done, shot in enumerate(shots, start=1):
            _take(folder, shot, seed, image_hw)
            if progress is not None:
                progress(done, len(shots))
    return len(shots)


def write_site(
    out: Path,
    identities: int,
    images_per_camera: int,
    seed: int,
    *,
    first_identity: int = 0,
    image_hw: tuple[int, int] = (160, 80),
) -> Path:
    """Write the pictures of a demo site, cam1 and cam2 by day and cam3 and cam4 by night.

    Pictures lie at ``<camera_id>/<number>.jpg``; the number says nothing of who is seen. Its cameras
    are none of ``write_tree``'s, whatever the seed; people are the same where seed and identity are.

    Args:
        out: Where to; absent or an empty folder.
        identities: Number of people, at least 1.
        images_per_camera: Pictures of each person by each camera, one track, at least 1.
        seed: Draws people, cameras and pictures, at least 0.
        first_identity: The first person's number in the population, so that a site can show people
            whom no tree of the same seed holds.
        image_hw: Height and width of each picture in pixels.

    Returns:
        The manifest, ``manifest.csv`` in ``out``: filename (relative to ``out``), camera_id, modality,
        captured_at (ISO 8601, UTC), image_id, person_id, track_id; in order of capture.

    Raises:
        InvalidInput: ``out`` holds something, or a number is too small.
    """
    _check_numbers(identities, 1, images_per_camera, seed, image_hw)
    if first_identity < 0:
        raise InvalidInput(f"first_identity must be at least 0, got {first_identity}")
    with _complete_folder(out) as folder:
        visits = _plan_site(identities, images_per_camera, seed, first_identity)
        for _, shot, _ in visits:
            _take(folder, shot, seed, image_hw)
        _write_manifest(folder / "manifest.csv", visits)
    return out / "manifest.csv"


def _check_numbers(
    identities: int, fewest: int, images_per_camera: int, seed: int, image_hw: tuple[int, int]
) -> None:
    if identities < fewest:
        raise InvalidInput(f"identities must be at least {fewest}, got {identities}")
    if images_per_camera < 1:
        raise InvalidInput(f"images_per_camera must be at least 1, got {images_per_camera}")
    if seed < 0:
        raise InvalidInput(f"seed must be at least 0, got {seed}")
    if min(image_hw) < 16:
        raise InvalidInput(f"image_hw must be at least 16 by 16 pixels, got {image_hw[0]} by {image_hw[1]}")


@contextmanager
def _complete_folder(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that becomes ``out`` once the block ends well, and vanishes otherwise."""
    if out.is_dir() and any(out.iterdir()):
        raise InvalidInput(f"{out} must be absent or empty, but it holds files; name another folder")
    if out.exists() and not out.is_dir():
        raise InvalidInput(f"{out} must be a folder, but it is a file; name another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as beside:
        folder = Path(beside) / "tree"
        folder.mkdir()
        yield folder
        if out.is_dir():
            out.rmdir()
        folder.rename(out)


@lru_cache(maxsize=4096)
def _person(seed: int, identity: int) -> Person:
    return draw_person(seed, identity)


def _take(folder: Path, shot: Shot, seed: int, image_hw: tuple[int, int]) -> None:
    """Render one picture and write it in the format of its suffix."""
    stream = picture_stream(seed, shot.identity, shot.camera, shot.image)
    pixels = render(_person(seed, shot.identity), shot.camera, stream, image_hw, shot.step)
    picture = Image.fromarray(pixels)
    path = folder / shot.path
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True)
    if path.suffix == ".jpg":
        picture.save(path, quality=90)
    else:
        picture.save(path)


_Visit = tuple[datetime, Shot, str]


def _plan_site(identities: int, images: int, seed: int, first_identity: int) -> list[_Visit]:
    """When each picture of the site is taken, with its track, in order of capture."""
    rng = generator(seed, _SITE_STREAM, first_identity)
    numbers = iter(rng.choice(10**8, identities * images * len(_SITE_CAMERAS), replace=False).tolist())
    visits: list[_Visit] = []
    for place, (number, spectrum) in enumerate(_SITE_CAMERAS.items(), start=1):
        camera = draw_camera(seed, number, spectrum)
        opens_h, hours = (8, 9) if spectrum is Spectrum.VISIBLE else (21, 7)
        starts = _SITE_DAY + timedelta(hours=opens_h)
        seconds = rng.uniform(0, hours * 3600 - 2 * images, identities).round(1)
        for track, who in enumerate(np.argsort(seconds, kind="stable").tolist(), start=1):
            identity = first_identity + who
            walk = draw_walk(generator(seed, _TRACK_STREAM, identity, number), _TRACK_INTERVAL_S)
            for image in range(images):
                moment = starts + timedelta(seconds=float(seconds[who]) + _TRACK_INTERVAL_S * image)
                path = f"cam{place}/{next(numbers):08d}.jpg"
                shot = Shot(path, identity, camera, image, walk.step(image))
                visits.append((moment, shot, f"cam{place}-track{track:04d}"))
    return sorted(visits, key=lambda visit: (visit[0], visit[1].path))


def _write_manifest(path: Path, visits: list[_Visit]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_MANIFEST)
        for moment, shot, track in visits:
            camera_id = shot.path.split("/")[0]
            captured_at = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            image_id = shot.path.removesuffix(".jpg").replace("/", "-")
            person_id = f"p{shot.identity + 1:04d}"
            writer.writerow(
                (shot.path, camera_id, shot.camera.modality, captured_at, image_id, person_id, track)
            )
