"""From a torch module to an ONNX file."""

import warnings
from pathlib import Path

import torch
from torch import nn

OPSET = 18


def write_onnx(module: nn.Module, image_hw: tuple[int, int], path: Path) -> None:
    """Write a frozen encoder to ``path``.

    The graph takes ``images`` uint8 (N, H, W, 3) and ``modality`` int64 (N,) with N free, and gives
    ``embeddings`` float32 (N, D).

    Args:
        module: In evaluation mode; ``forward(images, modality)`` returns the embeddings.
        image_hw: Height H and width W in pixels.
        path: The file; an old one is replaced.
    """
    images = torch.zeros((2, *image_hw, 3), dtype=torch.uint8)
    modality = torch.tensor([0, 1])
    count = torch.export.Dim("N", min=1, max=65536)
    with warnings.catch_warnings():
        # The exporter warns of its own and its packages' deprecations, which no caller can act on.
        warnings.simplefilter("ignore")
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
