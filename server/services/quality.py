"""How well the encoder finds the labelled people of this very gallery."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from index.distances import Distances, measure_distances
from index.errors import InvalidInput
from index.evaluation import EvaluationReport, evaluate_people
from index.records import ANY
from index.space import Modality
from server.access import Holder
from server.errors import NotLabelled
from server.services.catalogue import Catalogue

MOST_IMAGES = 4000
"""From more labelled images on, whole people are drawn; each pair of images is compared."""
_PROTOCOL = "plain"


@dataclass(frozen=True, slots=True)
class Quality:
    """An evaluation of the labelled images that one holder may see.

    Attributes:
        labelled: How many images are labelled.
        used: How many of them were compared.
        reports: Of the searches by images of each modality in the other.
        distances: Of all pairs of images.
    """

    labelled: int
    used: int
    reports: Mapping[Modality, EvaluationReport]
    distances: Distances


def quality(catalogue: Catalogue, encoder: str, holder: Holder) -> Quality:
    """Evaluate the labelled images that ``holder`` may see.

    Args:
        catalogue: The images.
        encoder: Fingerprint of the encoder that made their vectors.
        holder: Who asks.

    Raises:
        NotLabelled: No person is labelled in both modalities.
    """
    where = holder.narrowed(ANY)
    counts = Counter(record.person_id for record in catalogue.records(where) if record.person_id is not None)
    try:
        people = catalogue.people(replace(where, person_ids=_drawn(counts)))
        person_ids = [one.person_id for one in people.candidates]
        light = [one.modality for one in people.candidates]
        distances = measure_distances(people.vectors, person_ids, light)
        reports = {asking: evaluate_people(people, encoder, _PROTOCOL, asking) for asking in Modality}
    except InvalidInput as error:
        raise NotLabelled(str(error)) from error
    return Quality(counts.total(), len(people.candidates), reports, distances)


def _drawn(counts: Counter[str]) -> list[str]:
    """People in an order that depends on their names alone, up to ``MOST_IMAGES`` images, at least one."""
    drawn: list[str] = []
    images = 0
    for person_id in sorted(counts, key=lambda name: hashlib.sha256(name.encode()).digest()):
        images += counts[person_id]
        if drawn and images > MOST_IMAGES:
            break
        drawn.append(person_id)
    return drawn
