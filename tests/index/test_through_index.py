"""What an evaluation through the index counts: an image that a search misses, and nothing else."""

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from index.embedded.ann import Limits
from index.embedded.engine import EmbeddedGallery
from index.evaluation import evaluate_gallery
from index.gallery import Gallery
from index.memory import MemoryGallery
from index.records import ANY, Hit, ImageRecord, Where
from index.space import EmbeddingSpec, Modality
from index.through_index import evaluate_through_index

SPEC = EmbeddingSpec(32, "encoder-a")


def fill(gallery: Gallery, count: int = 800) -> None:
    """Images of 40 people by two cameras of each modality."""
    rng = np.random.default_rng(0)
    people = rng.integers(40, size=count)
    rows = rng.standard_normal((40, SPEC.dim))[people] + 0.9 * rng.standard_normal((count, SPEC.dim))
    records = [
        ImageRecord(
            f"i{n}", tuple(Modality)[n % 2], f"c{n % 4}", datetime.fromtimestamp(n, UTC), f"p{person}"
        )
        for n, person in enumerate(people)
    ]
    gallery.add(records, rows.astype(np.float32))


class Forgetful(MemoryGallery):
    """Never finds the images of one person."""

    def search(
        self, queries: NDArray[np.float32], k: int, where: Where = ANY, *, exact: bool = False
    ) -> list[list[Hit]]:
        found = super().search(queries, k, where, exact=exact)
        return [[hit for hit in hits if hit.record.person_id != "p3"] for hits in found]


def test_an_index_that_misses_nothing_costs_nothing() -> None:
    with closing(MemoryGallery(SPEC)) as gallery:
        fill(gallery)
        assert evaluate_through_index(gallery, "plain") == evaluate_gallery(gallery, "plain")


def test_images_without_a_label_are_left_out_of_the_search() -> None:
    with closing(MemoryGallery(SPEC)) as gallery:
        fill(gallery)
        moment = datetime.fromtimestamp(0, UTC)
        stranger = ImageRecord("stranger", Modality.INFRARED, "c1", moment)
        gallery.add([stranger], np.ones((1, SPEC.dim), np.float32))
        assert evaluate_through_index(gallery, "plain") == evaluate_gallery(gallery, "plain")


def test_what_is_missed_costs() -> None:
    with closing(Forgetful(SPEC)) as gallery:
        fill(gallery)
        exact, found = evaluate_gallery(gallery, "plain"), evaluate_through_index(gallery, "plain")
        assert found.mean.mean_ap < exact.mean.mean_ap
        assert found.mean.chance_rank1 == exact.mean.chance_rank1
        assert found.trials[0].valid_queries == exact.trials[0].valid_queries


def test_a_compressed_gallery_is_evaluated_by_its_own_search(tmp_path: Path) -> None:
    limits = Limits(flat=64 * SPEC.dim, seal=64 * SPEC.dim, segment=512, exact=0)
    with closing(EmbeddedGallery(tmp_path, SPEC, limits=limits)) as gallery:
        fill(gallery)
        with closing(EmbeddedGallery(tmp_path, SPEC, read_only=True, limits=limits)) as reader:
            assert reader._index.view.coded
            exact, found = evaluate_gallery(reader, "plain"), evaluate_through_index(reader, "plain")
    assert found.mean.mean_ap == pytest.approx(exact.mean.mean_ap, abs=0.01)
