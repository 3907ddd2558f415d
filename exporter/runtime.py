"""Running a frozen encoder on ONNX Runtime; nothing here knows torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from exporter.bundle import MODALITY_CODE, Bundle, read_bundle
from exporter.errors import BundleInvalid
from index.errors import InvalidInput
from index.space import EmbeddingSpec, Modality, l2_normalise

PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
MAX_BATCH = 32


@runtime_checkable
class Encoder(Protocol):
    """From images of people to their embeddings, both modalities into one space."""

    spec: EmbeddingSpec
    image_hw: tuple[int, int]
    provider: str

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


def load_encoder(bundle: Path, provider: str = "auto") -> "OnnxEncoder":
    """Open the encoder of a bundle.

    Args:
        bundle: The bundle's folder.
        provider: ``auto`` (CUDA where present, else the processor), ``cuda`` or ``cpu``.

    Raises:
        BundleInvalid: The bundle is missing, damaged or tampered with.
        InvalidInput: The provider is unknown or not available here.
    """
    return OnnxEncoder(read_bundle(bundle), provider)


class OnnxEncoder:
    """The encoder of a bundle on ONNX Runtime; safe to call from several threads."""

    def __init__(self, bundle: Bundle, provider: str = "auto") -> None:
        self.image_hw = bundle.manifest.image_hw
        self.spec = EmbeddingSpec(bundle.manifest.dim, bundle.fingerprint)
        self._session, self.provider = _open_asked(bundle.model_path(), provider)

    def encode(self, images: NDArray[np.uint8], modality: Sequence[Modality]) -> NDArray[np.float32]:
        """Embed a batch; see ``Encoder.encode``."""
        codes = check_batch(images, modality, self.image_hw)
        if not len(images):
            return np.empty((0, self.spec.dim), dtype=np.float32)
        return encode_with(self._session, images, codes)


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


def encode_with(
    session: onnxruntime.InferenceSession, images: NDArray[np.uint8], codes: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Run checked images (N, H, W, 3) and modality codes (N,), N at least 1, in bounded batches."""
    parts = [
        session.run(
            ["embeddings"],
            {"images": images[start : start + MAX_BATCH], "modality": codes[start : start + MAX_BATCH]},
        )[0]
        for start in range(0, len(images), MAX_BATCH)
    ]
    return np.concatenate(parts)


def open_session(model: Path, provider: str) -> onnxruntime.InferenceSession:
    """Open an ONNX file on one of ``PROVIDERS``; ONNX Runtime takes the processor where that one fails.

    Raises:
        BundleInvalid: ONNX Runtime cannot read the file.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if provider == "cuda":
        # The wheel does not carry CUDA; its own packages do, and lie where no loader looks by itself.
        onnxruntime.preload_dlls()
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=[PROVIDERS[provider]])
    except Exception as error:  # ONNX Runtime's own errors share no base class
        raise BundleInvalid(f"ONNX Runtime cannot open {model}: {error}") from error


def _open_asked(model: Path, name: str) -> tuple[onnxruntime.InferenceSession, str]:
    """A session, and the provider that it truly runs on.

    Raises:
        InvalidInput: The provider is unknown, or was asked for by name and does not run here.
    """
    if name not in ("auto", *PROVIDERS):
        raise InvalidInput(f"provider must be auto, {', '.join(PROVIDERS)}; got {name!r}")
    built = [short for short, full in PROVIDERS.items() if full in onnxruntime.get_available_providers()]
    asked = built[0] if name == "auto" else name
    if asked in built:
        session = open_session(model, asked)
        running = next(short for short, full in PROVIDERS.items() if full == session.get_providers()[0])
        if name in ("auto", running):
            return session, running
    raise InvalidInput(
        f"provider {name!r} does not run here; this ONNX Runtime is built for {', '.join(built)}, and CUDA "
        "needs a device and its libraries (the extra [gpu]): choose another provider, or auto"
    )
