"""From an fp32 ONNX file to an int8 one: static quantisation, calibrated on images."""

import io
import logging
from contextlib import redirect_stdout
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import onnx
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


class Calibration(StrEnum):
    """How the range of an activation follows from what is seen of it."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    ENTROPY = "entropy"


_METHODS = {
    Calibration.MINMAX: CalibrationMethod.MinMax,
    Calibration.PERCENTILE: CalibrationMethod.Percentile,
    Calibration.ENTROPY: CalibrationMethod.Entropy,
}


@dataclass(frozen=True, slots=True)
class CalibrationImages:
    """Images such as the encoder will see, both modalities.

    Attributes:
        images: (N, H, W, 3) uint8.
        modality: (N,) int64, 0 visible and 1 infrared.
    """

    images: NDArray[np.uint8]
    modality: NDArray[np.int64]

    def first(self, count: int) -> "CalibrationImages":
        """The first ``count`` of them."""
        return CalibrationImages(self.images[:count], self.modality[:count])


class Quantiser:
    """Quantises one fp32 file; what it learns of the activations is kept in ``folder``."""

    def __init__(self, fp32: Path, folder: Path) -> None:
        self._folder = folder
        self._prepared = folder / "prepared.onnx"
        # Symbolic shape inference does not know this graph's operators; the plain one suffices.
        quant_pre_process(fp32, self._prepared, skip_symbolic_shape=True)
        graph = onnx.load(self._prepared).graph
        self.convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
        self.stems = _first_convolutions(graph)

    def write(
        self, int8: Path, seen: CalibrationImages, method: Calibration, in_float: tuple[str, ...]
    ) -> None:
        """Quantise the convolutions: weights per channel, activations by their observed range.

        Args:
            int8: The file to write; an old one is replaced.
            seen: Images to observe the ranges on; the same at each call with one method.
            method: How the ranges follow.
            in_float: Names of convolutions that stay as they are.
        """
        logging.disable(logging.WARNING)
        try:
            with redirect_stdout(io.StringIO()):  # the histograms print of their progress
                quantize_static(
                    self._prepared,
                    int8,
                    _Batches(seen),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=list(_QUANTISED),
                    nodes_to_exclude=list(in_float),
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    calibrate_method=_METHODS[method],
                    # Histograms hold all that a stride of images gives, so the stride is one batch.
                    extra_options={"CalibStridedMinMax": _BATCH if len(seen.images) % _BATCH == 0 else 1},
                    calibration_cache_path=self._folder / f"{method}.json",
                )
        finally:
            logging.disable(logging.NOTSET)


def _first_convolutions(graph: onnx.GraphProto) -> tuple[str, ...]:
    """The convolutions that no other one comes before: those that see pixels."""
    behind: set[str] = set()
    first = []
    for node in graph.node:
        follows = any(name in behind for name in node.input)
        if node.op_type == "Conv" and not follows:
            first.append(node.name)
        if node.op_type == "Conv" or follows:
            behind.update(node.output)
    return tuple(first)


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, seen: CalibrationImages) -> None:
        self._seen = seen
        self.set_range(0, len(seen.images))

    def __len__(self) -> int:
        return len(self._seen.images)

    def set_range(self, start_index: int, end_index: int) -> None:
        starts = range(start_index, end_index, _BATCH)
        self._parts = iter([slice(start, min(start + _BATCH, end_index)) for start in starts])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        part = next(self._parts, None)
        if part is None:
            return None
        return {"images": self._seen.images[part], "modality": self._seen.modality[part]}
