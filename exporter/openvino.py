"""An ONNX file on OpenVINO, for Intel's and other processors."""

import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.errors import BundleInvalid, ProviderUnfit
from exporter.providers import Arithmetic, Run

_HINTS = {
    Arithmetic.FP32: "f32",
    Arithmetic.FP16: "f32",
    Arithmetic.BF16: "bf16",
    # The int8 form says itself which layers are quantised; the others keep their precision.
    Arithmetic.INT8: "f32",
}


def missing() -> str | None:
    """What OpenVINO lacks here."""
    if find_spec("openvino") is None:
        return (
            "the package openvino is not installed; install the extra: "
            "pip install '.[openvino]' in PECA's checkout"
        )
    return None


def open_openvino(model: Path, arithmetic: Arithmetic) -> Run:
    """Open an ONNX file on the processor.

    Raises:
        ProviderUnfit: OpenVINO is not installed.
        BundleInvalid: OpenVINO cannot read the file.
    """
    lacking = missing()
    if lacking is not None:
        raise ProviderUnfit(f"provider 'openvino' does not run here: {lacking}")
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": _HINTS[arithmetic], "PERFORMANCE_HINT": "LATENCY"}
    try:
        compiled = openvino.Core().compile_model(str(model), "CPU", settings)
    except RuntimeError as error:
        raise BundleInvalid(f"OpenVINO cannot open {model}: {error}") from error
    local = threading.local()

    def run(images: NDArray[np.uint8], codes: NDArray[np.int64]) -> NDArray[np.float32]:
        # A request holds the buffers of one call, so each thread has its own.
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
        found = local.request.infer({"images": images, "modality": codes})["embeddings"]
        return np.array(found, dtype=np.float32)

    return run
