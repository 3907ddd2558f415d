"""How well the encoder finds the labelled people of this very gallery."""

import numpy as np
from pydantic import BaseModel, Field

from index.distances import BINS, Distances, Distribution, Pairing
from index.evaluation import EvaluationReport
from index.space import Modality
from server.access import Permission
from server.auth import TheCaller, keyed_router, needs
from server.parts import OpenParts

router = keyed_router("gallery")


class Direction(BaseModel):
    """Searches by every labelled image of one modality among those of the other; rates are in [0, 1]."""

    query_modality: Modality
    gallery_modality: Modality
    queries: int
    valid_queries: int = Field(description="With an image of the same person to find; only they count.")
    gallery: int = Field(description="Images that were ranked.")
    rank1: float
    rank5: float
    rank10: float
    rank20: float
    mean_ap: float
    mean_inp: float
    chance_rank1: float = Field(description="To expect of a ranking at random.")
    cmc: list[float] = Field(description="Rank 1 and on, up to 50.")


class Cosines(BaseModel):
    """The cosine similarities of some pairs of images."""

    pairs: int
    mean: float | None
    std: float | None
    histogram: list[int] = Field(description="Pairs in each bin of `bin_edges`.")


class SameAndDifferent(BaseModel):
    """Pairs that show one person, and pairs that show two."""

    same: Cosines
    different: Cosines


class CosinesByPairing(BaseModel):
    """Of pairs across the modalities, and within each."""

    bin_edges: list[float] = Field(description="One more than bins, from -1 to 1.")
    across: SameAndDifferent
    visible: SameAndDifferent
    infrared: SameAndDifferent


class QualityAnswer(BaseModel):
    """An evaluation of the labelled images within the limits of the key."""

    encoder: str = Field(description="Fingerprint of the encoder bundle.")
    people: int = Field(description="Whose images were compared.")
    images: dict[Modality, int] = Field(description="How many were compared, by modality.")
    labelled: int = Field(description="How many are labelled; of many, those of some people are compared.")
    directions: list[Direction]
    cosines: CosinesByPairing


@router.get("/quality", summary="See how well people are found here", openapi_extra=needs(Permission.VIEW))
def read_quality(parts: OpenParts, caller: TheCaller) -> QualityAnswer:
    """Search each labelled image in the other modality, exactly, and compare all pairs of them.

    What was found stands until labelled images come or go.
    """
    found = parts.qualities.of(caller.holder)
    return QualityAnswer(
        encoder=parts.encoder.spec.encoder,
        people=found.distances.people,
        images=found.distances.images,
        labelled=found.labelled,
        directions=[_direction(report) for report in found.reports.values()],
        cosines=CosinesByPairing(
            bin_edges=np.linspace(-1, 1, BINS + 1).round(6).tolist(),
            **{pairing.value: _both(found.distances, pairing) for pairing in Pairing},
        ),
    )


def _direction(report: EvaluationReport) -> Direction:
    (trial,) = report.trials
    return Direction(
        query_modality=report.query_modality,
        gallery_modality=report.gallery_modality,
        queries=trial.queries,
        valid_queries=trial.valid_queries,
        gallery=trial.gallery,
        rank1=trial.scores.rank1,
        rank5=trial.scores.rank5,
        rank10=trial.scores.rank10,
        rank20=trial.scores.rank20,
        mean_ap=trial.scores.mean_ap,
        mean_inp=trial.scores.mean_inp,
        chance_rank1=trial.scores.chance_rank1,
        cmc=list(trial.cmc),
    )


def _both(distances: Distances, pairing: Pairing) -> SameAndDifferent:
    return SameAndDifferent(
        same=_cosines(distances.same[pairing]), different=_cosines(distances.different[pairing])
    )


def _cosines(distances: Distribution) -> Cosines:
    """A distance is 1 less the cosine, so its histogram is read backwards."""
    return Cosines(
        pairs=distances.pairs,
        mean=None if distances.mean is None else 1 - distances.mean,
        std=distances.std,
        histogram=list(distances.histogram[::-1]),
    )
