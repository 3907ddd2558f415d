"""The frozen encoder: a small network written by the real exporter, run by the real runtime."""

import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
import torch
from small_encoder import BOTH, HW, SmallNetwork, freeze, people, vectors

from exporter import sessions
from exporter.bundle import MANIFEST, Precision, default_bundle, describe_file, read_bundle, seal
from exporter.errors import BundleInvalid, ProviderUnfit
from exporter.parity import check_parity, parity_report
from exporter.probe import PROBE
from exporter.providers import Provider
from exporter.runtime import Encoder, GreyPixelEncoder, load_encoder
from exporter.sessions import missing
from index.errors import InvalidInput
from index.space import Modality


def cuda_runs():
    return torch.cuda.is_available() and missing(Provider.CUDA) is None


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    return freeze(tmp_path_factory.mktemp("bundles") / "small").path


@pytest.fixture
def bundle(frozen, tmp_path):
    return shutil.copytree(frozen, tmp_path / "bundle")


def test_a_bundle_holds_all_forms_and_their_parity(frozen):
    manifest = read_bundle(frozen).manifest
    assert set(manifest.files) == set(Precision)
    assert manifest.image_hw == HW
    parity = manifest.parity
    assert parity["fp32"]["min_cosine"] >= 0.9999
    assert parity["fp16"]["min_cosine"] >= 0.999
    assert parity["int8"]["mean_cosine"] >= 0.985
    assert parity["images"] == 80
    for form in Precision:
        for figure in ("mean_ap", "mixed_mean_ap"):
            assert abs(parity[form][figure] - parity["fp32"]["mean_ap"]) <= 0.005
    sizes = {form: file.size_bytes for form, file in manifest.files.items()}
    assert sizes[Precision.INT8] != sizes[Precision.FP16] != sizes[Precision.FP32]


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


@pytest.mark.parametrize("form", ["int8", "fp16"])
@pytest.mark.parametrize(
    "figure",
    [{"mean_cosine": 0.98}, {"mean_cosine": float("nan")}, {"mean_ap": 0.594}, {"mixed_mean_ap": 0.606}],
)
def test_a_form_that_strays_is_refused(form, figure):
    fp32 = {"min_cosine": 1.0, "mean_cosine": 1.0, "mean_ap": 0.6, "mixed_mean_ap": 0.6}
    check_parity({"fp32": fp32, form: {**fp32, "mean_ap": 0.595, "mixed_mean_ap": 0.605}})
    with pytest.raises(BundleInvalid, match=form):
        check_parity({"fp32": fp32, form: {**fp32, **figure}})


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
    assert report["int8"]["mixed_mean_ap"] < report["int8"]["mean_ap"]


def test_only_the_asked_forms_are_kept(tmp_path):
    bundle = freeze(tmp_path / "bundle", precisions=[Precision.INT8])
    assert sorted(path.name for path in bundle.path.iterdir()) == [MANIFEST, "encoder.int8.onnx", PROBE]
    assert "fp32" in bundle.manifest.parity
    with pytest.raises(InvalidInput, match="not empty"):
        freeze(bundle.path)


@pytest.mark.parametrize("name", ["encoder.fp32.onnx", "encoder.fp16.onnx", "encoder.int8.onnx", PROBE])
def test_a_tampered_or_missing_file_is_refused_whatever_form_serves(bundle, name):
    file = bundle / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleInvalid, match=rf"{name} was changed after it was written"):
        load_encoder(bundle)
    file.unlink()
    with pytest.raises(BundleInvalid, match=f"lacks {name}"):
        load_encoder(bundle)


@pytest.mark.parametrize("change", [{"name": "other"}, {"parity": {}}, {"seal": "0" * 64}, {"dim": 7}])
def test_numbers_that_were_edited_are_refused(bundle, change):
    edit(bundle, change)
    with pytest.raises(BundleInvalid, match=r"bundle\.json was changed after it was written"):
        load_encoder(bundle)


def test_the_spacing_of_a_manifest_is_free(bundle):
    path = bundle / MANIFEST
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items()))))
    assert load_encoder(bundle).spec == load_encoder(bundle, "cpu", "fp32").spec


