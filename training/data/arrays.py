"""The images of a data set, decoded once into one memory-mapped uint8 array file."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.bundle import MODALITY_CODE
from exporter.errors import ImageRefused
from exporter.preprocess import load_image
from index.errors import InvalidInput
from training.datasets.tree import DatasetInvalid, TreeImage

INDEX = "images.json"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ImageArray:
    """N labelled images in a decoded file.

    Attributes:
        pixels: (M, H, W, 3) uint8 RGB, the whole file, memory-mapped.
        rows: (N,) int64, where in ``pixels`` each image stands.
        labels: (N,) int64 in [0, C): identities in the order of ``identities``.
        modality: (N,) int64, 0 visible and 1 infrared.
        cameras: (N,) str.
        identities: The C person ids, sorted.
    """

    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    modality: NDArray[np.int64]
    cameras: NDArray[np.str_]
    identities: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images (n, H, W, 3) at ``positions`` in [0, N)."""
        return self.pixels[self.rows[positions]]

    def of(self, identities: Iterable[str]) -> "ImageArray":
        """The part that shows these identities, labelled anew from 0."""
        kept = tuple(sorted(identities))
        label_of = {person: label for label, person in enumerate(kept)}
        relabel = np.array([label_of.get(person, -1) for person in self.identities], dtype=np.int64)
        inside = relabel[self.labels] >= 0
        return ImageArray(
            self.pixels,
            self.rows[inside],
            relabel[self.labels[inside]],
            self.modality[inside],
            self.cameras[inside],
            kept,
        )


def decode_images(
    samples: Sequence[TreeImage], image_hw: tuple[int, int], folder: Path, progress: Progress | None = None
) -> ImageArray:
    """Decode ``samples`` into a file under ``folder``, or map the file of an earlier call.

    The file's name carries a fingerprint of paths, file sizes, times and ``image_hw``: a changed
    data set is decoded anew, and so is a file that was cut short.

    Args:
        samples: At least one labelled image.
        image_hw: Height and width in pixels.
        folder: Where the array file lives; made if missing.
        progress: Called with images done and in all.

    Raises:
        DatasetInvalid: There is no sample, or an image cannot be read; the message names it.
    """
    if not samples:
        raise DatasetInvalid("expected labelled images, got none")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"images-{_fingerprint(samples, image_hw)}.npy"
    if not _is_whole(path, (len(samples), *image_hw, 3)):
        _decode_to(path, samples, image_hw, progress)
    written = {"pixels": path.name, "labels": [_label(sample) for sample in samples]}
    (folder / INDEX).write_text(json.dumps(written), encoding="utf-8")
    return load_images(folder)


def load_images(folder: Path) -> ImageArray:
    """Map what ``decode_images`` last left in ``folder``; the data set itself is not needed.

    Raises:
        InvalidInput: There are no decoded images in it.
    """
    try:
        written = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        pixels = np.load(folder / written["pixels"], mmap_mode="r")
    except FileNotFoundError as error:
        raise InvalidInput(f"{folder} holds no decoded images ({error}); train into it first") from None
    except ValueError as error:
        raise InvalidInput(
            f"the decoded images in {folder} are damaged ({error}); delete its images* and train again"
        ) from None
    people, modality, cameras = zip(*written["labels"], strict=True)
    identities = tuple(sorted(set(people)))
    number = {person: label for label, person in enumerate(identities)}
    return ImageArray(
        pixels,
        np.arange(len(people)),
        np.array([number[person] for person in people], dtype=np.int64),
        np.array(modality, dtype=np.int64),
        np.array(cameras),
        identities,
    )


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    try:
        return bool(np.load(path, mmap_mode="r").shape == shape)
    except (FileNotFoundError, ValueError):
        return False


def _label(sample: TreeImage) -> tuple[str, int, str]:
    return sample.person_id, MODALITY_CODE[sample.modality], sample.camera_id


def _fingerprint(samples: Sequence[TreeImage], image_hw: tuple[int, int]) -> str:
    digest = hashlib.sha256(repr(image_hw).encode())
    for sample in samples:
        status = sample.path.stat()
        digest.update(f"{sample.source}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _decode_to(
    path: Path, samples: Sequence[TreeImage], image_hw: tuple[int, int], progress: Progress | None
) -> None:
    partial = path.with_suffix(".partial")
    array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=(len(samples), *image_hw, 3))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = pool.map(lambda sample: _decode(sample, image_hw), samples)
        for position, image in enumerate(decoded):
            array[position] = image
            if progress is not None:
                progress(position + 1, len(samples))
    array.flush()
    partial.replace(path)


def _decode(sample: TreeImage, image_hw: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        return load_image(sample.path, image_hw)
    except (ImageRefused, OSError) as error:
        raise DatasetInvalid(f"{sample.path} cannot be read: {error}") from error
