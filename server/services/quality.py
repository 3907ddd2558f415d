"""How well the encoder finds the labelled people of this very gallery."""

import hashlib
import time
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
from server.limits import Turns
from server.services.catalogue import Catalogue

MOST_IMAGES = 4000
"""From more labelled images on, whole people are drawn; each pair of images is compared."""
MOST_ASKING = 5
"""Most requests that wait for an evaluation, with the one that it is made for."""
_PROTOCOL = "plain"
_MOST_KEPT = 16
_KEPT_S = 600.0  # another server may write to the same gallery, in Milvus


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


class Qualities:
    """Evaluations, kept until the labelled images change; one is made at a time.

    Each reads all labelled vectors and compares all pairs: some at once would take the memory of the server,
    and the processors from its searches.
    """

    def __init__(self, catalogue: Catalogue, encoder: str) -> None:
        self._catalogue = catalogue
        self._encoder = encoder
        self._kept: dict[frozenset[str] | None, _Kept] = {}
        self._turns = Turns(1, MOST_ASKING)

    def of(self, holder: Holder) -> Quality:
        """That of the labelled images that ``holder`` may see.

        Raises:
            NotLabelled: No person is labelled in both modalities.
            TurnsExceeded: As many wait for one as may.
            DeadlinePassed, ClientLeft: Its turn did not come in time.
        """
        kept = self._standing(holder)
        if kept is None:
            with self._turns.turn():
                kept = self._standing(holder) or self._made(holder)
        if isinstance(kept.found, NotLabelled):
            raise NotLabelled(str(kept.found))
        return kept.found

    def _standing(self, holder: Holder) -> "_Kept | None":
        kept = self._kept.get(holder.camera_ids)
        if kept is None or kept.version != self._catalogue.labels_version:
            return None
        return kept if time.monotonic() - kept.made_at < _KEPT_S else None

    def _made(self, holder: Holder) -> "_Kept":
        version, found = self._catalogue.labels_version, _outcome(self._catalogue, self._encoder, holder)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        kept = self._kept[holder.camera_ids] = _Kept(version, time.monotonic(), found)
        return kept


@dataclass(frozen=True, slots=True)
class _Kept:
    """What an evaluation gave, and by when and which labels it did."""

    version: int
    made_at: float
    found: Quality | NotLabelled


def _outcome(catalogue: Catalogue, encoder: str, holder: Holder) -> Quality | NotLabelled:
    """That there is nothing to compare takes as long to find out."""
    try:
        return quality(catalogue, encoder, holder)
    except NotLabelled as error:
        return error


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
