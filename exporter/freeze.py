"""From a torch module to a bundle on disk: files, parity, manifest."""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from exporter.bundle import MANIFEST, Bundle, BundleFile, BundleManifest, Precision, file_sha256, read_bundle
from exporter.onnx import write_onnx
from exporter.parity import check_parity, parity_report
from exporter.preprocess import RESAMPLE
from exporter.quantize import write_int8
from exporter.runtime import encode_with, open_session
from index.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images that the encoder was not trained on, to measure parity with.

    Attributes:
        images: (N, H, W, 3) uint8.
        labels: (N,) int64 identities.
        modality: (N,) int64, 0 visible and 1 infrared; both occur.
        cameras: (N,) camera names.
        trained: (N, D) float32 unit rows, what the trained network says of them.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    modality: NDArray[np.int64]
    cameras: NDArray[np.str_]
    trained: NDArray[np.float32]


def write_bundle(
    module: nn.Module,
    out: Path,
    *,
    name: str,
    precisions: Collection[Precision],
    calibration: tuple[NDArray[np.uint8], NDArray[np.int64]],
    test: LabelledImages,
    recipe: dict[str, Any],
    training_set: str,
) -> Bundle:
    """Freeze ``module`` into a new bundle, or into none if it fails parity.

    Args:
        module: ``forward(images, modality)``, in evaluation mode.
        out: The bundle's folder; must not exist or be empty.
        name: The encoder's name.
        precisions: The forms to keep.
        calibration: Images (N, H, W, 3) uint8 and modality (N,) int64 for int8.
        test: Images to measure parity with.
        recipe: Of the training, for the manifest.
        training_set: In words, for the manifest.

    Raises:
        InvalidInput: ``out`` holds something, or no precision is asked for.
        BundleInvalid: A form strays from the trained network; nothing is written.
    """
    if not precisions:
        raise InvalidInput("expected at least one precision of fp32, int8")
    if out.exists() and any(out.iterdir()):
        raise InvalidInput(f"{out} is not empty; choose another folder")
    image_hw = (int(test.images.shape[1]), int(test.images.shape[2]))
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=".bundle-") as folder:
        work = Path(folder)
        # fp32 is always made: it is what int8 is calibrated on and compared with.
        paths = {Precision.FP32: work / "encoder.fp32.onnx"}
        write_onnx(module, image_hw, paths[Precision.FP32])
        if Precision.INT8 in precisions:
            paths[Precision.INT8] = work / "encoder.int8.onnx"
            write_int8(paths[Precision.FP32], paths[Precision.INT8], *calibration)
        frozen = {
            precision: encode_with(open_session(path, "cpu"), test.images, test.modality)
            for precision, path in paths.items()
        }
        report = parity_report(test.trained, frozen, test.labels, test.modality, test.cameras)
        check_parity(report)
        kept = {precision: path for precision, path in paths.items() if precision in precisions}
        manifest = BundleManifest(
            name=name,
            image_hw=image_hw,
            resample=RESAMPLE,
            dim=test.trained.shape[1],
            files={precision: _describe(path) for precision, path in kept.items()},
            recipe=recipe,
            training_set=training_set,
            parity=report,
            versions={package: version(package) for package in ("torch", "onnx", "onnxruntime")},
        )
        out.mkdir(exist_ok=True)
        for path in kept.values():
            shutil.copyfile(path, out / path.name)
        # The manifest comes last: a folder without one is not a bundle.
        (out / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return read_bundle(out)


def _describe(path: Path) -> BundleFile:
    return BundleFile(file=path.name, sha256=file_sha256(path), size_bytes=path.stat().st_size)
