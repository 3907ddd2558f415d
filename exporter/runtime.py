"""Running a frozen encoder on what is present; nothing here knows torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from exporter import openvino, sessions, tensorrt
from exporter.bundle import MODALITY_CODE, Bundle, read_bundle
from exporter.errors import ProviderUnfit
from exporter.probe import check_probe
from exporter.providers import AUTO, RUNS, Arithmetic, Provider, Run, candidates
from exporter.sessions import MAX_BATCH
from index.errors import InvalidInput
from index.space import EmbeddingSpec, Modality, l2_normalise


@runtime_checkable
class Encoder(Protocol):
    """From images of people to their embeddings, both modalities into one space."""

    spec: EmbeddingSpec
    image_hw: tuple[int, int]

    def encode(self, images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
        """Embed a batch; the modalities may be mixed.

        Args:
            images: (N, H, W, 3) uint8 RGB, of ``image_hw``; N may be zero.
            modality: N modalities, one an image.

        Returns:
            (N, D) float32, rows of unit length.

        Raises:
            InvalidInput: Shape, dtype or number of modalities are not as said.
        """
        ...


def load_encoder(bundle: Path, provider: str = AUTO, precision: str = AUTO) -> "BundleEncoder":
    """Open the encoder of a bundle, all of whose files are checked first.

    Args:
        bundle: The bundle's folder.
        provider: ``auto`` (a fitting TensorRT engine, else CUDA, else the processor), ``tensorrt``,
            ``onnx-tensorrt``, ``cuda``, ``openvino`` or ``cpu``.
        precision: ``auto`` (what suits the provider), ``fp32``, ``fp16``, ``bf16`` or ``int8``.

    Raises:
        BundleInvalid: The bundle is missing, damaged or tampered with.
        InvalidInput: A name is unknown; ``ProviderUnfit`` where it does not run here.
    """
    opened = read_bundle(bundle)
    opened.check_files()
    return BundleEncoder(opened, provider, precision)


class BundleEncoder:
    """The encoder of a bundle; safe to call from several threads.

    Attributes:
        spec: What its vectors are.
        image_hw: Height and width in pixels of its input.
        provider: What runs it.
        precision: The arithmetic that it runs in.
    """

    def __init__(self, bundle: Bundle, provider: str = AUTO, precision: str = AUTO) -> None:
        """Open a bundle whose files were checked; raises as ``load_encoder``."""
        self.image_hw = bundle.manifest.image_hw
        self.spec = EmbeddingSpec(bundle.manifest.dim, bundle.fingerprint)
        self._run, opened, arithmetic = _open_best(bundle, provider, precision)
        self.provider: str = opened
        self.precision: str = arithmetic

    def encode(self, images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
        """Embed a batch; see ``Encoder.encode``."""
        codes = check_batch(images, modality, self.image_hw)
        if not len(images):
            return np.empty((0, self.spec.dim), dtype=np.float32)
        return encode_with(self._run, images, codes)


class GreyPixelEncoder:
    """The grey pixels themselves, mean removed: the weakest baseline, in memory, without a network.

    It serves as the floor in comparisons and as the encoder of tests. D is H x W + 1; the last
    component is a small constant, so that a uniform image has a direction too.
    """

    provider = "numpy"

    def __init__(self, image_hw: tuple[int, int] = (32, 16)) -> None:
        self.image_hw = image_hw
        height, width = image_hw
        self.spec = EmbeddingSpec(height * width + 1, f"grey-pixels-{height}x{width}")

    def encode(self, images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
        """Embed a batch; see ``Encoder.encode``."""
        check_batch(images, modality, self.image_hw)
        grey = images.astype(np.float64).mean(axis=3).reshape(len(images), self.spec.dim - 1) / 255
        centred = grey - grey.mean(axis=1, keepdims=True)
        return l2_normalise(np.pad(centred, ((0, 0), (0, 1)), constant_values=1e-3))


def check_batch(
    images: NDArray[np.uint8], modality: Sequence[Modality], image_hw: tuple[int, int]
) -> NDArray[np.int64]:
    """Check what ``Encoder.encode`` was given and return the modality codes (N,) int64.

    Raises:
        InvalidInput: Shape, dtype or number of modalities are not as said.
    """
    expected = (*image_hw, 3)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected:
        raise InvalidInput(f"images must be uint8 (N, {expected}), got {images.dtype} {images.shape}")
    if len(modality) != len(images):
        raise InvalidInput(f"expected one modality an image, got {len(modality)} for {len(images)} images")
    return np.array([MODALITY_CODE[Modality(one)] for one in modality], dtype=np.int64)


def encode_with(run: Run, images: NDArray[np.uint8], codes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Run checked images (N, H, W, 3) and modality codes (N,), N at least 1, in bounded batches."""
    starts = range(0, len(images), MAX_BATCH)
    return np.concatenate(
        [run(images[start : start + MAX_BATCH], codes[start : start + MAX_BATCH]) for start in starts]
    )


def open_form(bundle: Bundle, provider: Provider, arithmetic: Arithmetic) -> Run:
    """Open one way to run a bundle whose files were checked.

    Raises:
        ProviderUnfit: What it needs is not here; the message names it.
        BundleInvalid: The runtime cannot read the file.
    """
    model = bundle.model_path(RUNS[provider][arithmetic])
    if provider is Provider.TENSORRT:
        return tensorrt.open_engine(bundle)
    if provider is Provider.OPENVINO:
        return openvino.open_openvino(model, arithmetic)
    return sessions.open_onnx(model, provider, Path.home() / ".cache" / "peca" / bundle.fingerprint)


def _open_best(bundle: Bundle, provider: str, precision: str) -> tuple[Run, Provider, Arithmetic]:
    """The best way that runs here and computes the probe as the trained network does."""
    refusals = []
    for one, arithmetic in candidates(provider, precision, bundle.manifest.files):
        try:
            run = open_form(bundle, one, arithmetic)
            check_probe(bundle, run, RUNS[one][arithmetic])
        except ProviderUnfit as unfit:
            refusals.append(f"{one} {arithmetic}: {unfit}")
        else:
            return run, one, arithmetic
    raise ProviderUnfit(f"nothing that was asked for runs {bundle.path} here: {'; '.join(refusals)}")
