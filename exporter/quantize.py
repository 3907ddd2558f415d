"""From an fp32 ONNX file to an int8 one: static quantisation, calibrated on images."""

import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

_BATCH = 16
# Convolutions are nearly all of the work. Residual sums in int8 would gain a little time and lose a fifth
# of the remaining closeness; pooling and the neck are few operations, and powers of three need the range.
_QUANTISED = ("Conv",)


def write_int8(fp32: Path, int8: Path, images: NDArray[np.uint8], modality: NDArray[np.int64]) -> None:
    """Quantise the convolutions: weights per channel, activations by their observed range.

    Args:
        fp32: The file to quantise.
        int8: The file to write; an old one is replaced.
        images: (N, H, W, 3) uint8, images such as the encoder will see, both modalities.
        modality: (N,) int64, 0 visible and 1 infrared.
    """
    with TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        # Symbolic shape inference does not know this graph's operators; the plain one suffices.
        quant_pre_process(fp32, prepared, skip_symbolic_shape=True)
        logging.disable(logging.WARNING)
        try:
            quantize_static(
                prepared,
                int8,
                _Batches(images, modality),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_QUANTISED),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
        finally:
            logging.disable(logging.NOTSET)


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: NDArray[np.uint8], modality: NDArray[np.int64]) -> None:
        self._batches: Iterator[dict[str, NDArray[Any]]] = (
            {"images": images[start : start + _BATCH], "modality": modality[start : start + _BATCH]}
            for start in range(0, len(images), _BATCH)
        )

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._batches, None)
