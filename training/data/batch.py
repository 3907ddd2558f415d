"""The batches of a run: which images, and what augmentation and channel aggregation make of them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.arrays import ImageArray
from training.data.augment import augment
from training.data.sampler import IdentitySampler
from training.ical import generate
from training.models.encoder import Stream
from training.recipe import AugmentRecipe

# What images may take of a GPU's free memory; the rest is the network's.
_SHARE_OF_MEMORY = 0.4


@dataclass(frozen=True, slots=True)
class Batch:
    """The images of one step.

    Attributes:
        images: For each stream its (n, 3, H, W) float32 images, normalised, in the order of ``Stream``;
            generated ones only where they were asked for.
        labels: (2 n,) int64, of the visible images and then of the infrared ones.
        modality: (2 n,) int64, 0 visible and 1 infrared.
        partner: (n,) int64, which infrared image each generated one was made of; with generated images only.
    """

    images: dict[Stream, Tensor]
    labels: Tensor
    modality: Tensor
    partner: Tensor | None


class BatchSource:
    """Makes the batch of any step, of seed, epoch and step alone, so that a resumed run repeats it.

    The decoded images are held on the device if that is a GPU with room for them, and read from the
    memory-mapped file otherwise.

    Args:
        data: Training images.
        sampler: Which of them make a batch.
        recipe: What is done to them.
        seed: Of all draws.
        device: Where batches go.
    """

    def __init__(
        self,
        data: ImageArray,
        sampler: IdentitySampler,
        recipe: AugmentRecipe,
        seed: int,
        device: torch.device,
    ) -> None:
        self.data = data
        self.sampler = sampler
        self.recipe = recipe
        self.seed = seed
        self.device = device
        every = data.pixels.shape[1:]
        bytes_needed = len(data) * int(np.prod(every))
        self.held = hold(data, device) if bytes_needed < _SHARE_OF_MEMORY * free_bytes(device) else None

    def batch(self, epoch: int, step: int, *, generated: bool) -> Batch:
        """The batch of a step, with or without generated images."""
        rows = dict(zip((Stream.VISIBLE, Stream.INFRARED), self.sampler.batch(epoch, step), strict=True))
        done = epoch * self.sampler.steps_per_epoch + step
        seed = int(np.random.SeedSequence((self.seed, done)).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        images = {
            stream: augment(self._pixels(drawn), self.recipe, stream is Stream.VISIBLE, generator)
            for stream, drawn in rows.items()
        }
        labels, modality = (
            torch.from_numpy(values[np.concatenate(list(rows.values()))]).to(self.device)
            for values in (self.data.labels, self.data.modality)
        )
        partner = None
        if generated:
            of_visible, of_infrared = labels.chunk(2)
            images[Stream.GENERATED], partner = generate(
                images[Stream.VISIBLE], images[Stream.INFRARED], of_visible, of_infrared, generator
            )
        return Batch(images, labels, modality, partner)

    def _pixels(self, rows: NDArray[np.int64]) -> Tensor:
        if self.held is not None:
            return self.held[torch.from_numpy(rows).to(self.device)]
        return torch.from_numpy(self.data.take(rows)).to(self.device)


def free_bytes(device: torch.device) -> int:
    """Memory of a GPU that nothing uses yet; none on a processor, where the file's pages do as well."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def hold(data: ImageArray, device: torch.device) -> Tensor:
    """All images of ``data`` (N, H, W, 3) uint8 on ``device``."""
    held = torch.empty((len(data), *data.pixels.shape[1:]), dtype=torch.uint8, device=device)
    for start in range(0, len(data), 1024):
        rows = np.arange(start, min(start + 1024, len(data)))
        held[start : start + len(rows)] = torch.from_numpy(data.take(rows))
    return held
