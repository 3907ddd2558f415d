"""From an fp32 ONNX file to an fp16 one."""

from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

# Powers and sums over many values leave fp16's range; pixels are divided by numbers that it rounds.
_IN_FLOAT = ("Pow", "ReduceMean", "ReduceL2", "Clip", "Div", "Sub", "MatMul", "Softmax")


def write_fp16(fp32: Path, fp16: Path) -> None:
    """Halve weights and activations of the convolutions; the outputs stay float32.

    Args:
        fp32: The file to convert.
        fp16: The file to write; an old one is replaced.
    """
    model = onnx.load(fp32)
    blocked = [*DEFAULT_OP_BLOCK_LIST, *_IN_FLOAT]
    onnx.save(convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked), fp16)
