"""How far apart embeddings lie: one person and different people, within and across modalities."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.errors import InvalidInput
from index.evaluation import labelled_people
from index.gallery import Gallery
from index.space import Modality

BINS = 100
"""Bins of a histogram, over the distances from 0 to 2."""
_CHUNK_ELEMENTS = 1 << 21


class Pairing(StrEnum):
    """Which two images make a pair: one of each modality, or both of one."""

    ACROSS = "across"
    VISIBLE = "visible"
    INFRARED = "infrared"

    @property
    def words(self) -> str:
        """For tables and legends."""
        return "visible to infrared" if self is Pairing.ACROSS else f"within {self}"


@dataclass(frozen=True, slots=True)
class Distribution:
    """The cosine distances, 1 - cosine similarity in [0, 2], of some pairs of images.

    Attributes:
        histogram: How many pairs fall into each of ``BINS`` equal bins from 0 to 2.
        mean: Of the distances themselves, not of the bins; ``None`` where there is no pair.
        std: Their population standard deviation; ``None`` where there is no pair.
    """

    histogram: tuple[int, ...]
    mean: float | None
    std: float | None

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return sum(self.histogram)

    def to_dict(self) -> dict[str, Any]:
        """As JSON's types."""
        return {"pairs": self.pairs, "mean": self.mean, "std": self.std, "histogram": list(self.histogram)}


@dataclass(frozen=True, slots=True)
class Distances:
    """The distances between all images of a set.

    Attributes:
        images: How many images, by modality.
        people: How many identities.
        same: Pairs that show one person, by pairing.
        different: Pairs that show two people, by pairing.
    """

    images: dict[Modality, int]
    people: int
    same: dict[Pairing, Distribution]
    different: dict[Pairing, Distribution]

    def separation(self, pairing: Pairing) -> float | None:
        """How much further two people lie apart than two images of one, in the mean."""
        return _difference(self.different[pairing].mean, self.same[pairing].mean)

    @property
    def modality_gap(self) -> float | None:
        """How much further one person's images lie apart across modalities than within one.

        The mean across modalities, less the mean of the two means within (PECA, Fig. 8; the paper
        gives no number, so this definition is ours).
        """
        within = [self.same[pairing].mean for pairing in (Pairing.VISIBLE, Pairing.INFRARED)]
        known = [mean for mean in within if mean is not None]
        return _difference(self.same[Pairing.ACROSS].mean, sum(known) / len(known) if known else None)

    def to_dict(self) -> dict[str, Any]:
        """As JSON's types, histograms and their edges with them."""
        return {
            "images": {str(modality): count for modality, count in self.images.items()},
            "people": self.people,
            "modality_gap": self.modality_gap,
            **{
                str(pairing): {
                    "separation": self.separation(pairing),
                    "same": self.same[pairing].to_dict(),
                    "different": self.different[pairing].to_dict(),
                }
                for pairing in Pairing
            },
            "bin_edges": bin_edges().tolist(),
        }


def bin_edges() -> NDArray[np.float64]:
    """(BINS + 1,) the distances between which the bins lie."""
    return np.linspace(0.0, 2.0, BINS + 1)


def gallery_distances(gallery: Gallery) -> Distances:
    """The distances between the labelled images of a gallery.

    Raises:
        InvalidInput: No image is labelled, or the gallery lacks a modality or an identity in both.
    """
    people = labelled_people(gallery)
    person_ids = [candidate.person_id for candidate in people.candidates]
    return measure_distances(people.vectors, person_ids, [one.modality for one in people.candidates])


