"""How many images a data set has, and how large each of its tests is."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from index.evaluation import rankings_of
from index.protocols import MODES, Candidate, select
from index.space import Modality
from training.datasets.tree import Dataset, DatasetInvalid, Layout, TreeImage

_BOTH_WAYS = (Modality.VISIBLE, Modality.INFRARED)
TESTS: dict[str, dict[str, tuple[str, Modality, int]]] = {
    Layout.SYSU: {
        f"{place}-{name}-shot": (f"sysu-{place}", Modality.INFRARED, shots)
        for place in ("all", "indoor")
        for name, shots in (("single", 1), ("multi", 10))
    },
    Layout.REGDB: {f"{asking}-to-{asking.other}": ("regdb", asking, 1) for asking in _BOTH_WAYS},
    Layout.LLCM: {f"{asking}-to-{asking.other}": ("llcm", asking, 1) for asking in _BOTH_WAYS},
}
"""Each layout's tests by name, with the mode, the asking modality and the shots that make it."""


def tests_for(layout: str) -> dict[str, tuple[str, Modality, int]]:
    """The tests of a layout; of a reader of one's own, all images of a modality among all of the other."""
    plain = {f"{asking}-to-{asking.other}": ("plain", asking, 1) for asking in _BOTH_WAYS}
    return TESTS.get(layout, plain)


def describe(dataset: Dataset, *, check_images: bool = False) -> dict[str, Any]:
    """Count a data set; the tests are selected by the code that evaluates.

    Args:
        dataset: As read.
        check_images: Also decode every image file, which takes minutes on the published sets.

    Returns:
        JSON's types: ``layout``, ``train_visible``, ``train_infrared``, ``train_identities`` and
        ``test``, which maps each test's name to its ``queries``, ``gallery`` and ``valid_queries``.

    Raises:
        DatasetInvalid: ``check_images`` found files that do not decode; the message names them.
    """
    if check_images:
        _check_images([*dataset.train, *dataset.test])
    candidates = candidates_of(dataset.test)
    return {
        "layout": str(dataset.layout),
        "train_visible": sum(image.modality is Modality.VISIBLE for image in dataset.train),
        "train_infrared": sum(image.modality is Modality.INFRARED for image in dataset.train),
        "train_identities": len({image.person_id for image in dataset.train}),
        "test": {name: _sizes(candidates, *test) for name, test in tests_for(dataset.layout).items()},
    }


def candidates_of(images: Sequence[TreeImage]) -> list[Candidate]:
    """The images as the protocols choose among them."""
    return [Candidate(image.person_id, image.camera_id, image.modality, image.source) for image in images]


def _sizes(candidates: Sequence[Candidate], mode_name: str, asking: Modality, shots: int) -> dict[str, int]:
    mode = MODES[mode_name]
    chosen = select(candidates, mode, asking, shots=shots)
    valid, _ = rankings_of(candidates, chosen, mode).chance()
    return {"queries": len(chosen.queries), "gallery": len(chosen.gallery), "valid_queries": valid}


def _check_images(images: Sequence[TreeImage]) -> None:
    refused = [reason for image in images if (reason := _why_unreadable(image))]
    if refused:
        listed = "; ".join(refused[:20])
        more = f"; and {len(refused) - 20} more" if len(refused) > 20 else ""
        raise DatasetInvalid(f"{len(refused)} of {len(images)} images cannot be decoded: {listed}{more}")


def _why_unreadable(image: TreeImage) -> str | None:
    try:
        with Image.open(image.path) as opened:
            opened.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"{image.path} ({error})"
    return None
