"""Which parameters learn, and how fast."""

from collections.abc import Collection

import torch
from torch import Tensor

from training.losses.objective import Objective
from training.models.network import Network
from training.recipe import Recipe


def optimiser_of(
    network: Network, objective: Objective, pretrained: Collection[str], recipe: Recipe
) -> torch.optim.SGD:
    """SGD over all that learns: parameters that start from pretrained weights have a rate of their own.

    Args:
        network: Encoder and classifier.
        objective: Its terms may have parameters.
        pretrained: The encoder's parameters that hold pretrained values, by name.
        recipe: Whose rates.
    """
    settings = recipe.optimiser
    old: list[Tensor] = []
    new: list[Tensor] = list(objective.parameters())
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            (old if name.removeprefix("encoder.") in pretrained else new).append(parameter)
    groups = [
        {"params": parameters, "factor": factor}
        for parameters, factor in ((new, 1.0), (old, settings.pretrained_factor))
        if parameters
    ]
    return torch.optim.SGD(
        groups,
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=True,
        weight_decay=settings.weight_decay,
    )
