"""From a training run to an encoder bundle."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from exporter.bundle import MODALITY_CODE, Bundle, Precision
from exporter.freeze import BundlePlan, LabelledImages, write_bundle
from exporter.probe import Probe
from exporter.quantize import CalibrationImages
from index.errors import InvalidInput
from index.space import l2_normalise
from training.checkpoint import BEST, load_checkpoint, restore
from training.data.arrays import ImageArray, load_images
from training.datasets.cameras import Spectrum, draw_camera
from training.datasets.people import draw_person
from training.datasets.rendering import render
from training.datasets.synthetic import picture_stream
from training.models.encoder import Encoder
from training.models.frozen import FrozenEncoder
from training.models.network import Network
from training.recipe import Recipe, parse_recipe
from training.validation import embed

_CALIBRATION_IMAGES = 512
_PROBE_PEOPLE = 4
_UNTRAINED_PEOPLE = 16


def freeze_run(
    run: Path,
    out: Path,
    *,
    name: str,
    precisions: Collection[Precision],
    flip: bool = False,
    tensorrt: bool = False,
    shape_share: float | None = None,
) -> Bundle:
    """Freeze the best checkpoint of a run.

    Calibration images are drawn from the training identities; parity is measured on all images
    of the held-out ones. The probe shows drawn people, so that no image of a real one is handed on.

    Args:
        run: The folder of `peca train`.
        out: The bundle's folder; must not exist or be empty.
        name: The encoder's name.
        precisions: The forms to keep.
        flip: Fold the mirrored view into the graph.
        tensorrt: Also build a TensorRT engine for the GPU that is here.
        shape_share: Of the embedding's squared length that the shape has, 0 to 1; by default the recipe's.

    Raises:
        InvalidInput: ``run`` holds no checkpoint or no decoded images, its encoder has no shape to share
            with, ``out`` holds something, or TensorRT is missing.
        BundleInvalid: A form strays from the trained network; nothing is written.
    """
    checkpoint = load_checkpoint(run / BEST)
    recipe = parse_recipe(checkpoint.recipe)
    if shape_share is not None:
        recipe = _with_shape_share(recipe, shape_share)
    data = load_images(run)
    network = Network(recipe.model, len(checkpoint.identities))
    restore(network, checkpoint.network, "network")
    plan = BundlePlan(
        name,
        precisions,
        {**recipe.as_dict(), "start": checkpoint.start, "epochs_done": checkpoint.epoch},
        checkpoint.training_set,
        flip=flip,
        tensorrt=tensorrt,
    )
    held_out, training = data.of(checkpoint.held_out), data.of(checkpoint.identities)
    return _freeze(network.encoder.eval(), out, plan, training, held_out)


def _with_shape_share(recipe: Recipe, share: float) -> Recipe:
    if recipe.model.shape_cells is None:
        raise InvalidInput(
            "this encoder has no shape to give a share of the embedding; leave --shape-share out"
        )
    if not 0 < share < 1:
        raise InvalidInput(f"the shape's share of the embedding must lie between 0 and 1, not be {share:g}")
    return replace(recipe, model=replace(recipe.model, shape_share=share))


def freeze_untrained(recipe: Recipe, out: Path, precisions: Collection[Precision]) -> Bundle:
    """Freeze a recipe's encoder as it is before training, to measure its speed; it knows nobody.

    Args:
        recipe: Whose network and image size are taken.
        out: The bundle's folder; must not exist or be empty.
        precisions: The forms to keep.

    Raises:
        BundleInvalid: A form strays from the network; nothing is written.
    """
    torch.manual_seed(0)
    encoder = Encoder(recipe.model).eval()
    drawn = _drawn_people(_UNTRAINED_PEOPLE, recipe.data.image_hw)
    plan = BundlePlan(f"untrained-{recipe.name}", precisions, recipe.as_dict(), "nothing: it is untrained")
    return _freeze(encoder, out, plan, drawn, drawn)


def _freeze(
    encoder: Encoder, out: Path, plan: BundlePlan, training: ImageArray, held_out: ImageArray
) -> Bundle:
    count = min(_CALIBRATION_IMAGES, len(training))
    chosen = np.random.default_rng(0).choice(len(training), count, replace=False)
    probe = _drawn_people(_PROBE_PEOPLE, (int(held_out.pixels.shape[1]), int(held_out.pixels.shape[2])))
    test = LabelledImages(
        held_out.take(np.arange(len(held_out))),
        held_out.labels,
        held_out.modality,
        held_out.cameras,
        _trained(encoder, held_out, plan.flip),
    )
    return write_bundle(
        FrozenEncoder(encoder).eval(),
        out,
        plan,
        calibration=CalibrationImages(training.take(chosen), training.modality[chosen]),
        test=test,
        probe=Probe(probe.pixels, probe.modality, _trained(encoder, probe, plan.flip)),
    )


def _trained(encoder: Encoder, data: ImageArray, flip: bool) -> NDArray[np.float32]:
    """What the trained network says of images: (N, D) float32 unit rows."""
    seen = embed(encoder, data, torch.device("cpu"))
    if not flip:
        return seen
    mirrored = replace(data, pixels=data.pixels[:, :, ::-1])
    return l2_normalise(seen + embed(encoder, mirrored, torch.device("cpu")))


def _drawn_people(count: int, image_hw: tuple[int, int]) -> ImageArray:
    """Synthetic people, each once by a visible and once by a near-infrared camera."""
    cameras = [
        draw_camera(0, number, spectrum)
        for number, spectrum in enumerate((Spectrum.VISIBLE, Spectrum.NEAR_INFRARED))
    ]
    shots = [(identity, camera) for identity in range(count) for camera in cameras]
    pixels = []
    for identity, camera in shots:
        picture = render(draw_person(0, identity), camera, picture_stream(0, identity, camera, 0), image_hw)
        upright = Image.fromarray(picture).convert("RGB")
        pixels.append(np.asarray(upright.resize(image_hw[::-1], Image.Resampling.BILINEAR)))
    return ImageArray(
        np.stack(pixels),
        np.arange(len(shots)),
        np.array([identity for identity, _ in shots]),
        np.array([MODALITY_CODE[camera.spectrum.modality] for _, camera in shots]),
        np.array([f"cam{MODALITY_CODE[camera.spectrum.modality]}" for _, camera in shots]),
        tuple(str(identity) for identity in range(count)),
    )
