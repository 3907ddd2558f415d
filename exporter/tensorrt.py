"""TensorRT engines by the package ``tensorrt``: built into a bundle on a GPU, checked and run on its like.

The engine is built from the fp16 form as a strongly typed network: TensorRT 11 knows no other kind, and
TensorRT 10 takes it too. Device memory goes through ``cuda.bindings``, so that nothing here needs torch.
Source: NVIDIA TensorRT, Python API reference (Builder, OnnxParser, ICudaEngine, IExecutionContext).
"""

import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.bundle import Bundle, BundleManifest, Engine, describe_file
from exporter.errors import BundleInvalid, ProviderUnfit
from exporter.providers import Run

ENGINE, TIMING_CACHE = "encoder.fp16.engine", "encoder.timing.cache"
BATCH = (1, 8, 32)
_INSTALL = "install the extra: pip install '.[tensorrt]' in PECA's checkout"


def missing() -> str | None:
    """What TensorRT lacks here: a package, or a GPU."""
    for package in ("tensorrt", "cuda.bindings"):
        try:
            absent = find_spec(package) is None
        except ModuleNotFoundError:  # of the package above it
            absent = True
        if absent:
            return f"the package {package} is not installed; {_INSTALL}"
    from cuda.bindings import runtime

    error, count = runtime.cudaGetDeviceCount()
    if error != runtime.cudaError_t.cudaSuccess or not count:
        return f"there is no NVIDIA GPU here, or its driver does not fit ({error.name})"
    return None


def check_engine(engine: Engine | None, tensorrt_version: str, gpu: str) -> Engine:
    """Check that an engine may be loaded here, and return it.

    Raises:
        ProviderUnfit: There is no engine, or it was built with another TensorRT or on another GPU.
    """
    again = "export the bundle again here with --tensorrt, or choose another provider"
    if engine is None:
        raise ProviderUnfit(f"provider 'tensorrt' does not run here: the bundle has no engine; {again}")
    for what, expected, found in (("TensorRT", engine.tensorrt, tensorrt_version), ("GPU", engine.gpu, gpu)):
        if expected != found:
            raise ProviderUnfit(
                f"provider 'tensorrt' does not run here: {engine.engine.file} was built for the {what} "
                f"{expected!r}, here is {found!r}; {again}"
            )
    return engine


def build_engine(fp16: Path, folder: Path, image_hw: tuple[int, int]) -> Engine:
    """Build an engine from the fp16 form for batches of 1 to 32, and keep it in ``folder``.

    Args:
        fp16: The ONNX file.
        folder: Gets the engine and its timing cache; a cache that lies there is used.
        image_hw: Height and width in pixels of the input.

    Raises:
        ProviderUnfit: TensorRT or a GPU is missing; the message says which.
        BundleInvalid: TensorRT cannot build the network; the message quotes its reason.
    """
    need()
    import tensorrt

    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(fp16.read_bytes()):
        reasons = "; ".join(str(parser.get_error(number)) for number in range(parser.num_errors))
        raise BundleInvalid(f"TensorRT cannot read {fp16.name}: {reasons}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape("images", *[(count, *image_hw, 3) for count in BATCH])
    profile.set_shape("modality", *[(count,) for count in BATCH])
    config.add_optimization_profile(profile)
    timings = folder / TIMING_CACHE
    cache = config.create_timing_cache(timings.read_bytes() if timings.is_file() else b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BundleInvalid(f"TensorRT cannot build an engine from {fp16.name}; its log on stderr says why")
    (folder / ENGINE).write_bytes(bytes(plan))
    timings.write_bytes(bytes(cache.serialize()))
    return Engine(
        engine=describe_file(folder / ENGINE),
        timing_cache=describe_file(timings),
        tensorrt=str(tensorrt.__version__),
        gpu=gpu_name(),
        batch=BATCH,
    )


def open_engine(bundle: Bundle) -> Run:
    """Load the engine of a bundle whose files were checked.

    Raises:
        ProviderUnfit: TensorRT, a GPU or a fitting engine is missing; the message says which.
        BundleInvalid: TensorRT refuses the engine.
    """
    need()
    import tensorrt

    engine = check_engine(bundle.manifest.engine, str(tensorrt.__version__), gpu_name())
    path = bundle.path / engine.engine.file
    runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
    loaded = runtime.deserialize_cuda_engine(path.read_bytes())
    if loaded is None:
        raise BundleInvalid(f"TensorRT cannot load {path}; export the bundle again here with --tensorrt")
    return _Running(loaded, bundle.manifest)


def gpu_name() -> str:
    """The name of the GPU that is used."""
    from cuda.bindings import runtime

    name: bytes = _done(runtime.cudaGetDeviceProperties(0)).name
    return name.split(b"\0")[0].decode()


class _Running:
    """An engine with the device memory of its largest batch; one call at a time."""

    def __init__(self, engine: Any, manifest: BundleManifest) -> None:
        from cuda.bindings import runtime

        self._engine = engine
        self._context = engine.create_execution_context()
        self._stream = _done(runtime.cudaStreamCreate())
        self._dim = manifest.dim
        self._lock = threading.Lock()
        pixels = manifest.image_hw[0] * manifest.image_hw[1] * 3
        largest = BATCH[-1]
        sizes = {"images": largest * pixels, "modality": largest * 8, "embeddings": largest * self._dim * 4}
        self._memory = {name: _done(runtime.cudaMalloc(size)) for name, size in sizes.items()}
        for name, address in self._memory.items():
            self._context.set_tensor_address(name, int(address))

    def __call__(self, images: NDArray[np.uint8], codes: NDArray[np.int64]) -> NDArray[np.float32]:
        from cuda.bindings import runtime

        kinds, out = runtime.cudaMemcpyKind, np.empty((len(images), self._dim), dtype=np.float32)
        given: dict[str, NDArray[Any]] = {
            "images": np.ascontiguousarray(images),
            "modality": np.ascontiguousarray(codes),
        }
        with self._lock:
            for name, array in given.items():
                self._context.set_input_shape(name, array.shape)
                self._copy(self._memory[name], array.ctypes.data, array.nbytes, kinds.cudaMemcpyHostToDevice)
            if not self._context.execute_async_v3(int(self._stream)):
                raise RuntimeError("TensorRT could not run the engine; its log on stderr says why")
            self._copy(out.ctypes.data, self._memory["embeddings"], out.nbytes, kinds.cudaMemcpyDeviceToHost)
            _done(runtime.cudaStreamSynchronize(self._stream))
        return out

    def _copy(self, to: Any, source: Any, size_bytes: int, kind: Any) -> None:
        from cuda.bindings import runtime

        _done(runtime.cudaMemcpyAsync(to, source, size_bytes, kind, self._stream))

    def __del__(self) -> None:
        from cuda.bindings import runtime

        for address in getattr(self, "_memory", {}).values():
            runtime.cudaFree(address)


def need() -> None:
    """Check that an engine can be built or run here.

    Raises:
        ProviderUnfit: A package or a GPU is missing; the message says which.
    """
    lacking = missing()
    if lacking is not None:
        raise ProviderUnfit(f"provider 'tensorrt' does not run here: {lacking}")


def _done(answer: tuple[Any, ...]) -> Any:
    """The value of a CUDA call that went well.

    Raises:
        RuntimeError: It did not; the message is CUDA's.
    """
    error, *values = answer
    if int(error):
        raise RuntimeError(f"CUDA refuses: {error.name}")
    return values[0] if values else None
