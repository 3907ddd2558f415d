"""Between the weights that a run started from and those it reached: less skilled, less narrow."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from index.errors import InvalidInput
from training.checkpoint import BEST, Checkpoint, load_checkpoint, restore
from training.data.arrays import ImageArray, Progress, decode_images
from training.data.augment import normalise
from training.datasets.tree import Dataset
from training.models.encoder import Encoder, Stream
from training.models.network import Network, load_pretrained
from training.recipe import parse_recipe
from training.validation import Validation, validate

_SETTLING_IMAGES = 1024
_BATCH = 32
_REAL = (Stream.VISIBLE, Stream.INFRARED)


def blend_run(
    run: Path,
    weights: Path,
    out: Path,
    dataset: Dataset,
    *,
    share: float,
    image_hw: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> Validation:
    """Write a run whose encoder lies between a run's and the weights that the run started from.

    Weights are mixed one by one (WiSE-FT: Wortsman et al., "Robust fine-tuning of zero-shot models",
    CVPR 2022); what the first weights do not have keeps the run's values. The statistics of all batch norms
    are then taken anew on training images, which also fits them to another image size (Touvron et al.,
    "Fixing the train-test resolution discrepancy", NeurIPS 2019).

    Args:
        run: The folder of a run; its best checkpoint is taken.
        weights: What it started from, as ``read_weights`` takes it.
        out: Folder of the new run, absent or empty; it can be exported, scored and started from.
        dataset: That the run was trained on.
        share: Of the run in the mixture, in [0, 1]; 1 changes the statistics alone.
        image_hw: Height and width in pixels from now on; the run's where not given.
        progress: Called with images decoded and in all.

    Returns:
        The new encoder's scores on the held-out identities.

    Raises:
        InvalidInput: ``share`` is out of its range, ``out`` holds something, a file cannot be read, or the
            data set lacks people whom the run knows.
    """
    if not 0 <= share <= 1:
        raise InvalidInput(f"share must be from 0 to 1, got {share}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidInput(f"{out} must be absent or an empty folder; name another")
    checkpoint = load_checkpoint(run / BEST)
    recipe = parse_recipe(checkpoint.recipe)
    recipe = replace(recipe, data=replace(recipe.data, image_hw=image_hw or recipe.data.image_hw))
    network = Network(recipe.model, len(checkpoint.identities))
    restore(network, checkpoint.network, "network")
    _mix(network.encoder, weights, share)
    data = decode_images(dataset.train, recipe.data.image_hw, out, progress)
    _check_people(checkpoint, data)
    settle_norms(network.encoder, data.of(checkpoint.identities))
    found = validate(network.encoder, data.of(checkpoint.held_out), torch.device("cpu"))
    start = f"{share:g} of a run from {checkpoint.start}, and {1 - share:g} of {weights.name}"
    replace(
        checkpoint,
        recipe=recipe.as_dict(),
        network=network.state_dict(),
        best_map=found.mean_ap,
        start=start,
    ).save(out / BEST)
    return found


def _mix(encoder: Encoder, weights: Path, share: float) -> None:
    reached = {name: value.clone() for name, value in encoder.state_dict().items()}
    load_pretrained(encoder, weights)
    mixed = {
        name: reached[name].lerp(first, 1 - share) if first.is_floating_point() else reached[name]
        for name, first in encoder.state_dict().items()
    }
    encoder.load_state_dict(mixed)


def _check_people(checkpoint: Checkpoint, data: ImageArray) -> None:
    if missing := {*checkpoint.identities, *checkpoint.held_out} - set(data.identities):
        raise InvalidInput(
            f"the data set lacks {len(missing)} people whom the run knows, such as {min(missing)}; give the "
            "one that it was trained on"
        )


@torch.no_grad()
def settle_norms(encoder: Encoder, data: ImageArray) -> None:
    """Take the statistics of all batch norms anew, as the mean over batches of both modalities.

    Args:
        encoder: Changed in place; left in evaluation mode.
        data: Training images; up to 1,024 of them are drawn, as many of each modality.
    """
    norms = [module for module in encoder.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    rng = np.random.default_rng(0)
    of = {stream: rng.permutation(np.flatnonzero(data.modality == stream)) for stream in _REAL}
    count = min(_SETTLING_IMAGES // 2, *(len(positions) for positions in of.values()))
    encoder.train()
    for start in range(0, count - count % _BATCH or count, _BATCH):
        batch = {stream: data.take(np.sort(rows[start : start + _BATCH])) for stream, rows in of.items()}
        encoder([(stream, normalise(torch.from_numpy(images))) for stream, images in batch.items()])
    encoder.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