def test_a_graph_that_does_not_compute_what_was_trained_is_not_used(bundle, tmp_path):
    other = SmallNetwork()
    torch.nn.init.normal_(other.shared.weight)
    shutil.copy(freeze(tmp_path / "other", other).path / PROBE, bundle / PROBE)
    edit(bundle, {"probe": describe_file(bundle / PROBE).model_dump()}, sealed=True)
    with pytest.raises(ProviderUnfit, match="stray from the trained network"):
        load_encoder(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, "format"),
        ({"resample": "nearest"}, "resample filter 'nearest'"),
        ({"files": {}}, "files"),
        ({"files": {"int8": {"file": "../../x", "sha256": "0" * 64, "size_bytes": 1}}}, "file"),
    ],
)
def test_a_manifest_that_is_not_understood_is_refused(bundle, change, message):
    edit(bundle, change, sealed=True)
    with pytest.raises(BundleInvalid, match=message):
        read_bundle(bundle)


def test_no_bundle_and_no_manifest_are_told(tmp_path):
    with pytest.raises(BundleInvalid, match=r"no bundle\.json there"):
        read_bundle(tmp_path)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(BundleInvalid, match="not a manifest"):
        read_bundle(tmp_path)


def test_the_runtime_takes_what_suits_the_provider_or_what_is_asked(frozen):
    assert (load_encoder(frozen).provider, load_encoder(frozen).precision) == ("cpu", "int8")
    images, _, modality = people(3)
    lights = [BOTH[code] for code in modality]
    trained = vectors(SmallNetwork().eval(), images, modality)
    for precision, least in (("fp32", 0.99999), ("fp16", 0.999), ("int8", 0.985)):
        encoder = load_encoder(frozen, "cpu", precision)
        assert encoder.precision == precision
        assert encoder.spec == load_encoder(frozen).spec
        assert (encoder.encode(images, lights) * trained).sum(1).mean() > least


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_openvino_gives_what_was_trained(frozen, precision):
    pytest.importorskip("openvino")
    encoder = load_encoder(frozen, "openvino", precision)
    assert (encoder.provider, encoder.precision) == ("openvino", precision)
    images, _, modality = people()
    found = encoder.encode(images, [BOTH[code] for code in modality])
    trained = vectors(SmallNetwork().eval(), images, modality)
    assert (found * trained).sum(1).mean() > (0.9999 if precision == "fp32" else 0.985)


@pytest.mark.parametrize(
    ("provider", "precision", "message"),
    [
        (
            "abacus",
            "auto",
            "provider must be auto, tensorrt, onnx-tensorrt, cuda, openvino, cpu; got 'abacus'",
        ),
        ("cpu", "int4", "precision must be auto, fp32, fp16, bf16, int8; got 'int4'"),
        ("cpu", "bf16", r"needs another choice \(it runs int8, fp32, fp16\)"),
    ],
)
def test_a_choice_that_does_not_exist_is_told(frozen, provider, precision, message):
    with pytest.raises(InvalidInput, match=message):
        load_encoder(frozen, provider, precision)


def test_a_form_that_the_bundle_lacks_is_told(tmp_path):
    bundle = freeze(tmp_path / "bundle", precisions=[Precision.FP32]).path
    assert load_encoder(bundle).precision == "fp32"
    message = "needs the form int8; the bundle has fp32"
    with pytest.raises(ProviderUnfit, match=message):
        load_encoder(bundle, precision="int8")
    with pytest.raises(InvalidInput, match="built from the form fp16"):
        freeze(tmp_path / "other", precisions=[Precision.FP32], tensorrt=True)


def test_a_missing_openvino_is_named(frozen, monkeypatch):
    monkeypatch.setattr("exporter.openvino.find_spec", lambda _: None)
    with pytest.raises(ProviderUnfit, match=r"openvino is not installed; .*pip install '\.\[openvino\]'"):
        load_encoder(frozen, "openvino")


@pytest.mark.skipif(cuda_runs(), reason="CUDA runs here")
@pytest.mark.parametrize("provider", ["cuda", "onnx-tensorrt"])
def test_a_provider_that_does_not_run_is_never_claimed(frozen, monkeypatch, provider):
    with pytest.raises(ProviderUnfit, match=rf"'{provider}' does not run here: .*onnxruntime-gpu"):
        load_encoder(frozen, provider)
    # The GPU build names CUDA among its providers and falls back to the processor where it cannot load it.
    monkeypatch.setattr("exporter.sessions.missing", lambda _: None)
    here = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, providers: here(path, options, providers=["CPUExecutionProvider"]),
    )
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    assert load_encoder(frozen, "auto").provider == "cpu"
    with pytest.raises(ProviderUnfit, match=rf"'{provider}' does not run here: .*could not start it"):
        load_encoder(frozen, provider)


