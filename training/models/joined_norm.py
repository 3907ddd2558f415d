"""Batch normalisation over the joined batch of several processes."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.processes import Processes


class JoinedBatchNorm(_BatchNorm):
    """A batch norm whose batch is that of all processes together; on any device, with gradients through it.

    The processes hold equally many rows each.

    Args:
        norm: Whose parameters and running statistics it shares.
        processes: Over which the batch is spread.
    """

    def __init__(self, norm: _BatchNorm, processes: Processes) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.processes = processes

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C) or (N, C, H, W) to the same shape and type."""
        if not self.training:
            return super().forward(maps)
        wide = maps.to(torch.promote_types(maps.dtype, torch.float32))
        mean, variance = self._statistics(wide)
        self._follow(mean, variance, maps.numel() // maps.shape[1] * self.processes.count)
        scale = torch.rsqrt(variance + self.eps) * (1 if self.weight is None else self.weight)
        shift = (0 if self.bias is None else self.bias) - mean * scale
        shape = (1, -1, *[1] * (maps.dim() - 2))
        return torch.addcmul(shift.view(shape), wide, scale.view(shape)).to(maps.dtype)

    def _statistics(self, wide: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance (C,) of the joined batch."""
        own = torch.var_mean(wide, [0, *range(2, wide.dim())], correction=0)
        variances, means = self.processes.joined(torch.stack(own)[None]).unbind(1)
        mean = means.mean(0)
        return mean, (variances + (means - mean).square()).mean(0)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics toward those of a batch of ``count`` values a channel."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / (count - 1), momentum)

    def _check_input_dim(self, input: Tensor) -> None:
        pass


def join_batch_norms(module: nn.Module, processes: Processes, device: torch.device) -> None:
    """Let every batch norm inside ``module`` see the joined batch of ``processes``.

    On a GPU by torch's own synchronised batch norm, which is faster there and knows no processor.
    """
    if processes.count == 1:
        return
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, JoinedBatchNorm(child, processes))
        else:
            join_batch_norms(child, processes, device)
