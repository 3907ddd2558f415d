"""How hard a benchmark tree is: what scores near chance on it, and what a trained encoder reaches.

All-search, single-shot (SYSU-MM01's), ten draws: random vectors, grey pixels, colour histograms, an encoder
with random weights, bundles and training runs.

Usage: calibration.py ROOT [BUNDLE_OR_RUN ...], ROOT as `peca synth --preset bench --out ROOT` writes it.
"""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from exporter.bundle import default_bundle
from exporter.preprocess import load_image
from exporter.runtime import Encoder as FrozenForm
from exporter.runtime import GreyPixelEncoder, load_encoder
from index.evaluation import evaluate_gallery
from index.gallery import open_gallery
from index.records import ImageRecord
from index.space import EmbeddingSpec, Modality, l2_normalise
from training.checkpoint import BEST, load_checkpoint, restore
from training.datasets.reader import read_dataset
from training.datasets.tree import TreeImage
from training.models.encoder import Encoder
from training.models.frozen import FrozenEncoder
from training.models.network import Network
from training.recipe import load_form, load_recipe, parse_recipe

Embed = Callable[[Sequence[TreeImage]], NDArray[np.float32]]

BINS = 16
STRIPES = 6
CHUNK = 64


def chance(images: Sequence[TreeImage]) -> NDArray[np.float32]:
    """Vectors drawn at random."""
    return l2_normalise(np.random.default_rng(0).normal(size=(len(images), 512)))


def colour_histograms(images: Sequence[TreeImage]) -> NDArray[np.float32]:
    """Histograms of each channel over six horizontal stripes; roots, so that cosine is Bhattacharyya's."""

    def histograms(image: TreeImage) -> NDArray[np.float64]:
        stripes = np.array_split(load_image(image.path, (144, 72)), STRIPES)
        return np.concatenate(
            [
                np.histogram(stripe[..., channel], BINS, (0, 256))[0]
                for stripe in stripes
                for channel in range(3)
            ]
        )

    return l2_normalise(np.sqrt(np.stack([histograms(image) for image in images])))


def frozen(encoder: FrozenForm) -> Embed:
    """An encoder as inference uses it."""

    def embed(images: Sequence[TreeImage]) -> NDArray[np.float32]:
        rows = []
        for start in range(0, len(images), CHUNK):
            chunk = images[start : start + CHUNK]
            pixels = np.stack([load_image(image.path, encoder.image_hw) for image in chunk])
            rows.append(encoder.encode(pixels, [image.modality for image in chunk]))
        return np.concatenate(rows)

    return embed


class _InTorch:
    """An encoder that was not exported."""

    def __init__(self, encoder: Encoder, image_hw: tuple[int, int]) -> None:
        self.spec = EmbeddingSpec(encoder.dim, "in-torch")
        self.image_hw = image_hw
        self._frozen = FrozenEncoder(encoder).eval()

    @torch.inference_mode()
    def encode(self, images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
        codes = torch.tensor([int(one is Modality.INFRARED) for one in modality])
        rows: NDArray[np.float32] = self._frozen(torch.from_numpy(images), codes).numpy()
        return rows


def untrained() -> Embed:
    """ResNet-18 at 144x72 with random weights."""
    torch.manual_seed(0)
    recipe = load_recipe("M1").amended(load_form("small"))
    return frozen(_InTorch(Encoder(recipe.model), recipe.data.image_hw))


def trained(path: Path) -> Embed:
    """A bundle, or the best checkpoint of a run."""
    if not (path / BEST).is_file():
        return frozen(load_encoder(path))
    checkpoint = load_checkpoint(path / BEST)
    recipe = parse_recipe(checkpoint.recipe)
    network = Network(recipe.model, len(checkpoint.identities))
    restore(network, checkpoint.network, "network")
    return frozen(_InTorch(network.encoder, recipe.data.image_hw))


def score(images: Sequence[TreeImage], vectors: NDArray[np.float32]) -> tuple[float, float]:
    """Rank-1 and mAP."""
    never = datetime(2000, 1, 1, tzinfo=UTC)
    records = [
        ImageRecord(one.source, one.modality, one.camera_id, never, person_id=one.person_id) for one in images
    ]
    gallery = open_gallery("memory:", EmbeddingSpec(vectors.shape[1], "calibration"))
    gallery.add(records, vectors)
    report = evaluate_gallery(gallery, "sysu-all", Modality.INFRARED, shots=1)
    return report.mean.rank1, report.mean.mean_ap


def main() -> None:
    """Print a table, each number in percent."""
    images = read_dataset("sysu", Path(sys.argv[1])).test
    methods: dict[str, Embed] = {
        "chance": chance,
        "colour histograms": colour_histograms,
        "grey pixels": frozen(GreyPixelEncoder()),
        "untrained ResNet-18": untrained(),
        "the encoder that ships": trained(default_bundle()),
    }
    methods |= {path: trained(Path(path)) for path in sys.argv[2:]}
    print(f"{len(images)} images of {len({one.person_id for one in images})} test identities\n")
    print("| method | R1 | mAP |\n|---|---|---|")
    for name, embed in methods.items():
        rank1, mean_ap = score(images, embed(images))
        print(f"| {name} | {100 * rank1:.1f} | {100 * mean_ap:.1f} |", flush=True)


if __name__ == "__main__":
    main()
