"""A site of any size for the gallery's benchmarks: images by chunk, queries, and the exact answers.

A person has about ``PER_PERSON`` images, unit vectors round a direction of their own, by any of 1,000
cameras in any order. Every chunk is drawn from its number alone, so that each process draws the same site
and none has to hold it. The cosine of two images of one person is about 0.8, of two people about 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from index.records import ANY, ImageRecord, Where
from index.space import Modality, l2_normalise

K = 20
CHUNK = 4096
CAMERAS = 1000
START = datetime(2026, 3, 2, tzinfo=UTC)
_SPREAD = 0.5


@dataclass(frozen=True)
class Site:
    """A drawn site.

    Attributes:
        count: How many images.
        dim: Length D of a vector.
        queries: How many people are sought, by an image that is not in the gallery.
        per_person: Images of a person, on average.
        remove_every: Every so many images one is removed again; 0 for none.
    """

    count: int
    dim: int
    queries: int = 200
    per_person: int = 50
    remove_every: int = 0

    def chunks(self) -> Iterator[tuple[list[ImageRecord], NDArray[np.float32]]]:
        """Records and (n, D) unit rows, by chunk."""
        centres = self._centres()
        for start in range(0, self.count, CHUNK):
            rng = np.random.default_rng([1, start])
            n = min(CHUNK, self.count - start)
            people = rng.integers(len(centres), size=n)
            cameras = rng.integers(CAMERAS, size=n)
            light = rng.integers(2, size=n)
            rows = centres[people] + _SPREAD * rng.standard_normal((n, self.dim), np.float32)
            records = [
                ImageRecord(
                    str(start + i),
                    tuple(Modality)[light[i]],
                    f"cam{cameras[i]}",
                    START + timedelta(seconds=start + i),
                )
                for i in range(n)
            ]
            yield records, l2_normalise(rows)

    def sought(self, seed: int = 2) -> NDArray[np.float32]:
        """(Q, D) unit rows of people of the site; others by another ``seed``."""
        centres = self._centres()
        rng = np.random.default_rng(seed)
        people = rng.integers(len(centres), size=self.queries)
        return l2_normalise(
            centres[people] + _SPREAD * rng.standard_normal((self.queries, self.dim), np.float32)
        )

    def removed(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) which of these images are removed again."""
        return numbers % self.remove_every == 0 if self.remove_every else np.zeros(len(numbers), bool)

    def _centres(self) -> NDArray[np.float32]:
        people = max(self.count // self.per_person, 1)
        return np.random.default_rng(0).standard_normal((people, self.dim), np.float32)


FILTERS = {
    "none": ANY,
    "0.1 %": Where(camera_ids=["cam7"]),
    "1 %": Where(camera_ids=[f"cam{n}" for n in range(10)]),
    "10 %": Where(camera_ids=[f"cam{n}" for n in range(100)]),
    "50 %": Where(modality=Modality.INFRARED),
}


def passing(where: Where, records: list[ImageRecord]) -> NDArray[np.bool_]:
    """(n,) which records pass."""
    return np.array([where.matches(record) for record in records], bool)


def answers(site: Site) -> dict[str, NDArray[np.int64]]:
    """By filter, the numbers of the ``K`` nearest of each query, (Q, K), -1 where fewer pass; by numpy."""
    sought = site.sought()
    found = {name: np.full((len(sought), K), -1, np.int64) for name in FILTERS}
    scores = {name: np.full((len(sought), K), -np.inf, np.float32) for name in FILTERS}
    start = 0
    for records, rows in site.chunks():
        cosines = sought @ rows.T
        numbers = np.arange(start, start + len(rows))
        for name, where in FILTERS.items():
            kept = passing(where, records) & ~site.removed(numbers)
            both = np.concatenate([scores[name], cosines[:, kept]], axis=1)
            named = np.concatenate(
                [found[name], np.broadcast_to(numbers[kept], (len(sought), kept.sum()))], axis=1
            )
            best = np.argsort(-both, axis=1, kind="stable")[:, :K]
            scores[name] = np.take_along_axis(both, best, axis=1)
            found[name] = np.take_along_axis(named, best, axis=1)
        start += len(rows)
    return found
