"""What a compressed search costs an evaluation: the same test, ranked by what a gallery's index finds."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.evaluation import EvaluationReport, People, evaluate_people, labelled_people
from index.gallery import Gallery
from index.protocols import Draws
from index.records import Where
from index.space import Modality

DEPTH = 100
"""So many hits of a query come from the index; behind them the images stand in their exact order."""

_AHEAD = 4.0
"""More than the cosines of two images can differ by."""


@dataclass(frozen=True, slots=True)
class IndexedPeople(People):
    """Labelled images that are ranked by their gallery's own search.

    Attributes:
        gallery: Theirs.
        places: Where each image stands among them, by its id.
    """

    gallery: Gallery
    places: Mapping[str, int]

    def similarity(self, queries: NDArray[np.int64], ranked: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, G): cosines, those of the first ``DEPTH`` hits of a search raised above all others."""
        scores = People.similarity(self, queries, ranked)
        columns = {int(place): column for column, place in enumerate(ranked)}
        found = self.gallery.search(self.vectors[queries], DEPTH, self._where(ranked))
        for row, hits in enumerate(found):
            scores[row, [columns[self.places[hit.record.image_id]] for hit in hits]] += _AHEAD
        return scores

    def _where(self, ranked: NDArray[np.int64]) -> Where:
        """The filter that these images pass and no others; by modality alone where it can be."""
        modality = self.candidates[int(ranked[0])].modality
        if self.gallery.count(Where(modality=modality)) == len(ranked):
            return Where(modality=modality)
        return Where(modality=modality, image_ids=[self.image_ids[int(place)] for place in ranked])


def evaluate_through_index(
    gallery: Gallery,
    protocol: str,
    query_modality: Modality | None = None,
    *,
    shots: int = 1,
    trials: int = 10,
    draws: Draws = Draws.SEEDED,
    rand_perm: Path | None = None,
) -> EvaluationReport:
    """``evaluate_gallery`` with the ranking that the gallery's own search gives.

    An image that the index misses among the first ``DEPTH`` falls behind them; nothing else differs from the
    exact evaluation, so the difference of two reports is what the index costs. A search that the planner
    answers exactly, as over a small draw, costs nothing.

    Args:
        gallery: As the rest, see ``evaluate_gallery``.
        protocol: See there.
        query_modality: See there.
        shots: See there.
        trials: See there.
        draws: See there.
        rand_perm: See there.

    Raises:
        InvalidInput: See there.
    """
    people = labelled_people(gallery)
    places = {image_id: place for place, image_id in enumerate(people.image_ids)}
    held = {field.name: getattr(people, field.name) for field in fields(People)}
    return evaluate_people(
        IndexedPeople(**held, gallery=gallery, places=places),
        gallery.spec.encoder,
        protocol,
        query_modality,
        shots=shots,
        trials=trials,
        draws=draws,
        rand_perm=rand_perm,
    )
