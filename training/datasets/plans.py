"""What a tree of each layout shows: its list files, and the pictures to take."""

from dataclasses import dataclass
from pathlib import Path

from index.errors import InvalidInput
from index.space import Modality
from training.datasets.cameras import Camera, Spectrum, draw_camera
from training.datasets.chance import generator
from training.datasets.poses import Step
from training.datasets.tree import LLCM_CAMERAS, SYSU_CAMERAS, Infrared

_SPLIT_STREAM = 22
_REGDB_SPLITS = 10


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture to take: its path, who (from 0), by which camera, which of theirs, where in a walk."""

    path: str
    identity: int
    camera: Camera
    image: int
    step: Step | None = None


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _shuffled(seed: int, identities: int, split: int = 0) -> list[int]:
    order: list[int] = generator(seed, _SPLIT_STREAM, split).permutation(identities).tolist()
    return order


def plan_sysu(folder: Path, identities: int, images: int, seed: int, infrared: Infrared) -> list[Shot]:
    """Write SYSU-MM01's split (about 70, 10 and 20 in 100 to train, val and test); return its pictures."""
    order = _shuffled(seed, identities)
    test, val = max(2, round(0.2 * identities)), max(1, round(0.1 * identities))
    splits = {"test": order[:test], "val": order[test : test + val], "train": order[test + val :]}
    for name, members in splits.items():
        ids = ",".join(str(identity + 1) for identity in sorted(members))
        _write_lines(folder / "exp" / f"{name}_id.txt", [ids])
    return [
        Shot(f"cam{number}/{identity + 1:04d}/{image + 1:04d}.jpg", identity, camera, image)
        for number, camera in _sysu_cameras(seed, infrared)
        for identity in range(identities)
        for image in range(images)
    ]


def _sysu_cameras(seed: int, infrared: Infrared) -> list[tuple[int, Camera]]:
    return [
        (n, draw_camera(seed, n, _spectrum(modality, infrared, n))) for n, modality in SYSU_CAMERAS.items()
    ]


def _spectrum(modality: Modality, infrared: Infrared, number: int) -> Spectrum:
    """Of camera ``number``: where infrared is both, odd cameras see near infrared and even ones heat."""
    if modality is Modality.VISIBLE:
        return Spectrum.VISIBLE
    near = infrared is Infrared.NEAR or (infrared is Infrared.BOTH and number % 2 == 1)
    return Spectrum.NEAR_INFRARED if near else Spectrum.THERMAL


def plan_regdb(folder: Path, identities: int, images: int, seed: int, infrared: Infrared) -> list[Shot]:
    """Write RegDB's ten splits, half the identities to each side; return its pictures."""
    if infrared is Infrared.BOTH:
        raise InvalidInput("RegDB has one infrared camera; it receives near infrared or heat, not both")
    folders = {Modality.VISIBLE: "Visible", Modality.INFRARED: "Thermal"}
    shots: list[Shot] = []
    for modality, name in folders.items():
        camera, letter = draw_camera(seed, 1, _spectrum(modality, infrared, 1)), name[0].lower()
        of = [
            [
                Shot(
                    f"{name}/{who + 1}/{letter}_{who * images + image + 1:05d}_{who + 1}.bmp",
                    who,
                    camera,
                    image,
                )
                for image in range(images)
            ]
            for who in range(identities)
        ]
        for split in range(1, _REGDB_SPLITS + 1):
            order = _shuffled(seed, identities, split)
            half = identities // 2
            for side, members in (("train", order[:half]), ("test", order[half:])):
                lines = [f"{shot.path} {label}" for label, who in enumerate(members) for shot in of[who]]
                _write_lines(folder / "idx" / f"{side}_{name.lower()}_{split}.txt", lines)
        shots += [shot for group in of for shot in group]
    return shots


def plan_llcm(folder: Path, identities: int, images: int, seed: int, infrared: Infrared) -> list[Shot]:
    """Write LLCM's lists (about 2 in 3 identities to train); return its pictures."""
    order = _shuffled(seed, identities)
    held_out = max(2, round(identities / 3))
    test, train = sorted(order[:held_out]), sorted(order[held_out:])
    _write_lines(folder / "idx" / "test_id.txt", [",".join(str(identity + 1) for identity in test)])
    shots: list[Shot] = []
    for modality, short in ((Modality.VISIBLE, "vis"), (Modality.INFRARED, "nir")):
        cameras = [draw_camera(seed, n, _spectrum(modality, infrared, n)) for n in LLCM_CAMERAS]
        lines: list[str] = []
        for label, identity in enumerate(train):
            taken = [shot for camera in cameras for shot in _llcm_shots(short, identity, camera, images)]
            lines += [f"{shot.path} {label}" for shot in taken]
            shots += taken
        _write_lines(folder / "idx" / f"train_{short}.txt", lines)
        for camera in cameras:
            for identity in test:
                shots += _llcm_shots(f"test_{short}/cam{camera.number}", identity, camera, images)
    return shots


def _llcm_shots(parent: str, identity: int, camera: Camera, images: int) -> list[Shot]:
    name = f"{identity + 1:04d}"
    return [
        Shot(f"{parent}/{name}/{name}_c{camera.number}_{image + 1:04d}.jpg", identity, camera, image)
        for image in range(images)
    ]
