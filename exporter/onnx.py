"""From a torch module to an ONNX file."""

import io
import warnings
from contextlib import redirect_stderr
from pathlib import Path

import torch
from torch import nn

from exporter.errors import BundleInvalid

OPSET = 18


def write_onnx(module: nn.Module, image_hw: tuple[int, int], path: Path) -> None:
    """Write a frozen encoder to ``path``.

    The graph takes ``images`` uint8 (N, H, W, 3) and ``modality`` int64 (N,) with N free, and gives
    ``embeddings`` float32 (N, D).

    Args:
        module: In evaluation mode; ``forward(images, modality)`` returns the embeddings.
        image_hw: Height H and width W in pixels.
        path: The file; an old one is replaced.

    Raises:
        BundleInvalid: torch cannot write what the module does as a graph; the message quotes its reason.
    """
    images = torch.zeros((2, *image_hw, 3), dtype=torch.uint8)
    modality = torch.tensor([0, 1])
    count = torch.export.Dim("N", min=1, max=65536)
    # torch prints the whole graph where it fails; the error says the line.
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        # The exporter warns of its own and its packages' deprecations, which no caller can act on.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module,
                (images, modality),
                str(path),
                input_names=["images", "modality"],
                output_names=["embeddings"],
                dynamic_shapes={"images": {0: count}, "modality": {0: count}},
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise BundleInvalid(
                "this encoder cannot be written as ONNX: no branch may depend on the values of images, and "
                f"torch must know each operation in ONNX; it says: {_reason(error)}"
            ) from error


def _reason(error: Exception) -> str:
    """What torch says of its failure, without the pages of advice: the first line, and the line of code."""
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
    return " ".join(lines[:1] + [line for line in lines[1:] if line.startswith("Caused by")])
