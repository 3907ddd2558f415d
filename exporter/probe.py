"""The probe of a bundle: drawn images with the trained network's vectors, to check the bundle anywhere."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.bundle import Bundle, Precision
from exporter.errors import BundleInvalid, ProviderUnfit
from exporter.parity import closeness
from exporter.providers import Run

PROBE = "probe.npz"
SLACK = 0.01
"""How much further than at export a runtime may stray: processors and runtimes round differently."""


@dataclass(frozen=True, slots=True)
class Probe:
    """P images that show nobody, and what the trained network says of them.

    Attributes:
        images: (P, H, W, 3) uint8.
        modality: (P,) int64, 0 visible and 1 infrared.
        trained: (P, D) float32 unit rows.
    """

    images: NDArray[np.uint8]
    modality: NDArray[np.int64]
    trained: NDArray[np.float32]


def write_probe(probe: Probe, path: Path) -> None:
    """Write a probe to ``path``."""
    np.savez_compressed(path, images=probe.images, modality=probe.modality, trained=probe.trained)


def read_probe(path: Path) -> Probe:
    """Read what ``write_probe`` wrote.

    Raises:
        BundleInvalid: The file is damaged.
    """
    try:
        with np.load(path) as arrays:
            return Probe(arrays["images"], arrays["modality"], arrays["trained"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BundleInvalid(f"{path} is not a probe: {error}; export the bundle again") from error


def check_probe(bundle: Bundle, run: Run, form: Precision) -> float:
    """Run the probe and compare with the trained network.

    Args:
        bundle: Whose files were checked.
        run: A way to run it.
        form: The form of the bundle that ``run`` takes.

    Returns:
        The mean cosine with the trained network.

    Raises:
        ProviderUnfit: The vectors are of another length, or further away than ``SLACK`` allows.
    """
    probe = read_probe(bundle.path / bundle.manifest.probe.file)
    found = run(probe.images, probe.modality)
    if found.shape != probe.trained.shape:
        raise ProviderUnfit(f"expected vectors {probe.trained.shape} of the probe, got {found.shape}")
    mean = closeness(found, probe.trained)[1]
    at_export = bundle.manifest.parity[form]["probe_mean_cosine"]
    # Put so that what is not a number fails.
    if not mean >= at_export - SLACK:
        raise ProviderUnfit(
            f"the vectors of the probe stray from the trained network: mean cosine {mean:.4f}, at export "
            f"{at_export:.4f}; choose another provider or precision"
        )
    return mean
