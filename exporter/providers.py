"""What can run an encoder, in which arithmetic, and which of them is taken."""

from collections.abc import Callable, Collection, Iterator
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from exporter.bundle import Precision
from exporter.errors import ProviderUnfit
from index.errors import InvalidInput

Run = Callable[[NDArray[np.uint8], NDArray[np.int64]], NDArray[np.float32]]
"""Images (N, H, W, 3) uint8 and modality codes (N,) int64, N at least 1, to unit rows (N, D)."""

AUTO = "auto"


class Provider(StrEnum):
    """What runs the encoder."""

    TENSORRT = "tensorrt"
    ONNX_TENSORRT = "onnx-tensorrt"
    CUDA = "cuda"
    OPENVINO = "openvino"
    CPU = "cpu"


class Arithmetic(StrEnum):
    """The number format in which the encoder is computed."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"


RUNS: dict[Provider, dict[Arithmetic, Precision]] = {
    Provider.TENSORRT: {Arithmetic.FP16: Precision.FP16},
    Provider.ONNX_TENSORRT: {Arithmetic.FP16: Precision.FP16, Arithmetic.FP32: Precision.FP32},
    Provider.CUDA: {
        Arithmetic.FP16: Precision.FP16,
        Arithmetic.FP32: Precision.FP32,
        Arithmetic.INT8: Precision.INT8,
    },
    Provider.OPENVINO: {
        Arithmetic.INT8: Precision.INT8,
        Arithmetic.FP32: Precision.FP32,
        Arithmetic.BF16: Precision.FP32,
        Arithmetic.FP16: Precision.FP16,
    },
    Provider.CPU: {
        Arithmetic.INT8: Precision.INT8,
        Arithmetic.FP32: Precision.FP32,
        Arithmetic.FP16: Precision.FP16,
    },
}
"""The arithmetics of each provider, the one to prefer first, and the form of the bundle that each takes."""

PREFERRED = (Provider.TENSORRT, Provider.CUDA, Provider.CPU, Provider.OPENVINO)
"""What ``auto`` tries. The processor comes before OpenVINO, which is no faster on the same int8 form and
strays on one whose first convolution is quantised (docs/encoder.md); onnx-tensorrt builds for minutes."""


def candidates(
    provider: str, precision: str, forms: Collection[Precision]
) -> Iterator[tuple[Provider, Arithmetic]]:
    """The ways to run a bundle with these forms that the caller allows, the best first.

    Args:
        provider: A provider by name, or ``auto``.
        precision: An arithmetic by name, or ``auto``.
        forms: What the bundle holds.

    Raises:
        InvalidInput: A name is unknown.
        ProviderUnfit: The bundle has no form for what is asked.
    """
    _check_name("provider", provider, Provider)
    _check_name("precision", precision, Arithmetic)
    found = [
        (one, arithmetic)
        for one in (PREFERRED if provider == AUTO else [Provider(provider)])
        for arithmetic, form in RUNS[one].items()
        if form in forms and precision in (AUTO, arithmetic)
    ]
    if not found:
        raise ProviderUnfit(
            f"provider '{provider}' in precision '{precision}' needs {_needed(provider, precision)}; "
            f"the bundle has {', '.join(sorted(forms))}: export that form, or choose another"
        )
    yield from found


def _check_name(what: str, name: str, known: type[StrEnum]) -> None:
    if name not in (AUTO, *known):
        raise InvalidInput(f"{what} must be auto, {', '.join(known)}; got {name!r}")


def _needed(provider: str, precision: str) -> str:
    """In words, the forms that could run what is asked for."""
    tables = RUNS.values() if provider == AUTO else [RUNS[Provider(provider)]]
    forms = {form for table in tables for name, form in table.items() if precision in (AUTO, name)}
    if not forms:
        runs = ", ".join(RUNS[Provider(provider)]) if provider != AUTO else ", ".join(Arithmetic)
        return f"another choice (it runs {runs})"
    return f"the form {' or '.join(sorted(forms))}"
