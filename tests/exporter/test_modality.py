"""By which light an image was taken, judged by its content."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.modality import colourfulness, detect_modality
from exporter.preprocess import load_image
from index.errors import InvalidInput
from index.space import Modality
from training.datasets.reader import read_dataset
from training.datasets.synthetic import write_tree
from training.datasets.tree import Layout

REAL_PAIRS = Path(__file__).resolve().parents[3] / "shared" / "data" / "m3svd"
SIZES = [(144, 72), (288, 144), (32, 16)]


def jpeg(image: Image.Image, quality: int = 85) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Modality]]:
    root = tmp_path_factory.mktemp("people") / "tree"
    write_tree(root, Layout.SYSU, 6, 1, 5)
    tree = read_dataset("sysu", root)
    return [(image.path, image.modality) for image in (*tree.train, *tree.test)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_synthetic_people_of_both_lights(people: list[tuple[Path, Modality]], size: tuple[int, int]) -> None:
    found = [(detect_modality(load_image(path, size)), modality) for path, modality in people]
    assert len(found) == 36
    assert [judged.modality for judged, _ in found] == [modality for _, modality in found]
    assert all(0.5 <= judged.confidence <= 1 for judged, _ in found)
    assert {judged.confidence for judged, modality in found if modality is Modality.INFRARED} == {1.0}


@pytest.mark.skipif(not REAL_PAIRS.is_dir(), reason="the real pairs are not part of the project")
def test_real_people_of_both_lights() -> None:
    wrong = []
    for modality in Modality:
        files = sorted((REAL_PAIRS / str(modality)).rglob("*.png"))[::10]
        assert len(files) > 40
        wrong += [
            file for file in files if detect_modality(load_image(file, (144, 72))).modality is not modality
        ]
    assert wrong == []


def grey_person(skin: tuple[int, int, int]) -> Image.Image:
    """Somebody in grey before a grey wall: only face and hands have colour."""
    rng = np.random.default_rng(0)
    pixels = np.repeat(rng.integers(60, 200, (144, 72, 1)), 3, axis=2).astype(np.uint8)
    pixels[8:30, 26:46] = skin
    pixels[75:85, 14:22] = pixels[75:85, 50:58] = skin
    return Image.fromarray(pixels)


def test_skin_alone_tells_visible_light() -> None:
    for skin in ((224, 172, 140), (141, 85, 56), (80, 50, 38)):
        judged = detect_modality(load_image(jpeg(grey_person(skin)), (144, 72)))
        assert judged.modality is Modality.VISIBLE, skin


@pytest.mark.parametrize("form", ["L", "I;16", "RGB", "P", "RGBA"])
def test_shades_of_grey_are_infrared_in_any_form(form: str) -> None:
    grey = np.random.default_rng(1).integers(0, 255, (60, 30)).astype(np.uint8)
    image = (
        Image.fromarray(grey.astype(np.uint16) * 16)
        if form == "I;16"
        else Image.fromarray(grey).convert(form)
    )
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    judged = detect_modality(load_image(buffer.getvalue(), (144, 72)))
    assert (judged.modality, judged.confidence) == (Modality.INFRARED, 1.0)


def test_a_tint_and_faint_noise_are_no_colour() -> None:
    rng = np.random.default_rng(2)
    coarse = Image.fromarray(rng.integers(20, 230, (18, 9)).astype(np.uint8)).resize((72, 144))
    grey = np.repeat(np.asarray(coarse, np.float64)[..., None], 3, axis=2)
    for changed in (grey * [1.0, 0.8, 1.0], grey * [0.9, 1.0, 0.85] + 8, grey + rng.normal(0, 3, grey.shape)):
        pixels = changed.clip(0, 255).astype(np.uint8)
        assert colourfulness(pixels) < 1.5
        assert detect_modality(pixels).modality is Modality.INFRARED


def test_a_uniform_image_has_no_colour_variation() -> None:
    pixels = np.full((144, 72, 3), (200, 30, 30), np.uint8)
    assert detect_modality(pixels).modality is Modality.INFRARED
    assert colourfulness(np.zeros((1, 1, 3), np.uint8)) == 0


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_picture_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="uint8"):
        detect_modality(pixels)
