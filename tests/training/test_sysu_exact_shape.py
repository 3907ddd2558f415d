"""A tree with SYSU-MM01's exact shape gives the published counts, through reader and evaluation.

The shape comes from the data set's own ``rand_perm_cam.mat``, which holds a permutation of the
images of every camera and identity; the images are one tiny JPEG, linked.
"""

import os
import random
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from index.evaluation import evaluate_gallery
from index.gallery import open_gallery
from index.protocols import MODES, Permutations, select
from index.records import ImageRecord
from index.space import EmbeddingSpec, Modality
from training.datasets.describe import candidates_of, describe
from training.datasets.reader import read_dataset
from training.datasets.tree import Layout

SHARED = Path(os.environ.get("PECA_SHARED", Path(__file__).parents[2].parent / "shared"))
PERMUTATIONS = SHARED / "protocol/rand_perm_cam.mat"

pytestmark = pytest.mark.skipif(
    not PERMUTATIONS.is_file(), reason=f"SYSU-MM01's protocol files are not at {SHARED} (set PECA_SHARED)"
)

SIZES = {
    "all-single-shot": {"queries": 3803, "gallery": 301, "valid_queries": 3803},
    "all-multi-shot": {"queries": 3803, "gallery": 3010, "valid_queries": 3803},
    "indoor-single-shot": {"queries": 3803, "gallery": 112, "valid_queries": 2208},
    "indoor-multi-shot": {"queries": 3803, "gallery": 1120, "valid_queries": 2208},
}


@pytest.fixture(scope="module")
def table():
    return loadmat(PERMUTATIONS)["rand_perm_cam"]


@pytest.fixture(scope="module")
def dataset(table, tmp_path_factory):
    root = tmp_path_factory.mktemp("sysu")
    (root / "exp").mkdir()
    for part in ("train", "val", "test"):
        text = (SHARED / f"protocol/sysu_mm01/{part}_id.txt").read_text()
        (root / f"exp/{part}_id.txt").write_text(text)
    buffer = BytesIO()
    Image.new("RGB", (2, 4)).save(buffer, "JPEG")
    image = root / "one.jpg"
    image.write_bytes(buffer.getvalue())
    for camera in range(6):
        (root / f"cam{camera + 1}").mkdir()
        for person, cell in enumerate(table[camera, 0].ravel(), start=1):
            if cell.shape[1]:
                folder = root / f"cam{camera + 1}/{person:04d}"
                folder.mkdir()
                for number in range(1, cell.shape[1] + 1):
                    os.link(image, folder / f"{number:04d}.jpg")
    return read_dataset(Layout.SYSU, root)


@pytest.fixture(scope="module")
def gallery(dataset):
    """The test images with random vectors that lean towards their identity."""
    rng = np.random.default_rng(0)
    directions = {image.person_id: rng.normal(size=32) for image in dataset.test}
    gallery = open_gallery("memory:", EmbeddingSpec(32, "sha256:exact-shape"))
    gallery.add(
        [
            ImageRecord(
                image.source.removesuffix(".jpg").replace("/", "-"),
                image.modality,
                image.camera_id,
                datetime(2017, 11, 27, tzinfo=UTC),
                person_id=image.person_id,
                source=image.source,
            )
            for image in dataset.test
        ],
        np.stack([directions[i.person_id] + 2 * rng.normal(size=32) for i in dataset.test]).astype(
            np.float32
        ),
    )
    return gallery


def test_describe_gives_the_published_counts(dataset):
    assert describe(dataset) == {
        "layout": "sysu",
        "train_visible": 22258,
        "train_infrared": 11909,
        "train_identities": 395,
        "test": SIZES,
    }


@pytest.mark.parametrize("draws", ["seeded", "official"])
@pytest.mark.parametrize(
    "name", ["all-single-shot", "all-multi-shot", "indoor-single-shot", "indoor-multi-shot"]
)
def test_evaluation_gives_the_published_sizes(gallery, name, draws):
    place, shots, _ = name.split("-")
    report = evaluate_gallery(
        gallery,
        f"sysu-{place}",
        shots={"single": 1, "multi": 10}[shots],
        trials=10 if shots == "single" else 2,
        draws=draws,
        rand_perm=PERMUTATIONS,
    )
    sizes = {key: report.to_dict()[key] for key in SIZES[name]}
    assert sizes == SIZES[name]
    assert {(t.queries, t.gallery, t.valid_queries) for t in report.trials} == {tuple(SIZES[name].values())}
    assert report.mean.chance_rank1 < 0.03 < report.mean.rank1 < 1
    assert report.spread.mean_ap > 0


@pytest.mark.parametrize("shots", [1, 10])
def test_official_draws_are_the_files_rows(dataset, table, shots):
    """Trial t is row t; a row's numbers count from 1 along the sorted files, which are numbered so here."""
    permutations = Permutations(PERMUTATIONS)
    candidates = candidates_of(dataset.test)
    people = sorted({int(image.person_id) for image in dataset.test})
    for trial in range(10):
        chosen = select(
            candidates,
            MODES["sysu-all"],
            Modality.INFRARED,
            shots=shots,
            trial=trial,
            permutations=permutations,
        )
        expected = [
            f"cam{camera}/{person:04d}/{number:04d}.jpg"
            for camera in (1, 2, 4, 5)
            for person in people
            if person <= len(table[camera - 1, 0])
            for number in table[camera - 1, 0][person - 1, 0][trial][:shots]
        ]
        assert [candidates[i].path for i in chosen.gallery] == expected


def test_seeded_draws_are_those_of_the_published_python_code(dataset):
    candidates = candidates_of(dataset.test)
    for trial in range(10):
        random.seed(trial)
        expected = []
        for person in sorted({image.person_id for image in dataset.test}):
            for camera in ("cam1", "cam2", "cam4", "cam5"):
                folder = dataset.root / camera / person
                if folder.is_dir():
                    name = random.choice(sorted(path.name for path in folder.iterdir()))
                    expected.append(f"{camera}/{person}/{name}")
        chosen = select(candidates, MODES["sysu-all"], Modality.INFRARED, trial=trial)
        assert [candidates[i].path for i in chosen.gallery] == expected
