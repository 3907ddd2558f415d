"""An ONNX file on ONNX Runtime: the processor, CUDA, or TensorRT behind it."""

import os
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from exporter.errors import BundleInvalid, ProviderUnfit
from exporter.providers import Provider, Run

MAX_BATCH = 32
_NAMES = {
    Provider.ONNX_TENSORRT: "TensorrtExecutionProvider",
    Provider.CUDA: "CUDAExecutionProvider",
    Provider.CPU: "CPUExecutionProvider",
}
_NEEDS = {
    Provider.ONNX_TENSORRT: "the package onnxruntime-gpu (the extra [gpu]), TensorRT's libraries (the extra "
    "[tensorrt]) and an NVIDIA GPU",
    Provider.CUDA: "the package onnxruntime-gpu, CUDA's libraries (the extra [gpu]) and an NVIDIA GPU",
}


def missing(provider: Provider) -> str | None:
    """What ``provider`` lacks as far as can be told without starting it."""
    if _NAMES[provider] in onnxruntime.get_available_providers():
        return None
    return f"this ONNX Runtime is built without it; {provider} needs {_NEEDS[provider]}"


def open_onnx(model: Path, provider: Provider = Provider.CPU, cache: Path | None = None) -> Run:
    """Open an ONNX file.

    On the processor a call that is alone takes all cores; calls that meet take one each, which is quicker for
    all together: on two cores, two calls of one thread give 1.25 times the images a second of one of two.

    Args:
        model: The file.
        provider: One of those that ONNX Runtime has.
        cache: Where TensorRT keeps what it builds; its default is not to keep it.

    Raises:
        ProviderUnfit: The provider is not built in, or cannot start here.
        BundleInvalid: ONNX Runtime cannot read the file.
    """
    lacking = missing(provider)
    if lacking is not None:
        raise ProviderUnfit(f"provider '{provider}' does not run here: {lacking}")
    if provider is Provider.CPU:
        return _by_company(*(_run_of(_open(model, provider, threads=count)) for count in (_cores(), 1)))
    session = _open(model, provider, cache)
    # ONNX Runtime falls back to the processor by itself where a provider cannot start.
    if session.get_providers()[0] != _NAMES[provider]:
        raise ProviderUnfit(
            f"provider '{provider}' does not run here: ONNX Runtime has it and could not start it; "
            f"it needs {_NEEDS[provider]}"
        )
    return _run_of(session)


def _by_company(alone: Run, beside: Run) -> Run:
    """Run by ``alone`` what finds nobody there, and by ``beside`` what comes meanwhile."""
    lock, inside = Lock(), 0

    def run(images: NDArray[np.uint8], codes: NDArray[np.int64]) -> NDArray[np.float32]:
        nonlocal inside
        with lock:
            inside += 1
            chosen = alone if inside == 1 else beside
        try:
            return chosen(images, codes)
        finally:
            with lock:
                inside -= 1

    return run


def _run_of(session: onnxruntime.InferenceSession) -> Run:
    def run(images: NDArray[np.uint8], codes: NDArray[np.int64]) -> NDArray[np.float32]:
        given = {"images": images, "modality": codes}
        embeddings: NDArray[np.float32] = session.run(["embeddings"], given)[0]
        return embeddings

    return run


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _open(
    model: Path, provider: Provider, cache: Path | None = None, threads: int = 0
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # A thread that waits for work by spinning takes the processor from the threads that bring it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A memory pattern is kept for each batch size that was ever seen; the arena alone is reused by all.
    options.enable_mem_pattern = False
    if provider is not Provider.CPU:
        # The wheel does not carry CUDA; its own packages do, and lie where no loader looks by itself.
        onnxruntime.preload_dlls()
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=_chosen(model, provider, cache))
    except Exception as error:  # ONNX Runtime's own errors share no base class
        raise BundleInvalid(f"ONNX Runtime cannot open {model}: {error}") from error


def _chosen(model: Path, provider: Provider, cache: Path | None) -> list[Any]:
    if provider is not Provider.ONNX_TENSORRT:
        return [_NAMES[provider]]
    height, width = image_hw(model)
    shapes = {
        what: f"images:{count}x{height}x{width}x3,modality:{count}"
        for what, count in (("min", 1), ("opt", MAX_BATCH // 4), ("max", MAX_BATCH))
    }
    settings: dict[str, Any] = {f"trt_profile_{what}_shapes": text for what, text in shapes.items()}
    settings["trt_fp16_enable"] = ".fp16." in model.name
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        for what in ("engine", "timing"):
            settings |= {f"trt_{what}_cache_enable": True, f"trt_{what}_cache_path": str(cache)}
    # What TensorRT cannot run goes to CUDA.
    return [(_NAMES[provider], settings), _NAMES[Provider.CUDA]]


def image_hw(model: Path) -> tuple[int, int]:
    """Height and width of what an ONNX file takes."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(model), options, providers=[_NAMES[Provider.CPU]])
    _, height, width, _ = session.get_inputs()[0].shape
    return int(height), int(width)
