"""The axes that a shape starts from."""

import numpy as np
import torch

from training.data.arrays import ImageArray
from training.data.augment import normalise
from training.models.encoder import Encoder, Stream
from training.processes import ALONE, Processes

_IMAGES = 512
_BATCH = 64


@torch.no_grad()
def fit_shape(encoder: Encoder, data: ImageArray, device: torch.device, processes: Processes = ALONE) -> None:
    """Turn the axes of an encoder's shape to those along which training images differ most.

    Args:
        encoder: With the weights that it starts from; one without a shape is left alone.
        data: Images of both modalities; 512 of them are looked at, evenly spread.
        device: Where the encoder is.
        processes: All get the axes of the first.
    """
    if encoder.shape is None:
        return
    was_training = encoder.training
    encoder.eval()
    rows = np.unique(np.linspace(0, len(data) - 1, _IMAGES).astype(np.int64))
    maps = []
    for stream in (Stream.VISIBLE, Stream.INFRARED):
        chosen = rows[data.modality[rows] == stream]
        for start in range(0, len(chosen), _BATCH):
            images = normalise(torch.from_numpy(data.take(chosen[start : start + _BATCH])).to(device))
            early, _ = encoder.maps_of(encoder.stems[stream](images))
            maps.append(early)
    encoder.shape.fit(torch.cat(maps))
    processes.copy_first(encoder.shape.reduce.weight)
    encoder.train(was_training)
