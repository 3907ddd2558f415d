"""One training step up to its losses: what the loss terms ask of a batch, computed."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call

from training.data.batch import Batch
from training.losses.sim import PARTS
from training.losses.term import Generated, Need, StepOutputs
from training.models.encoder import Encoded, Stream
from training.models.network import Network
from training.processes import Processes


class StepForward:
    """Encodes batches; each process its share, and all get the joined result.

    Args:
        network: In training.
        needs: What the loss terms read beyond the encoded real images.
        processes: That train together.
        compiled: Run the encoder through ``torch.compile``.
    """

    def __init__(
        self, network: Network, needs: frozenset[Need], processes: Processes, *, compiled: bool = False
    ) -> None:
        self.network = network
        self.needs = needs
        self.processes = processes
        self._encode = torch.compile(network.encoder) if compiled else network.encoder

    def __call__(self, batch: Batch, centroids: Tensor) -> StepOutputs:
        """Encode ``batch`` in training mode.

        Args:
            batch: The whole of it, the same in every process.
            centroids: (2, C, D) of the memory.
        """
        self.network.train()
        groups = [(stream, self._own_share(images)) for stream, images in batch.images.items()]
        encoded = self._encode(groups).mapped(lambda rows: self._joined(rows, len(groups)))
        logits = self.network.classifier(encoded.neck)
        count = len(batch.labels)
        real, made = encoded.split(count)
        generated = None
        if batch.partner is not None:
            visible = torch.arange(count // 2, device=batch.partner.device)
            generated = Generated(made, visible, count // 2 + batch.partner, logits[count:])
        return StepOutputs(
            real,
            logits[:count],
            batch.labels,
            batch.modality,
            generated,
            self._local_features(groups[:2]) if Need.LOCAL in self.needs else None,
            centroids if Need.CENTROIDS in self.needs else None,
        )

    def _own_share(self, images: Tensor) -> Tensor:
        share = images[self.processes.share(len(images))]
        return share.contiguous(memory_format=torch.channels_last)

    def _joined(self, rows: Tensor, streams: int) -> Tensor:
        return rows if self.processes.count == 1 else self.processes.joined_by_stream(rows, streams)

    @torch.no_grad()
    def _local_features(self, groups: Sequence[tuple[Stream, Tensor]]) -> Tensor:
        """Features (B, 3, D) of the upper, middle and lower third of each real image.

        By the encoder as it stands. Batch statistics stay those of whole images: the parts are normalised by
        the running statistics, or, where a term asks for it, by their own, which then leave no trace.
        """
        encoder = self.network.encoder
        thirds = [(stream, _thirds(images)) for stream, images in groups]
        encoded: Encoded
        if Need.LOCAL_STATISTICS in self.needs:
            copies = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
            encoded = functional_call(encoder, copies, (thirds,))
        else:
            encoder.eval()
            encoded = self._encode(thirds)
            encoder.train()
        return self._joined(encoded.metric.view(-1, PARTS, encoder.dim), len(groups))


def _thirds(images: Tensor) -> Tensor:
    """The upper, middle and lower third of each image, (3 N, C, H // 3, W); up to two last rows are left."""
    count, channels, height, width = images.shape
    part = height // PARTS
    cut = images[:, :, : PARTS * part].reshape(count, channels, PARTS, part, width)
    parts = cut.transpose(1, 2).flatten(0, 1)
    return parts.contiguous(memory_format=torch.channels_last)
