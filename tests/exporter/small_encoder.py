"""A small network that the real exporter freezes, and the images that it is measured on."""

import numpy as np
import torch

from exporter.bundle import Precision
from exporter.freeze import BundlePlan, LabelledImages, write_bundle
from exporter.probe import Probe
from exporter.quantize import CalibrationImages
from index.space import Modality, l2_normalise

HW = (24, 12)
BOTH = [Modality.VISIBLE, Modality.INFRARED]


class SmallNetwork(torch.nn.Module):
    """A stem for each modality and a convolution for both, normalised."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.visible = torch.nn.Conv2d(3, 16, 5, stride=2)
        self.infrared = torch.nn.Conv2d(3, 16, 5, stride=2)
        self.shared = torch.nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, images, modality):
        pixels = images.permute(0, 3, 1, 2).float() / 255 - 0.5
        is_visible = (modality == 0)[:, None, None, None]
        maps = torch.where(is_visible, self.visible(pixels), self.infrared(pixels))
        return torch.nn.functional.normalize(self.shared(maps.relu()).relu().flatten(1), dim=1)


def people(count=20):
    """Rough images of ``count`` people, two in each modality, and their labels."""
    rng = np.random.default_rng(0)
    shapes = rng.integers(30, 220, size=(count, 6, 3, 1))
    labels = np.repeat(np.arange(count), 4)
    modality = np.tile([0, 0, 1, 1], count)
    images = shapes[labels].repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    noisy = images + rng.integers(-20, 20, size=images.shape)
    return noisy.clip(0, 255).astype(np.uint8), labels, modality


def vectors(module, images, modality, flip=False):
    """What a network says of images; with ``flip``, the mean with the mirror images, worked out here."""
    with torch.no_grad():
        seen = module(torch.from_numpy(images), torch.from_numpy(modality)).numpy()
        if not flip:
            return seen
        mirrored = module(torch.from_numpy(images[:, :, ::-1].copy()), torch.from_numpy(modality)).numpy()
    return l2_normalise(seen + mirrored)


def freeze(out, module=None, trained_by=None, precisions=tuple(Precision), **plan):
    module = (module or SmallNetwork()).eval()
    images, labels, modality = people()
    flip = plan.get("flip", False)
    trained = vectors(trained_by or module, images, modality, flip)
    cameras = np.where(modality == 0, "cam1", "cam3")
    return write_bundle(
        module,
        out,
        BundlePlan("small", precisions, {"name": "small"}, "nothing", **plan),
        calibration=CalibrationImages(images, modality),
        test=LabelledImages(images, labels, modality, cameras, trained),
        probe=Probe(images[:4], modality[:4], trained[:4]),
    )
