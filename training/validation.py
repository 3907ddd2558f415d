"""How good an encoder is on identities that it was not trained on."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from exporter.parity import cross_modality_scores
from training.data.arrays import ImageArray
from training.data.augment import normalise
from training.models.encoder import Encoded, Encoder, Stream
from training.processes import ALONE, Processes

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Validation:
    """Scores in [0, 1], the mean of the directions visible to infrared and infrared to visible."""

    rank1: float
    mean_ap: float


def validate(
    encoder: Encoder, data: ImageArray, device: torch.device, processes: Processes = ALONE
) -> Validation:
    """Search each image of one modality among all of the other, in both directions.

    An encoder that overflows on some image (running statistics that have not settled, early in a
    run) scores zero.

    Args:
        encoder: Left in the mode it came in.
        data: Labelled images of both modalities.
        device: Where the encoder is.
        processes: Among which the work is shared; each gets the scores.

    Raises:
        InvalidInput: No identity was seen in both modalities.
    """
    embeddings = embed(encoder, data, device, processes=processes)
    if not np.isfinite(embeddings).all():
        return Validation(0.0, 0.0)
    return Validation(*cross_modality_scores(embeddings, data.labels, data.modality, data.cameras))


@torch.inference_mode()
def embed(
    encoder: Encoder,
    data: ImageArray,
    device: torch.device,
    of: Callable[[Encoded], Tensor] = attrgetter("neck"),
    *,
    mirrored: bool = False,
    processes: Processes = ALONE,
) -> NDArray[np.float32]:
    """The (N, D) float32 unit rows of all images of ``data``.

    Args:
        encoder: Left in the mode it came in.
        data: The images.
        device: Where the encoder is.
        of: Which feature of an image; the one after the BN-neck, which is what inference uses.
        mirrored: Average the feature of each image with that of its mirror image, left to right.
        processes: Among which the work is shared; each gets all rows.
    """
    was_training = encoder.training
    encoder.eval()
    embeddings = np.zeros((len(data), encoder.dim), dtype=np.float32)
    for stream in (Stream.VISIBLE, Stream.INFRARED):
        positions = np.flatnonzero(data.modality == stream)
        chunks = [positions[start : start + _BATCH] for start in range(0, len(positions), _BATCH)]
        for chunk in chunks[processes.rank :: processes.count]:
            images = normalise(torch.from_numpy(data.take(chunk)).to(device))
            images = images.contiguous(memory_format=torch.channels_last)
            feature = of(encoder([(stream, images)]))
            if mirrored:
                feature = (feature + of(encoder([(stream, images.flip(3))]))) / 2
            embeddings[chunk] = functional.normalize(feature.float(), dim=1).cpu().numpy()
    encoder.train(was_training)
    processes.sum(torch.from_numpy(embeddings))
    return embeddings
