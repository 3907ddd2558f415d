"""The processes that train one network together, as torchrun starts them."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from index.errors import InvalidInput

# Long enough for the first process to decode a large data set while the others wait.
_PATIENCE = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together.

    Each encodes its share of every batch, and all compute the loss of the joined batch. The mean over the
    processes of the parameters' gradients is then the gradient that one process would have computed.

    Attributes:
        rank: The number of this process, from 0.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """Which of ``rows`` rows this process takes; the shares follow each other in the order of the ranks.

        Raises:
            InvalidInput: The rows do not divide over the processes.
        """
        each, left = divmod(rows, self.count)
        if left:
            raise InvalidInput(
                f"{rows} visible and {rows} infrared images in a batch do not divide over {self.count} "
                "processes; start another number of them, or change the recipe's data.identities or "
                "data.images_per_modality"
            )
        return slice(self.rank * each, (self.rank + 1) * each)

    def joined(self, rows: Tensor) -> Tensor:
        """The rows (n, ...) of all processes, (count * n, ...) in the order of the ranks, with gradient.

        Backward, each process's rows get what the losses of all processes together ask of them.
        """
        if self.count == 1:
            return rows
        everyone: Tensor = _Join.apply(rows, self)
        return everyone

    def joined_by_stream(self, rows: Tensor, streams: int) -> Tensor:
        """As ``joined``, of rows that hold a share of each of ``streams`` equally long streams in turn.

        Returns:
            The whole of each stream in turn, as one process has them.
        """
        by_process = self.joined(rows).view(self.count, streams, len(rows) // streams, *rows.shape[1:])
        return by_process.transpose(0, 1).flatten(0, 2)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace the gradient of each parameter by its mean over the processes."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.count == 1 or not gradients:
            return
        mean = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(mean)
        mean /= self.count
        for gradient, part in zip(
            gradients, torch.split(mean, [one.numel() for one in gradients]), strict=True
        ):
            gradient.copy_(part.view(gradient.shape))

    def sum(self, values: Tensor) -> None:
        """Replace ``values`` by their sum over the processes."""
        if self.count > 1:
            distributed.all_reduce(values)

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set in any of the processes."""
        votes = torch.tensor(int(flag))
        self.sum(votes)
        return bool(votes)

    def copy_first(self, values: Tensor) -> None:
        """Replace ``values`` by what they are in the first process."""
        if self.count > 1:
            distributed.broadcast(values, 0)

    def wait(self) -> None:
        """Go on when all processes have come here."""
        self.any(False)


ALONE = Processes()


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        own = rows.contiguous()
        parts = [torch.empty_like(own) for _ in range(processes.count)]
        distributed.all_gather(parts, own)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone(memory_format=torch.contiguous_format)
        ctx.processes.sum(total)
        return total.chunk(ctx.processes.count)[ctx.processes.rank], None


def rank_of_this_process() -> int:
    """The number that torchrun gave to this process; 0 without torchrun."""
    return int(os.environ["RANK"]) if distributed.is_torchelastic_launched() else 0


def device_of_this_process(name: str) -> torch.device:
    """The torch device ``name``; where torchrun started the process, plain ``cuda`` is a GPU of its own.

    Raises:
        InvalidInput: The device cannot be used.
    """
    if name == "cuda" and distributed.is_torchelastic_launched():
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(f"the device {name!r} cannot be used: {reason}; choose another --device") from None
    return device


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """Meet the other processes that torchrun started; alone without torchrun.

    Args:
        device: Of this process. Processors talk by gloo, GPUs by NCCL.
    """
    if not distributed.is_torchelastic_launched():
        yield ALONE
        return
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
