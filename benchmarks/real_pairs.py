"""Zero-shot search across modalities on real pairs: our encoders beside HOG and a person encoder.

The data are crops of people by day, visible and thermal, aligned frame by frame; they are not part of the
project. Every image of one modality is searched among all of the other; images of the same person within
ten frames of the query are dropped, since they are nearly the same picture.

Usage: real_pairs.py DATA [BUNDLE ...]

DATA holds m3svd/pairs.csv, m3svd/{visible,infrared}/ID/FRAME.png and
models/person-reidentification-retail-0288.xml. Needs opencv-python-headless and openvino.
"""

import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from openvino import Core
from PIL import Image

from exporter.bundle import default_bundle, read_bundle
from exporter.preprocess import load_image
from exporter.runtime import GreyPixelEncoder, load_encoder
from index.metrics import evaluate_ranking
from index.protocols import PLAIN
from index.space import Modality, l2_normalise

NEAR_FRAMES = 10
REID = "models/person-reidentification-retail-0288.xml"

Embed = Callable[[Sequence[Path], Modality], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """N aligned pairs: who (N,), in which frame (N,), and the two files of each."""

    people: NDArray[np.str_]
    frames: NDArray[np.int64]
    files: dict[Modality, list[Path]]


def read_pairs(folder: Path) -> Pairs:
    """The pairs that ``pairs.csv`` lists."""
    with (folder / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    files = {
        modality: [folder / modality / row["person_id"] / f"{int(row['frame']):04d}.png" for row in rows]
        for modality in Modality
    }
    return Pairs(
        np.array([row["person_id"] for row in rows]), np.array([int(row["frame"]) for row in rows]), files
    )


def score(
    pairs: Pairs, vectors: dict[Modality, NDArray[np.float32]], asking: Modality
) -> tuple[float, float]:
    """Rank-1 and mAP of the searches by ``asking``, the mean over queries with a match."""
    similarity = vectors[asking] @ vectors[asking.other].T
    rank1, precision = [], []
    for query in range(len(pairs.people)):
        person, frame = pairs.people[query], pairs.frames[query]
        kept = (pairs.people != person) | (np.abs(pairs.frames - frame) > NEAR_FRAMES)
        if not (kept & (pairs.people == person)).any():
            continue
        gallery = pairs.people[kept].tolist()
        found = evaluate_ranking(
            similarity[query : query + 1, kept], [str(person)], gallery, [0], [0] * len(gallery), PLAIN
        )
        rank1.append(found.rank(1))
        precision.append(found.mean_ap)
    return float(np.mean(rank1)), float(np.mean(precision))


def hog(files: Sequence[Path], _: Modality) -> NDArray[np.float32]:
    """Histograms of oriented gradients (Dalal and Triggs, 2005): 9 orientations, 8x8 cells, 2x2 blocks."""
    descriptor = cv2.HOGDescriptor((64, 128), (16, 16), (8, 8), (8, 8), 9)
    greys = [
        np.asarray(Image.open(file).convert("L").resize((64, 128), Image.Resampling.BILINEAR))
        for file in files
    ]
    return l2_normalise(np.stack([np.ravel(descriptor.compute(grey)) for grey in greys]))


def person_encoder(model: Path) -> Embed:
    """A single-modality person encoder in OpenVINO's form, fed with BGR."""
    compiled = Core().compile_model(str(model), "CPU")
    _, _, height, width = compiled.input(0).shape

    def embed(files: Sequence[Path], _: Modality) -> NDArray[np.float32]:
        images = [load_image(file, (height, width))[:, :, ::-1].transpose(2, 0, 1)[None] for file in files]
        return l2_normalise(np.stack([np.ravel(compiled(image.astype(np.float32))[0]) for image in images]))

    return embed


def bundle_encoder(bundle: Path | None) -> Embed:
    """An encoder of ours; grey pixels where there is none."""
    encoder = load_encoder(bundle) if bundle else GreyPixelEncoder()

    def embed(files: Sequence[Path], modality: Modality) -> NDArray[np.float32]:
        images = np.stack([load_image(file, encoder.image_hw) for file in files])
        chunks = [images[start : start + 64] for start in range(0, len(images), 64)]
        return np.concatenate([encoder.encode(chunk, [modality] * len(chunk)) for chunk in chunks])

    return embed


def chance() -> Embed:
    """Vectors drawn at random, the same for nothing."""
    rng = np.random.default_rng(0)
    return lambda files, _: l2_normalise(rng.normal(size=(len(files), 512)))


def main() -> None:
    """Print a table, each number in percent."""
    data = Path(sys.argv[1])
    pairs = read_pairs(data / "m3svd")
    methods: dict[str, Embed] = {
        "chance": chance(),
        "grey pixels": bundle_encoder(None),
        "person-reidentification-retail-0288": person_encoder(data / REID),
        "HOG": hog,
    }
    for path in map(Path, sys.argv[2:] or [default_bundle()]):
        methods[read_bundle(path).fingerprint] = bundle_encoder(path)
    print(f"{len(pairs.people)} pairs of {len(set(pairs.people))} people\n")
    print("| method | infrared to visible R1 | mAP | visible to infrared R1 | mAP |\n|---|---|---|---|---|")
    for name, embed in methods.items():
        vectors = {modality: embed(files, modality) for modality, files in pairs.files.items()}
        cells = [
            value
            for asking in (Modality.INFRARED, Modality.VISIBLE)
            for value in score(pairs, vectors, asking)
        ]
        print(f"| {name} | {' | '.join(f'{100 * value:.1f}' for value in cells)} |", flush=True)


if __name__ == "__main__":
    main()
