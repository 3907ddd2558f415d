"""The objective: a weighted sum of loss terms, each logged by name."""

import inspect
from typing import Any

from torch import Tensor, nn

from index.errors import InvalidInput
from training.losses.ce import CrossEntropyTerm
from training.losses.ins import InstanceTerm
from training.losses.mix import MixTerm
from training.losses.mod import ModalityTerm
from training.losses.sim import SimilarityTerm
from training.losses.term import LossTerm, Need, StepOutputs
from training.losses.triplet import TripletTerm

TERMS: dict[str, type[LossTerm]] = {
    "ce": CrossEntropyTerm,
    "triplet": TripletTerm,
    "ins": InstanceTerm,
    "mod": ModalityTerm,
    "sim": SimilarityTerm,
    "mix": MixTerm,
}


class Objective(nn.Module):
    """The weighted sum of the terms that a recipe names.

    Args:
        losses: For each term by name its ``weight`` and the arguments of its class.
        dim: Length D of a feature, for the terms that have layers of their own.

    Raises:
        InvalidInput: A term or one of its settings is unknown, or a weight is missing.
    """

    def __init__(self, losses: dict[str, dict[str, Any]], dim: int) -> None:
        super().__init__()
        if not losses:
            raise InvalidInput(f"a recipe needs at least one loss term of {', '.join(sorted(TERMS))}")
        self.terms = nn.ModuleDict({name: _build(name, settings, dim) for name, settings in losses.items()})
        self.weights = {name: float(settings["weight"]) for name, settings in losses.items()}
        self.needs: frozenset[Need] = frozenset().union(*(TERMS[name].needs for name in losses))

    def forward(self, step: StepOutputs) -> tuple[Tensor, dict[str, Tensor]]:
        """The total, and each term's own value before its weight."""
        values = {name: term(step) for name, term in self.terms.items()}
        total = sum(
            (self.weights[name] * value for name, value in values.items()), start=step.logits.sum() * 0
        )
        return total, values


def _build(name: str, settings: dict[str, Any], dim: int) -> LossTerm:
    if name not in TERMS:
        raise InvalidInput(f"no loss term {name!r}; there are {', '.join(sorted(TERMS))}")
    if "weight" not in settings:
        raise InvalidInput(f"the loss term {name!r} needs a weight")
    arguments = {key: value for key, value in settings.items() if key != "weight"}
    parameters = set(inspect.signature(TERMS[name]).parameters)
    known = parameters - {"dim"}
    if unknown := sorted(set(arguments) - known):
        raise InvalidInput(f"the loss term {name!r} knows {sorted(known)}, not {unknown}")
    own_layers = {"dim": dim} if "dim" in parameters else {}
    return TERMS[name](**own_layers, **arguments)
