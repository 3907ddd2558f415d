"""Inter-modality channel aggregation (ICAL): images between visible and infrared.

Usable alone by any visible-infrared method: images in, images out; ``training.losses.mix`` has L_mix.
"""

import torch
from torch import Tensor

from index.errors import InvalidInput

# Eq. 2, whether each of red, green and blue stays visible: the forms RG, RB, GB, R, G, B.
FORMS = (
    (True, True, False),
    (True, False, True),
    (False, True, True),
    (True, False, False),
    (False, True, False),
    (False, False, True),
)


def aggregate_channels(visible: Tensor, infrared: Tensor, form: Tensor) -> Tensor:
    """PECA, Eq. 2: replace one or two channels of each visible image by those of an infrared image.

    Args:
        visible: (N, 3, H, W), augmented.
        infrared: (N, 3, H, W), row i of the same identity as visible image i, on the same canvas.
        form: (N,) int64 in [0, 6), an index into ``FORMS``.

    Returns:
        (N, 3, H, W) generated images.
    """
    stays = torch.tensor(FORMS, device=visible.device)[form.to(visible.device)]
    return torch.where(stays[:, :, None, None], visible, infrared)


def draw_partners(visible_labels: Tensor, infrared_labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw for each visible image an infrared image of the same identity, uniformly.

    Args:
        visible_labels: (N,) int64 identities.
        infrared_labels: (M,) int64 identities; every one of ``visible_labels`` occurs.
        generator: On the processor.

    Returns:
        (N,) int64 positions in [0, M).

    Raises:
        InvalidInput: A visible image's identity has no infrared image.
    """
    same = visible_labels[:, None] == infrared_labels[None, :]
    if (lone := ~same.any(1)).any():
        raise InvalidInput(
            f"no infrared image shows the identities {sorted(set(visible_labels[lone].tolist()))}"
        )
    luck = torch.rand(same.shape, generator=generator).to(same.device)
    return luck.masked_fill(~same, -1).argmax(1)


def generate(
    visible: Tensor,
    infrared: Tensor,
    visible_labels: Tensor,
    infrared_labels: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """One generated image for each visible one: an infrared partner and a form, both drawn uniformly.

    Args:
        visible: (N, 3, H, W), augmented.
        infrared: (M, 3, H, W), augmented, of the same size.
        visible_labels: (N,) int64 identities.
        infrared_labels: (M,) int64 identities; every one of ``visible_labels`` occurs.
        generator: On the processor.

    Returns:
        (N, 3, H, W) generated images, and (N,) the position of each one's infrared partner.
    """
    partner = draw_partners(visible_labels, infrared_labels, generator)
    form = torch.randint(len(FORMS), (len(visible),), generator=generator)
    return aggregate_channels(visible, infrared[partner], form), partner
