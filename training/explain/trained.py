"""The encoder of a finished run, ready to be asked."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from exporter.bundle import MODALITY_CODE
from exporter.errors import ImageRefused
from exporter.preprocess import load_image
from index.errors import InvalidInput
from training.checkpoint import BEST, load_checkpoint, restore
from training.data.arrays import ImageArray
from training.datasets.tree import DatasetInvalid, TreeImage
from training.models.encoder import Encoder
from training.models.network import Network
from training.recipe import parse_recipe
from training.validation import embed

_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class TrainedEncoder:
    """The best checkpoint of a run.

    Attributes:
        encoder: In evaluation mode, on ``device``, without gradients of its own.
        image_hw: Height and width of its images in pixels.
        recipe: The name of the recipe.
        epochs: How many epochs had been done when it was the best.
        device: Where it is.
    """

    encoder: Encoder
    image_hw: tuple[int, int]
    recipe: str
    epochs: int
    device: torch.device


def load_trained(run: Path, device: str = "cpu") -> TrainedEncoder:
    """Read the best checkpoint in the folder of `peca train`.

    Raises:
        InvalidInput: ``run`` holds no checkpoint, or the device cannot be used.
    """
    checkpoint = load_checkpoint(run / BEST)
    recipe = parse_recipe(checkpoint.recipe)
    network = Network(recipe.model, len(checkpoint.identities))
    restore(network, checkpoint.network, "network")
    try:
        encoder = network.encoder.eval().requires_grad_(False).to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(
            f"the device {device!r} cannot be used: {reason}; choose another --device"
        ) from None
    return TrainedEncoder(encoder, recipe.data.image_hw, recipe.name, checkpoint.epoch, torch.device(device))


def embed_samples(
    trained: TrainedEncoder,
    samples: Sequence[TreeImage],
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """The (N, D) float32 unit rows of images on disk, a part of them in memory at a time.

    Args:
        trained: The encoder.
        samples: N images.
        progress: Called with images done and in all.

    Raises:
        DatasetInvalid: An image cannot be read; the message names it.
    """
    embeddings = np.empty((len(samples), trained.encoder.dim), dtype=np.float32)
    for start in range(0, len(samples), _AT_ONCE):
        chunk = samples[start : start + _AT_ONCE]
        embeddings[start : start + len(chunk)] = embed(
            trained.encoder, _decoded(trained, chunk), trained.device
        )
        if progress is not None:
            progress(start + len(chunk), len(samples))
    return embeddings


def decode_samples(samples: Sequence[TreeImage], image_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """The (N, H, W, 3) uint8 RGB images of ``samples``.

    Raises:
        DatasetInvalid: An image cannot be read; the message names it.
    """

    def decode(sample: TreeImage) -> NDArray[np.uint8]:
        try:
            return load_image(sample.path, image_hw)
        except (ImageRefused, OSError) as error:
            raise DatasetInvalid(f"{sample.path} cannot be read: {error}") from error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.stack(list(pool.map(decode, samples)))


def _decoded(trained: TrainedEncoder, samples: Sequence[TreeImage]) -> ImageArray:
    people = tuple(sorted({sample.person_id for sample in samples}))
    return ImageArray(
        decode_samples(samples, trained.image_hw),
        np.arange(len(samples)),
        np.array([people.index(sample.person_id) for sample in samples], dtype=np.int64),
        np.array([MODALITY_CODE[sample.modality] for sample in samples], dtype=np.int64),
        np.array([sample.camera_id for sample in samples]),
        people,
    )
