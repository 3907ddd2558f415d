"""Distance of real images to the images that channel aggregation makes of them, L_mix (ICAL)."""

from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional

from index.errors import InvalidInput
from training.losses.term import LossTerm, Need, StepOutputs, needed


class MixForm(StrEnum):
    """How a distance D and the margin m make a loss: max(D - m, 0), or as printed, max(|D - m|, 0)."""

    HINGE = "hinge"
    LITERAL = "literal"


def mix_distance(
    real_visible: Tensor, real_infrared: Tensor, generated: Tensor, margin: float = 0.7, form: str = "hinge"
) -> Tensor:
    """PECA, Eq. 3: how far a generated image lies from the two real ones that it was made of.

    Symbols: x^v is ``real_visible``, x^ir ``real_infrared``, x^g ``generated``, m ``margin``; D is the
    Euclidean distance of normalised features. The printed max(||D - m||, 0) never clips and pushes D up
    to m as well as down, against the text around it; it is the form ``literal``. Worked: features (1, 0),
    (0, 1) and (0, 1) have D = 1.4142 and 0, so hinge gives 0.7142 and literal 0.7142 + 0.7 = 1.4142.

    Args:
        real_visible: (n, D); row i is the visible image of generated image i. Normalised here.
        real_infrared: (n, D); row i is the infrared image of generated image i. Normalised here.
        generated: (n, D). Normalised here.
        margin: In units of distance, in [0, 2].
        form: ``hinge`` or ``literal``.

    Returns:
        Scalar float32, the two means added; zero, with gradient, for an empty batch.

    Raises:
        InvalidInput: ``form`` is neither, or the shapes differ.
    """
    if form not in list(MixForm):
        raise InvalidInput(f"form must be one of {', '.join(MixForm)}; got {form!r}")
    if not real_visible.shape == real_infrared.shape == generated.shape:
        shapes = ", ".join(str(tuple(one.shape)) for one in (real_visible, real_infrared, generated))
        raise InvalidInput(f"the three must have one shape (n, D), got {shapes}")
    mixed = functional.normalize(generated.float(), dim=1)
    total = mixed.sum() * 0
    if not len(mixed):
        return total
    for real in (real_visible, real_infrared):
        squared = (functional.normalize(real.float(), dim=1) - mixed).pow(2).sum(1)
        # The root has no gradient at zero, where real and generated image coincide.
        distance = torch.where(squared > 0, squared, 1.0).sqrt() * (squared > 0)
        off = distance - margin
        total = total + (functional.relu(off) if form == MixForm.HINGE else off.abs()).mean()
    return total


class MixTerm(LossTerm):
    """L_mix between generated images and the real ones that they were made of.

    Args:
        margin: See ``mix_distance``.
        form: See ``mix_distance``.
    """

    needs = frozenset({Need.GENERATED})

    def __init__(self, margin: float = 0.7, form: MixForm = MixForm.HINGE) -> None:
        super().__init__()
        self.margin = margin
        self.form = MixForm(form)

    def forward(self, step: StepOutputs) -> Tensor:
        """See ``mix_distance``."""
        made, real = needed(step.generated), step.encoded.metric
        pair = real[made.visible], real[made.infrared]
        return mix_distance(*pair, made.encoded.metric, self.margin, self.form)
