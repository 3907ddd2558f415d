"""From a torch module to a bundle on disk: forms, parity, probe, manifest."""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from exporter import tensorrt
from exporter.bundle import Bundle, BundleManifest, Precision, describe_file, read_bundle, write_manifest
from exporter.flip import MirroredEncoder
from exporter.half import write_fp16
from exporter.onnx import write_onnx
from exporter.parity import check_parity, closeness, cross_modality_scores, parity_report
from exporter.preprocess import RESAMPLE
from exporter.probe import PROBE, Probe, write_probe
from exporter.quantize import CalibrationImages
from exporter.runtime import encode_with
from exporter.sessions import open_onnx
from exporter.tuning import Closeness, tune_int8
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


@dataclass(frozen=True, slots=True)
class BundlePlan:
    """What a bundle is to hold.

    Attributes:
        name: The encoder's name.
        precisions: The forms to keep.
        recipe: Of the training, for the manifest.
        training_set: In words, for the manifest.
        flip: Fold the mirrored view into the graph.
        tensorrt: Also build a TensorRT engine, on the GPU that is here.
    """

    name: str
    precisions: Collection[Precision]
    recipe: dict[str, Any]
    training_set: str
    flip: bool = False
    tensorrt: bool = False


def write_bundle(
    module: nn.Module,
    out: Path,
    plan: BundlePlan,
    *,
    calibration: CalibrationImages,
    test: LabelledImages,
    probe: Probe,
) -> Bundle:
    """Freeze ``module`` into a new bundle, or into none if it fails parity.

    Args:
        module: ``forward(images, modality)``, in evaluation mode.
        out: The bundle's folder; must not exist or be empty.
        plan: What it is to hold.
        calibration: Images for int8.
        test: Images to measure parity with, and what the trained network says of them, mirrored or not
            as the plan says.
        probe: Images that go into the bundle.

    Raises:
        InvalidInput: ``out`` holds something, or no precision is asked for, or TensorRT is missing.
        BundleInvalid: A form strays from the trained network; nothing is written.
    """
    if not plan.precisions:
        raise InvalidInput(f"expected at least one precision of {', '.join(Precision)}")
    if plan.tensorrt and Precision.FP16 not in plan.precisions:
        raise InvalidInput("a TensorRT engine is built from the form fp16; ask for that form too")
    if out.exists() and any(out.iterdir()):
        raise InvalidInput(f"{out} is not empty; choose another folder")
    if plan.tensorrt:
        tensorrt.need()
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=".bundle-") as folder:
        work = Path(folder)
        image_hw = (int(test.images.shape[1]), int(test.images.shape[2]))
        forms, quantisation = _write_forms(module, work, plan, image_hw, calibration, test)
        report = _parity(forms, test, probe)
        check_parity(report)
        write_probe(probe, work / PROBE)
        manifest = BundleManifest(
            name=plan.name,
            image_hw=image_hw,
            resample=RESAMPLE,
            dim=test.trained.shape[1],
            flip=plan.flip,
            files={one: describe_file(path) for one, path in forms.items() if one in plan.precisions},
            probe=describe_file(work / PROBE),
            engine=tensorrt.build_engine(forms[Precision.FP16], work, image_hw) if plan.tensorrt else None,
            recipe=plan.recipe,
            training_set=plan.training_set,
            parity=report,
            quantisation=quantisation,
            versions={package: version(package) for package in ("torch", "onnx", "onnxruntime")},
        )
        out.mkdir(exist_ok=True)
        for file in manifest.every_file():
            shutil.copyfile(work / file.file, out / file.file)
        # The manifest comes last: a folder without one is not a bundle.
        write_manifest(out, manifest)
    return read_bundle(out)


def _write_forms(
    module: nn.Module,
    work: Path,
    plan: BundlePlan,
    image_hw: tuple[int, int],
    calibration: CalibrationImages,
    test: LabelledImages,
) -> tuple[dict[Precision, Path], dict[str, Any] | None]:
    """Write the forms; fp32 always, since the others are made from it and compared with it."""
    paths = {
        precision: work / f"encoder.{precision}.onnx"
        for precision in Precision
        if precision in plan.precisions or precision is Precision.FP32
    }
    write_onnx(MirroredEncoder(module).eval() if plan.flip else module, image_hw, paths[Precision.FP32])
    fp32 = _embeddings(paths[Precision.FP32], test)
    # Before the search for int8, which takes minutes and compares with fp32.
    check_parity(
        parity_report(test.trained, {Precision.FP32: fp32}, test.labels, test.modality, test.cameras)
    )
    if Precision.FP16 in paths:
        write_fp16(paths[Precision.FP32], paths[Precision.FP16])
    if Precision.INT8 not in paths:
        return paths, None
    measure = partial(_closeness, test, fp32)
    return paths, tune_int8(paths[Precision.FP32], paths[Precision.INT8], calibration, measure)


def _parity(forms: dict[Precision, Path], test: LabelledImages, probe: Probe) -> dict[str, Any]:
    """``parity_report`` of the forms, and how near each comes to the trained network on the probe."""
    frozen = {precision: _embeddings(path, test) for precision, path in forms.items()}
    report = parity_report(test.trained, frozen, test.labels, test.modality, test.cameras)
    for precision, path in forms.items():
        found = encode_with(open_onnx(path), probe.images, probe.modality)
        report[precision.value]["probe_mean_cosine"] = round(closeness(found, probe.trained)[1], 6)
    return report


def _embeddings(model: Path, test: LabelledImages) -> NDArray[np.float32]:
    return encode_with(open_onnx(model), test.images, test.modality)


def _closeness(test: LabelledImages, fp32: NDArray[np.float32], int8: Path) -> Closeness:
    found = _embeddings(int8, test)
    _, mean = closeness(found, fp32)
    reference = cross_modality_scores(fp32, test.labels, test.modality, test.cameras)[1]
    changes = [
        cross_modality_scores(found, test.labels, test.modality, test.cameras, gallery)[1] - reference
        for gallery in (found, fp32)
    ]
    largest = changes[int(np.argmax(np.abs(changes)))]
    return Closeness(round(mean, 6), round(largest, 4))