def measure_distances(
    vectors: NDArray[np.float32], person_ids: Sequence[str], modality: Sequence[Modality]
) -> Distances:
    """The distances of every pair of images; a pair within a modality counts once.

    Args:
        vectors: (N, D) float32 unit rows.
        person_ids: (N,) identities.
        modality: (N,) their light.

    Raises:
        InvalidInput: A vector is not finite, or no identity was seen in both modalities.
    """
    if not np.isfinite(vectors).all():
        raise InvalidInput("embeddings must be finite to have distances; got NaN or infinity")
    _, codes = np.unique(np.asarray(person_ids, dtype=np.str_), return_inverse=True)
    parts = {one: np.array([light is one for light in modality], dtype=np.bool_) for one in Modality}
    seen = {one: set(codes[part].tolist()) for one, part in parts.items()}
    if not seen[Modality.VISIBLE] & seen[Modality.INFRARED]:
        raise InvalidInput(
            "distances across modalities need an identity that was seen in both; "
            f"{len(seen[Modality.VISIBLE])} have visible images, {len(seen[Modality.INFRARED])} infrared ones"
        )
    sets = {one: (vectors[part], codes[part]) for one, part in parts.items()}
    pairs = {
        Pairing.ACROSS: _between(*sets[Modality.VISIBLE], *sets[Modality.INFRARED]),
        Pairing.VISIBLE: _within(*sets[Modality.VISIBLE]),
        Pairing.INFRARED: _within(*sets[Modality.INFRARED]),
    }
    measured = {pairing: _distributions(chunks) for pairing, chunks in pairs.items()}
    return Distances(
        images={one: int(part.sum()) for one, part in parts.items()},
        people=len(seen[Modality.VISIBLE] | seen[Modality.INFRARED]),
        same={pairing: same for pairing, (same, _) in measured.items()},
        different={pairing: different for pairing, (_, different) in measured.items()},
    )


_Chunks = Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]
"""Distances (n,) of some pairs, and whether each pair shows one person."""


def _between(
    left: NDArray[np.float32],
    left_ids: NDArray[np.intp],
    right: NDArray[np.float32],
    right_ids: NDArray[np.intp],
) -> _Chunks:
    step = max(1, _CHUNK_ELEMENTS // len(right))
    for start in range(0, len(left), step):
        rows = slice(start, start + step)
        yield 1 - (left[rows] @ right.T).ravel(), (left_ids[rows, None] == right_ids).ravel()


def _within(vectors: NDArray[np.float32], ids: NDArray[np.intp]) -> _Chunks:
    """Each pair once, and no image with itself."""
    step = max(1, _CHUNK_ELEMENTS // len(vectors))
    for start in range(0, len(vectors), step):
        rows = slice(start, start + step)
        later = np.arange(len(vectors)) > np.arange(len(vectors))[rows, None]
        yield 1 - (vectors[rows] @ vectors.T)[later], (ids[rows, None] == ids)[later]


def _distributions(chunks: _Chunks) -> tuple[Distribution, Distribution]:
    """Of the pairs that show one person, and of the others."""
    counts, sums = np.zeros((2, BINS), dtype=np.int64), np.zeros((2, 2))
    for distances, same in chunks:
        bins = np.clip(distances * (BINS / 2), 0, BINS - 1).astype(np.int64)
        counts += np.bincount(bins + BINS * same, minlength=2 * BINS).reshape(2, BINS)
        for power in (1, 2):
            weights = distances.astype(np.float64) ** power
            sums[:, power - 1] += np.bincount(same, weights=weights, minlength=2)
    different, same_person = (_distribution(*one) for one in zip(counts, sums, strict=True))
    return same_person, different


def _distribution(counts: NDArray[np.int64], sums: NDArray[np.float64]) -> Distribution:
    histogram, pairs = tuple(counts.tolist()), int(counts.sum())
    if not pairs:
        return Distribution(histogram, None, None)
    mean = float(sums[0] / pairs)
    return Distribution(histogram, mean, float(np.sqrt(max(sums[1] / pairs - mean**2, 0.0))))


def _difference(larger: float | None, smaller: float | None) -> float | None:
    return None if larger is None or smaller is None else larger - smaller
