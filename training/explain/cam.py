"""Where an encoder looks when it matches a person across modalities: Grad-CAM (PECA, Fig. 7).

Source: Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
localization", ICCV 2017. The identities of a test are no classes of the network, so what is explained
is not a class score but a match: the cosine similarity of an image's embedding with the mean
embedding of the same person's images in another light.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from exporter.bundle import MODALITY_CODE
from index.errors import InvalidInput
from index.space import Modality, l2_normalise
from training.data.augment import normalise
from training.datasets.tree import TreeImage
from training.explain.trained import TrainedEncoder, decode_samples, embed_samples
from training.models.encoder import Encoder, Stream


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where the encoder found the match in one image.

    Attributes:
        sample: The image.
        image: (H, W, 3) uint8 RGB, as the encoder sees it.
        heat: (H, W) float32 in [0, 1], the share of the match that comes from each place, the image's
            highest being 1; all 0 where no place speaks for the match.
        against: The modality of the images that it was matched with.
        cosine: The cosine similarity that is explained, in [-1, 1].
    """

    sample: TreeImage
    image: NDArray[np.uint8]
    heat: NDArray[np.float32]
    against: Modality
    cosine: float


@dataclass(frozen=True, slots=True)
class ExplainedPerson:
    """One person by day and by night."""

    person_id: str
    visible: Explanation
    infrared: Explanation


def explain_people(
    trained: TrainedEncoder,
    samples: Sequence[TreeImage],
    *,
    people: int,
    seed: int = 0,
    against: Modality | None = None,
) -> list[ExplainedPerson]:
    """Draw people, and of each a visible and an infrared image, and explain their matches.

    Args:
        trained: The encoder.
        samples: Labelled images of both modalities.
        people: How many people to draw; all there are, where there are fewer.
        seed: Of the draw; it depends on nothing else than ``samples``.
        against: The modality of the images that each is matched with, the image itself left out;
            ``None`` takes the other one of each.

    Returns:
        The people, by identity.

    Raises:
        DatasetInvalid: An image cannot be read.
        InvalidInput: No person has the images that this needs.
    """
    by_person = _by_person(samples)
    eligible = sorted(person for person, images in by_person.items() if _suffices(images, against))
    if not eligible:
        raise InvalidInput(
            f"Grad-CAM needs a person with visible and infrared images{_and_more(against)}; "
            f"none of {len(by_person)} has them"
        )
    rng = np.random.default_rng(seed)
    drawn = sorted(rng.choice(eligible, min(people, len(eligible)), replace=False).tolist())
    return [_explain_person(trained, person, by_person[person], rng, against) for person in drawn]


def similarity_cam(
    encoder: Encoder, stream: Stream, images: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Grad-CAM, on the last shared feature maps, of the cosine similarity with a target.

    What the shape says, where the encoder has one, stands on an earlier and finer map, and is added up in the
    cells of the last.

    Grad-CAM weighs each channel by the mean of its gradient over the map (Eq. 1 there) and keeps the
    positive part of the weighted sum (Eq. 2). Three things follow from what this network is:

    - That suits maps that are averaged; the encoder averages their powers (GeM), and over the powers
      Grad-CAM is gradient times map, place by place (as in HiResCAM, Draelos and Carin 2020).
    - The length of the embedding is held fixed. It changes no ranking, and with it the gradient would
      vanish as a match becomes perfect.
    - The BN-neck subtracts a mean, which belongs to no place; it is shared out evenly. The shares of
      all places then sum to the similarity, so that a match never lacks a place that speaks for it.

    Args:
        encoder: In evaluation mode.
        stream: The stem of the images.
        images: (N, 3, H, W) normalised.
        targets: (N, D) unit rows.

    Returns:
        (N, h, w) heat, the positive shares, not scaled; and (N,) cosine similarities.
    """
    with torch.no_grad():
        early, maps = encoder.maps_of(encoder.stems[stream](images))
    # The heat needs the gradient at these maps alone, so nothing below them is traced.
    early, maps = early.detach().requires_grad_(), maps.detach().requires_grad_()
    neck = encoder.neck(encoder.pooled(early, maps))
    cosine = (neck / neck.detach().norm(dim=1, keepdim=True) * targets).sum(dim=1)
    late_gradient, early_gradient = torch.autograd.grad(cosine.sum(), (maps, early), allow_unused=True)
    shares = (late_gradient * maps).detach().sum(dim=1)
    if early_gradient is not None:
        finer = (early_gradient * early).detach().sum(dim=1, keepdim=True)
        per_cell = finer[0].numel() / shares[0].numel()
        size = (shares.shape[1], shares.shape[2])
        shares = shares + per_cell * functional.adaptive_avg_pool2d(finer, size)[:, 0]
    unplaced = cosine.detach() - shares.sum(dim=(1, 2))
    return functional.relu(shares + unplaced[:, None, None] / shares[0].numel()), cosine.detach()


_Images = dict[Modality, list[TreeImage]]


def _by_person(samples: Sequence[TreeImage]) -> dict[str, _Images]:
    people: dict[str, _Images] = defaultdict(lambda: {modality: [] for modality in Modality})
    for sample in samples:
        people[sample.person_id][sample.modality].append(sample)
    return people


def _suffices(images: _Images, against: Modality | None) -> bool:
    """Whether each modality has an image to explain, and another to match it with."""
    return all(images.values()) and (against is None or len(images[against]) > 1)


def _and_more(against: Modality | None) -> str:
    return "" if against is None else f", at least two {against} ones"


def _explain_person(
    trained: TrainedEncoder, person: str, images: _Images, rng: np.random.Generator, against: Modality | None
) -> ExplainedPerson:
    chosen = {modality: images[modality][rng.integers(len(images[modality]))] for modality in Modality}
    explained = {
        modality: _explain(trained, sample, images[modality.other if against is None else against])
        for modality, sample in chosen.items()
    }
    return ExplainedPerson(person, explained[Modality.VISIBLE], explained[Modality.INFRARED])


def _explain(trained: TrainedEncoder, sample: TreeImage, others: Sequence[TreeImage]) -> Explanation:
    matched = [other for other in others if other != sample]
    target = torch.from_numpy(l2_normalise(embed_samples(trained, matched).mean(axis=0)))
    image = decode_samples([sample], trained.image_hw)
    heat, cosine = similarity_cam(
        trained.encoder,
        Stream(MODALITY_CODE[sample.modality]),
        normalise(torch.from_numpy(image).to(trained.device)),
        target[None].to(trained.device),
    )
    peak = heat.max().clamp_min(torch.finfo(heat.dtype).tiny)
    whole = functional.interpolate(
        (heat / peak)[None], image.shape[1:3], mode="bilinear", align_corners=False
    )
    return Explanation(sample, image[0], whole[0, 0].cpu().numpy(), matched[0].modality, float(cosine.item()))
