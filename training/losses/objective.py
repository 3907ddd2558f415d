"""The objective: a weighted sum of loss terms, each logged by name."""

from typing import Any

from torch import Tensor, nn

from index.errors import InvalidInput
from training.import_path import imported_class, is_import_path, settings_of
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


LOGGED = frozenset({"epoch", "step", "run", "loss", "lr", "images_per_s", "time_left_s"})
"""What else the log of a step says; no term may have one of these names."""


class Objective(nn.Module):
    """The weighted sum of the terms that a recipe names.

    Args:
        losses: For each term by name its ``weight``, the arguments of its class, and, where the name is not
            that of a term here, ``term``: which of these it is, or the import path of a ``LossTerm``.
        dim: Length D of a feature, for the terms whose class asks for ``dim``.
        num_identities: Identities C in training, for the terms whose class asks for ``num_identities``.

    Raises:
        InvalidInput: A term or one of its settings is unknown, or a weight is missing.
    """

    def __init__(self, losses: dict[str, dict[str, Any]], dim: int, num_identities: int) -> None:
        super().__init__()
        if not losses:
            raise InvalidInput(f"a recipe needs at least one loss term of {', '.join(sorted(TERMS))}")
        sizes = {"dim": dim, "num_identities": num_identities}
        terms = {name: _build(name, settings, sizes) for name, settings in losses.items()}
        self.terms = nn.ModuleDict(terms)
        self.weights = {name: float(settings["weight"]) for name, settings in losses.items()}
        self.needs: frozenset[Need] = frozenset().union(*(term.needs for term in terms.values()))

    def forward(self, step: StepOutputs) -> tuple[Tensor, dict[str, Tensor]]:
        """The total, and each term's own value before its weight."""
        values = {name: _scalar(name, term(step)) for name, term in self.terms.items()}
        total = sum(
            (self.weights[name] * value for name, value in values.items()), start=step.logits.sum() * 0
        )
        return total, values


def _build(name: str, settings: dict[str, Any], sizes: dict[str, int]) -> LossTerm:
    _refuse_name(name)
    if "weight" not in settings:
        raise InvalidInput(f"the loss term {name!r} needs a weight")
    kind = _kind(name, settings)
    arguments = {key: value for key, value in settings.items() if key not in ("term", "weight")}
    takes = settings_of(kind)
    known = set(takes) - set(sizes)
    if unknown := sorted(set(arguments) - known):
        raise InvalidInput(f"the loss term {name!r} knows {sorted(known)}, not {unknown}")
    asked = {size: value for size, value in sizes.items() if size in takes}
    if missing := [key for key, must in takes.items() if must and key not in {**asked, **arguments}]:
        raise InvalidInput(f"the loss term {name!r} needs a value for {', '.join(missing)}")
    return kind(**asked, **arguments)


def _kind(name: str, settings: dict[str, Any]) -> type[LossTerm]:
    """The class of a term: of those here by name, or one that an import path names."""
    kind = settings.get("term", name)
    if isinstance(kind, str) and is_import_path(kind):
        return imported_class(kind, LossTerm)  # type: ignore[type-abstract]
    if kind not in TERMS:
        raise InvalidInput(
            f"no loss term {kind!r}; there are {', '.join(sorted(TERMS))}; "
            'of one of your own, give the class: term = "module:Class"'
        )
    return TERMS[kind]


def _refuse_name(name: str) -> None:
    if not name.isidentifier() or name in LOGGED or hasattr(nn.ModuleDict(), name):
        raise InvalidInput(
            f"a loss term cannot have the name {name!r}; use letters, digits and _, and no word that the log "
            f"({', '.join(sorted(LOGGED))}) or a torch module has for itself"
        )


def _scalar(name: str, value: object) -> Tensor:
    if not isinstance(value, Tensor) or value.dim():
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise InvalidInput(f"the loss term {name!r} must give a scalar tensor, it gave {got}")
    return value
