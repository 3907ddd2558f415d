"""From a training run to an encoder bundle."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch

from exporter.bundle import Bundle, Precision
from exporter.freeze import LabelledImages, write_bundle
from training.checkpoint import BEST, load_checkpoint, restore
from training.data.arrays import load_images
from training.models.frozen import FrozenEncoder
from training.models.network import Network
from training.recipe import parse_recipe
from training.validation import embed

_CALIBRATION_IMAGES = 512


def freeze_run(run: Path, out: Path, *, name: str, precisions: Collection[Precision]) -> Bundle:
    """Freeze the best checkpoint of a run.

    Calibration images are drawn from the training identities; parity is measured on all images
    of the held-out ones.

    Args:
        run: The folder of `peca train`.
        out: The bundle's folder; must not exist or be empty.
        name: The encoder's name.
        precisions: The forms to keep.

    Raises:
        InvalidInput: ``run`` holds no checkpoint or no decoded images, or ``out`` holds something.
        BundleInvalid: A form strays from the trained network; nothing is written.
    """
    checkpoint = load_checkpoint(run / BEST)
    recipe = parse_recipe(checkpoint.recipe)
    data = load_images(run)
    network = Network(recipe.model, len(checkpoint.identities))
    restore(network, checkpoint.network, "network")
    network.eval()
    held_out, training = data.of(checkpoint.held_out), data.of(checkpoint.identities)
    every = np.arange(len(held_out))
    test = LabelledImages(
        held_out.take(every),
        held_out.labels,
        held_out.modality,
        held_out.cameras,
        embed(network.encoder, held_out, torch.device("cpu")),
    )
    count = min(_CALIBRATION_IMAGES, len(training))
    drawn = np.random.default_rng(0).choice(len(training), count, replace=False)
    return write_bundle(
        FrozenEncoder(network.encoder).eval(),
        out,
        name=name,
        precisions=precisions,
        calibration=(training.take(drawn), training.modality[drawn]),
        test=test,
        recipe={**checkpoint.recipe, "start": checkpoint.start, "epochs_done": checkpoint.epoch},
        training_set=checkpoint.training_set,
    )
