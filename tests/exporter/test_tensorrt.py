"""TensorRT as far as it can be told without a GPU: what is missing, and which engine may be loaded."""

import sys
from types import ModuleType

import pytest
import torch
from small_encoder import freeze

from exporter import tensorrt
from exporter.bundle import BundleFile, BundleManifest, Engine, Precision, read_bundle, write_manifest
from exporter.errors import BundleInvalid, ProviderUnfit
from exporter.runtime import load_encoder

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")


def engine(**change):
    file = BundleFile(file=tensorrt.ENGINE, sha256="0" * 64, size_bytes=1)
    cache = BundleFile(file=tensorrt.TIMING_CACHE, sha256="0" * 64, size_bytes=1)
    built = {"tensorrt": "11.4.0", "gpu": "NVIDIA L4", **change}
    return Engine(engine=file, timing_cache=cache, batch=tensorrt.BATCH, **built)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "half"
    return freeze(folder, precisions=[Precision.FP32, Precision.FP16])


def absent(*packages):
    """``find_spec`` where these packages are not installed, and all others are."""
    return lambda name: None if name in packages else object()


@pytest.mark.parametrize("package", ["tensorrt", "cuda.bindings"])
def test_a_missing_package_is_named_with_the_extra_that_installs_it(bundle, tmp_path, monkeypatch, package):
    monkeypatch.setattr(tensorrt, "find_spec", absent(package))
    message = rf"the package {package} is not installed; .*pip install '\.\[tensorrt\]'"
    with pytest.raises(ProviderUnfit, match=message):
        load_encoder(bundle.path, "tensorrt")
    with pytest.raises(ProviderUnfit, match=message):
        freeze(tmp_path / "new", precisions=[Precision.FP16], tensorrt=True)
    assert not (tmp_path / "new").exists()


@without_gpu
def test_a_missing_gpu_is_named(bundle, monkeypatch):
    pytest.importorskip("cuda.bindings")
    monkeypatch.setattr(tensorrt, "find_spec", absent())
    with pytest.raises(ProviderUnfit, match="there is no NVIDIA GPU here"):
        load_encoder(bundle.path, "tensorrt")


@pytest.mark.parametrize(
    ("built", "message"),
    [
        (None, "the bundle has no engine"),
        (engine(tensorrt="10.9.0"), r"built for the TensorRT '10\.9\.0', here is '11\.4\.0'"),
        (engine(gpu="NVIDIA A100"), "built for the GPU 'NVIDIA A100', here is 'NVIDIA L4'"),
    ],
)
def test_an_engine_of_another_version_or_gpu_is_refused(built, message):
    tensorrt.check_engine(engine(), "11.4.0", "NVIDIA L4")
    with pytest.raises(ProviderUnfit, match=f"{message}.*--tensorrt"):
        tensorrt.check_engine(built, "11.4.0", "NVIDIA L4")


def test_a_bundle_without_a_fitting_engine_is_told_so_at_load(bundle, monkeypatch):
    package = ModuleType("tensorrt")
    package.__version__ = "11.4.0"
    monkeypatch.setitem(sys.modules, "tensorrt", package)
    monkeypatch.setattr(tensorrt, "missing", lambda: None)
    monkeypatch.setattr(tensorrt, "gpu_name", lambda: "NVIDIA L4")
    with pytest.raises(ProviderUnfit, match="the bundle has no engine"):
        load_encoder(bundle.path, "tensorrt")
    assert load_encoder(bundle.path).provider == "cpu"


def test_an_engine_is_a_file_of_the_bundle_like_the_others(bundle, tmp_path):
    with_engine = {**bundle.manifest.model_dump(), "engine": engine().model_dump()}
    for file in bundle.manifest.every_file():
        (tmp_path / file.file).write_bytes((bundle.path / file.file).read_bytes())
    write_manifest(tmp_path, BundleManifest(**with_engine))
    assert read_bundle(tmp_path).fingerprint == bundle.fingerprint
    with pytest.raises(BundleInvalid, match=f"lacks {tensorrt.ENGINE}"):
        load_encoder(tmp_path)
    (tmp_path / tensorrt.ENGINE).write_bytes(b"x")
    with pytest.raises(BundleInvalid, match=f"{tensorrt.ENGINE} was changed"):
        load_encoder(tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(tensorrt.missing() is not None, reason="no TensorRT, or no GPU")
def test_an_engine_gives_what_was_trained(tmp_path):
    made = freeze(tmp_path / "bundle", precisions=list(Precision), tensorrt=True)
    assert load_encoder(made.path).provider == "tensorrt"
