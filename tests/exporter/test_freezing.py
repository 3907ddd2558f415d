"""What may be asked of a bundle beyond its forms: the mirrored view, a tuned int8, every recipe's network."""

import numpy as np
import onnx
import pytest
import torch
from small_encoder import BOTH, SmallNetwork, freeze, people, vectors

from exporter import tuning
from exporter.bundle import Precision, read_bundle
from exporter.errors import BundleInvalid
from exporter.onnx import write_onnx
from exporter.quantize import Calibration, CalibrationImages
from exporter.runtime import load_encoder
from exporter.tuning import Closeness, tune_int8
from training.freeze import freeze_untrained
from training.recipe import load_form, load_recipe


def test_the_mirrored_view_is_in_the_graph(tmp_path):
    bundle = freeze(tmp_path / "flipped", precisions=[Precision.FP32], flip=True)
    assert read_bundle(bundle.path).manifest.flip
    images, _, modality = people(3)
    lights = [BOTH[code] for code in modality]
    encoder = load_encoder(bundle.path)
    found = encoder.encode(images, lights)
    assert np.allclose(found, vectors(SmallNetwork().eval(), images, modality, flip=True), atol=1e-5)
    assert np.allclose(found, encoder.encode(images[:, :, ::-1], lights), atol=1e-5)
    assert not np.allclose(found, vectors(SmallNetwork().eval(), images, modality), atol=1e-2)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory):
    path = tmp_path_factory.mktemp("forms") / "encoder.fp32.onnx"
    write_onnx(SmallNetwork().eval(), (24, 12), path)
    return path


def float_convolutions(path):
    """The convolutions of an int8 file whose weights were not quantised."""
    graph = onnx.load(path).graph
    made = {name for node in graph.node for name in node.output}
    return sum(node.op_type == "Conv" and node.input[1] not in made for node in graph.node)


def test_int8_takes_the_first_way_that_suffices_and_keeps_the_stems_in_float(fp32, tmp_path):
    images, _, modality = people(8)
    int8 = tmp_path / "int8.onnx"
    answers = iter([Closeness(0.99, -0.006), Closeness(0.98, 0.0), Closeness(0.99, 0.005)])
    report = tune_int8(fp32, int8, CalibrationImages(images, modality), lambda _: next(answers))
    assert [one["method"] for one in report["tried"]] == list(Calibration)
    assert report["chosen"] == report["tried"][-1]
    assert report["chosen"]["calibration_images"] == 32
    assert len(report["chosen"]["layers_in_float"]) == float_convolutions(int8) == 2


def test_int8_puts_layers_back_into_float_that_gain_most(tmp_path, monkeypatch):
    class Deep(SmallNetwork):
        def __init__(self):
            super().__init__()
            self.shared = torch.nn.Sequential(*[torch.nn.Conv2d(16, 16, 3, padding=1) for _ in range(4)])

    monkeypatch.setattr(tuning, "_PLANS", ((Calibration.MINMAX, 512),))
    path, int8 = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    write_onnx(Deep().eval(), (24, 12), path)
    images, _, modality = people(4)
    seen = CalibrationImages(images, modality)

    def measure(path):
        # As if each convolution in float brought it nearer, and four were enough.
        count = float_convolutions(path)
        return Closeness(0.9 + 0.022 * count, 0.0 if count == 4 else 0.1)

    report = tune_int8(path, int8, seen, measure)
    assert len(report["chosen"]["layers_in_float"]) == float_convolutions(int8) == 4
    assert [len(one["layers_in_float"]) for one in report["tried"]] == [2, 3, 3, 3, 3, 3, 4]
    with pytest.raises(BundleInvalid, match="no int8 form comes near enough to fp32"):
        tune_int8(path, int8, seen, lambda _: Closeness(float("nan"), 0.0))


@pytest.mark.parametrize("recipe", ["agw", "caj", "PECA"])
def test_the_network_of_every_recipe_of_the_field_is_frozen_the_same_way(recipe, tmp_path):
    # One depth for all, at a few pixels: what differs is the recipe.
    small = load_recipe(recipe).amended(load_form("small")).amended({"data": {"image_hw": [32, 16]}})
    bundle = freeze_untrained(small, tmp_path / "bundle", [Precision.FP32])
    assert bundle.manifest.recipe["name"] == recipe
    encoder = load_encoder(bundle.path)
    found = encoder.encode(np.zeros((2, 32, 16, 3), dtype=np.uint8), BOTH)
    assert found.shape == (2, 512)
    assert found[0] @ found[1] < 0.9999


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["agw", "caj", "PECA"])
def test_the_network_of_every_recipe_is_frozen_at_its_full_size(recipe, tmp_path):
    bundle = freeze_untrained(load_recipe(recipe), tmp_path / "bundle", [Precision.FP32])
    assert load_encoder(bundle.path).image_hw == (288, 144)
