"""The frozen encoder: a small network written by the real exporter, run by the real runtime."""

import json
import shutil

import numpy as np
import onnxruntime
import pytest
import torch

from exporter.bundle import MANIFEST, Precision, default_bundle, read_bundle
from exporter.errors import BundleInvalid
from exporter.freeze import LabelledImages, write_bundle
from exporter.parity import check_parity, parity_report
from exporter.runtime import PROVIDERS, Encoder, GreyPixelEncoder, load_encoder, open_session
from index.errors import InvalidInput
from index.space import Modality

HW = (24, 12)
BOTH = [Modality.VISIBLE, Modality.INFRARED]


def cuda_runs():
    return torch.cuda.is_available() and PROVIDERS["cuda"] in onnxruntime.get_available_providers()


class SmallNetwork(torch.nn.Module):
    """A convolution for each modality, pooled and normalised."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.visible = torch.nn.Conv2d(3, 16, 5, stride=2)
        self.infrared = torch.nn.Conv2d(3, 16, 5, stride=2)

    def forward(self, images, modality):
        pixels = images.permute(0, 3, 1, 2).float() / 255 - 0.5
        is_visible = (modality == 0)[:, None, None, None]
        maps = torch.where(is_visible, self.visible(pixels), self.infrared(pixels))
        return torch.nn.functional.normalize(maps.relu().flatten(1), dim=1)


def people(count=20):
    """Rough images of ``count`` people, two in each modality, and their labels."""
    rng = np.random.default_rng(0)
    shapes = rng.integers(30, 220, size=(count, 6, 3, 1))
    labels = np.repeat(np.arange(count), 4)
    modality = np.tile([0, 0, 1, 1], count)
    images = shapes[labels].repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    noisy = images + rng.integers(-20, 20, size=images.shape)
    return noisy.clip(0, 255).astype(np.uint8), labels, modality


def freeze(out, module=None, trained_by=None, precisions=tuple(Precision)):
    module = (module or SmallNetwork()).eval()
    images, labels, modality = people()
    with torch.no_grad():
        trained = (trained_by or module)(torch.from_numpy(images), torch.from_numpy(modality)).numpy()
    cameras = np.where(modality == 0, "cam1", "cam3")
    return write_bundle(
        module,
        out,
        name="small",
        precisions=precisions,
        calibration=(images, modality),
        test=LabelledImages(images, labels, modality, cameras, trained),
        recipe={"name": "small"},
        training_set="nothing",
    )


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    return freeze(tmp_path_factory.mktemp("bundles") / "small").path


@pytest.fixture
def bundle(frozen, tmp_path):
    return shutil.copytree(frozen, tmp_path / "bundle")


def test_a_bundle_holds_both_forms_and_their_parity(frozen):
    manifest = read_bundle(frozen).manifest
    assert set(manifest.files) == set(Precision)
    assert manifest.image_hw == HW
    assert manifest.parity["fp32"]["min_cosine"] >= 0.9999
    assert manifest.parity["int8"]["mean_cosine"] >= 0.985
    assert manifest.parity["images"] == 80


def test_the_encoder_gives_unit_rows_whatever_the_batch(frozen):
    encoder = load_encoder(frozen)
    images, _, modality = people()
    lights = [BOTH[code] for code in modality]
    whole = encoder.encode(images, lights)
    assert whole.dtype == np.float32
    assert whole.shape == (80, encoder.spec.dim)
    assert np.allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    one_by_one = np.concatenate(
        [encoder.encode(images[i : i + 1], lights[i : i + 1]) for i in range(len(images))]
    )
    assert np.allclose(whole, one_by_one, atol=1e-5)


def test_the_modality_chooses_the_stem(frozen):
    encoder = load_encoder(frozen)
    image = people()[0][:1]
    seen = [encoder.encode(image, [light])[0] for light in BOTH]
    assert seen[0] @ seen[1] < 0.99
    mixed = encoder.encode(np.repeat(image, 2, axis=0), BOTH)
    assert np.allclose(mixed, seen, atol=1e-5)


@pytest.mark.parametrize("encoder", [GreyPixelEncoder(HW), None], ids=["grey pixels", "onnx"])
def test_wrong_batches_are_refused(encoder, frozen):
    encoder = encoder or load_encoder(frozen)
    assert isinstance(encoder, Encoder)
    right = np.zeros((2, *HW, 3), dtype=np.uint8)
    assert encoder.encode(right[:0], []).shape == (0, encoder.spec.dim)
    assert np.isfinite(encoder.encode(right, BOTH)).all()
    for images, lights in (
        (right.astype(np.float32), BOTH),
        (right[:, :-1], BOTH),
        (right[0], BOTH),
        (right, BOTH[:1]),
    ):
        with pytest.raises(InvalidInput):
            encoder.encode(images, lights)


def test_the_fingerprint_names_the_network(frozen, tmp_path):
    other = SmallNetwork()
    torch.nn.init.normal_(other.visible.weight)
    fingerprints = {
        load_encoder(path).spec.encoder for path in (frozen, freeze(tmp_path / "other", other).path)
    }
    assert len(fingerprints) == 2
    assert all(name.startswith("small-int8-") for name in fingerprints)


def test_a_network_that_is_not_the_trained_one_is_not_written(tmp_path):
    other = SmallNetwork()
    torch.nn.init.normal_(other.visible.weight)
    with pytest.raises(BundleInvalid, match="fp32 strays from torch"):
        freeze(tmp_path / "bundle", other, trained_by=SmallNetwork().eval())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("figure", [{"mean_cosine": 0.98}, {"mean_ap": 0.58}])
def test_an_int8_form_that_strays_is_refused(figure):
    fp32 = {"min_cosine": 1.0, "mean_cosine": 1.0, "mean_ap": 0.6}
    check_parity({"fp32": fp32, "int8": {**fp32, "mean_ap": 0.591}})
    with pytest.raises(BundleInvalid, match="int8"):
        check_parity({"fp32": fp32, "int8": {**fp32, **figure}})


def test_parity_compares_each_form_with_its_reference():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(8, 4))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    labels, modality = np.repeat(np.arange(4), 2), np.tile([0, 1], 4)
    forms = {Precision.FP32: rows, Precision.INT8: -rows}
    report = parity_report(rows, forms, labels, modality, modality.astype(str))
    assert report["fp32"]["min_cosine"] == pytest.approx(1)
    assert report["int8"]["mean_cosine"] == pytest.approx(-1)
    assert report["int8"]["mean_ap"] == report["fp32"]["mean_ap"]


def test_only_the_asked_forms_are_kept(tmp_path):
    bundle = freeze(tmp_path / "bundle", precisions=[Precision.INT8])
    assert sorted(path.name for path in bundle.path.iterdir()) == [MANIFEST, "encoder.int8.onnx"]
    assert "fp32" in bundle.manifest.parity
    with pytest.raises(InvalidInput, match="not empty"):
        freeze(bundle.path)


def test_a_tampered_or_missing_file_is_refused(bundle):
    model = bundle / "encoder.int8.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(BundleInvalid, match="was changed after it was written"):
        load_encoder(bundle)
    model.unlink()
    with pytest.raises(BundleInvalid, match=r"lacks encoder\.int8\.onnx"):
        load_encoder(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format"),
        ({"resample": "nearest"}, "resample filter 'nearest'"),
        ({"files": {}}, "files"),
        ({"files": {"int8": {"file": "../../x", "sha256": "0" * 64, "size_bytes": 1}}}, "file"),
    ],
)
def test_a_manifest_that_is_not_understood_is_refused(bundle, change, message):
    path = bundle / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(BundleInvalid, match=message):
        read_bundle(bundle)


def test_no_bundle_and_no_manifest_are_told(tmp_path):
    with pytest.raises(BundleInvalid, match=r"no bundle\.json there"):
        read_bundle(tmp_path)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(BundleInvalid, match="not a manifest"):
        read_bundle(tmp_path)


def test_providers_are_chosen_by_name(frozen):
    assert load_encoder(frozen, "cpu").provider == "cpu"
    with pytest.raises(InvalidInput, match="provider must be auto, cuda, cpu; got 'abacus'"):
        load_encoder(frozen, "abacus")


@pytest.mark.skipif(cuda_runs(), reason="CUDA runs here")
def test_a_provider_that_does_not_run_is_never_claimed(frozen, monkeypatch):
    with pytest.raises(InvalidInput, match="provider 'cuda' does not run here"):
        load_encoder(frozen, "cuda")
    # The GPU build names CUDA among its providers and falls back to the processor where it cannot load it.
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS.values()))
    monkeypatch.setattr("exporter.runtime.open_session", lambda model, _: open_session(model, "cpu"))
    assert load_encoder(frozen, "auto").provider == "cpu"
    with pytest.raises(InvalidInput, match="provider 'cuda' does not run here"):
        load_encoder(frozen, "cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not cuda_runs(), reason="no CUDA device")
def test_cuda_gives_what_the_processor_gives(frozen):
    images, _, modality = people()
    lights = [BOTH[code] for code in modality]
    found, expected = (load_encoder(frozen, name).encode(images, lights) for name in ("cuda", "cpu"))
    assert (found * expected).sum(1).min() > 0.99


def test_the_shipped_bundle_is_whole_small_and_near_to_what_was_trained():
    bundle = read_bundle(default_bundle())
    assert bundle.model_path().is_file()
    assert sum(path.stat().st_size for path in bundle.path.iterdir()) <= 14_000_000
    parity = bundle.manifest.parity
    check_parity(parity)
    assert "synthetic" in bundle.manifest.training_set
    encoder = load_encoder(default_bundle())
    assert encoder.image_hw == (144, 72)
    embeddings = encoder.encode(np.zeros((2, 144, 72, 3), dtype=np.uint8), BOTH)
    assert np.isfinite(embeddings).all()