@pytest.mark.gpu
@pytest.mark.skipif(not cuda_runs(), reason="no CUDA device")
def test_cuda_gives_what_the_processor_gives(frozen):
    images, _, modality = people()
    lights = [BOTH[code] for code in modality]
    found, expected = (load_encoder(frozen, name).encode(images, lights) for name in ("cuda", "cpu"))
    assert (found * expected).sum(1).min() > 0.98


def test_a_call_alone_takes_all_cores_and_what_comes_meanwhile_one(monkeypatch, frozen):
    opened = []
    real = sessions._open
    monkeypatch.setattr(sessions, "_open", lambda *said, **more: opened.append(more) or real(*said, **more))
    sessions.open_onnx(frozen / "encoder.int8.onnx")
    assert [more["threads"] for more in opened] == [sessions._cores(), 1]

    inside, go = threading.Event(), threading.Event()

    def alone(images, codes):
        inside.set()
        assert go.wait(10)
        return "alone"

    run = sessions._by_company(alone, lambda images, codes: "beside")
    with ThreadPoolExecutor(1) as other:
        first = other.submit(run, None, None)
        assert inside.wait(10)
        assert run(None, None) == "beside"
        go.set()
        assert first.result(10) == "alone"
    assert run(None, None) == "alone"


def test_each_session_has_the_options_that_are_meant(monkeypatch, frozen):
    opened = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda *said, **more: opened.append(real(*said, **more)) or opened[-1],
    )
    sessions.open_onnx(frozen / "encoder.int8.onnx")
    taken = [session.get_session_options() for session in opened]
    assert [options.intra_op_num_threads for options in taken] == [sessions._cores(), 1]
    for options in taken:
        assert not options.enable_mem_pattern
        assert options.enable_cpu_mem_arena
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_call_that_fails_leaves_room_for_the_next():
    def fail(images, codes):
        raise ValueError("no")

    run = sessions._by_company(fail, lambda images, codes: "beside")
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            run(None, None)


def test_calls_that_meet_give_what_each_gives_alone(frozen):
    encoder = load_encoder(frozen)
    images = np.random.default_rng(3).integers(0, 255, (8, *encoder.image_hw, 3), dtype=np.uint8)
    light = [Modality.VISIBLE, Modality.INFRARED] * 4
    expected = encoder.encode(images, light)
    with ThreadPoolExecutor(4) as callers:
        for rows in callers.map(lambda _: encoder.encode(images, light), range(16)):
            np.testing.assert_allclose(rows, expected, atol=1e-5)


GROWTH = """
import os
import sys
import numpy as np
from pathlib import Path
from exporter.providers import Provider
from exporter.sessions import open_onnx

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

# One core, so that no call waits for another thread on a busy machine.
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
run = open_onnx(Path(sys.argv[1]))
rng = np.random.default_rng(0)
images, codes = np.zeros((32, 24, 12, 3), np.uint8), np.zeros(32, np.int64)
run(images, codes)
seen = []
for call in range(2000):
    count = int(rng.integers(1, 33))
    run(images[:count], codes[:count])
    seen.append(resident_mb())
print(seen[99], seen[-1])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_creep_with_varying_batches(frozen):
    model = str(frozen / "encoder.int8.onnx")
    done = subprocess.run([sys.executable, "-c", GROWTH, model], capture_output=True, text=True, check=True)
    early_mb, late_mb = map(float, done.stdout.split())
    assert late_mb - early_mb < 2


def test_the_shipped_bundle_is_whole_small_and_near_to_what_was_trained():
    bundle = read_bundle(default_bundle())
    bundle.check_files()
    assert sum(path.stat().st_size for path in bundle.path.iterdir()) <= 26_000_000
    check_parity(bundle.manifest.parity)
    assert "synthetic" in bundle.manifest.training_set
    encoder = load_encoder(default_bundle())
    height, width = encoder.image_hw
    embeddings = encoder.encode(np.zeros((2, height, width, 3), dtype=np.uint8), BOTH)
    assert np.isfinite(embeddings).all()


def edit(bundle, change, sealed=False):
    """Changes a manifest by hand; ``sealed`` gives it a seal that fits."""
    path = bundle / MANIFEST
    content = {**json.loads(path.read_text()), **change}
    if sealed:
        content["seal"] = seal(content)
    path.write_text(json.dumps(content))
