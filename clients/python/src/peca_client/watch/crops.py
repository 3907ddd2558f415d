"""Which pictures of a track are worth keeping: the sharpest few, some time apart."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

import cv2
import numpy as np
from numpy.typing import NDArray

from peca_client.models import Modality
from peca_client.watch.sources import Pixels

_JPEG_QUALITY = 95
_SHARPNESS_HEIGHT = 128
_MARGIN = 0.04
_COLOUR_FROM = 4.0


@dataclass(frozen=True, slots=True)
class Crop:
    """A person cut out of a frame, ready to be sent.

    Attributes:
        camera_id: The camera.
        track_id: The person's way past it.
        captured_at: When, UTC.
        modality: By which light.
        data: A JPEG file.
    """

    camera_id: str
    track_id: str
    captured_at: datetime
    modality: Modality
    data: bytes

    @property
    def image_id(self) -> str:
        """Made of the content: the same crop, made twice, is one image in the gallery."""
        about = f"{self.camera_id}\0{self.captured_at.isoformat()}\0".encode()
        return "watch-" + hashlib.sha256(about + self.data).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class CropRules:
    """Which crops are kept.

    Attributes:
        crops_per_track: Most crops of a track, or of each ``hold_s`` of a longer one.
        least_height: Pixels; a smaller person is tiny.
        least_sharpness: As ``sharpness`` tells; a crop below is blurred.
        apart_s: Least time between two crops of a track.
        hold_s: After so long the crops of a track are given away though it goes on.
    """

    crops_per_track: int = 3
    least_height: int = 64
    least_sharpness: float = 20.0
    apart_s: float = 0.5
    hold_s: float = 30.0


@dataclass(frozen=True, slots=True)
class _Candidate:
    pixels: Pixels
    captured_at: datetime
    modality: Modality
    sharpness: float


@dataclass
class CropPicker:
    """Holds the best crops of each live track.

    Attributes:
        rules: Which are kept.
        counts: Crops that were ``blurred`` or ``tiny``, and therefore dropped.
    """

    rules: CropRules
    counts: Counter[str] = field(default_factory=Counter)
    _held: dict[str, list[_Candidate]] = field(default_factory=dict)
    _since: dict[str, datetime] = field(default_factory=dict)

    def see(
        self, track_id: str, pixels: Pixels, box: NDArray[np.float32], now: datetime, modality: Modality
    ) -> None:
        """Look at a person in a frame, uint8 (H, W, 3), at a box of float32 (4,) in pixels."""
        self._since.setdefault(track_id, now)
        held = self._held.setdefault(track_id, [])
        if box[3] - box[1] < self.rules.least_height:
            self.counts["tiny"] += 1
            return
        crop = cut(pixels, box)
        sharp = sharpness(crop)
        if sharp < self.rules.least_sharpness:
            self.counts["blurred"] += 1
            return
        near = [one for one in held if abs((one.captured_at - now).total_seconds()) < self.rules.apart_s]
        if all(sharp > one.sharpness for one in near):
            kept = [one for one in held if all(one is not other for other in near)]
            kept.append(_Candidate(crop.copy(), now, modality, sharp))
            kept.sort(key=lambda one: -one.sharpness)
            self._held[track_id] = kept[: self.rules.crops_per_track]

    def due(self, now: datetime) -> list[str]:
        """Tracks whose crops were held for long enough."""
        return [
            track
            for track, since in self._since.items()
            if (now - since).total_seconds() >= self.rules.hold_s
        ]

    def tracks(self) -> list[str]:
        """The tracks that were seen and not yet taken."""
        return list(self._since)

    def take(self, camera_id: str, track_id: str) -> list[Crop]:
        """Give away the crops of a track, in the order of time."""
        del self._since[track_id]
        held = sorted(self._held.pop(track_id), key=lambda one: one.captured_at)
        return [
            Crop(camera_id, track_id, one.captured_at, one.modality, encode_jpeg(one.pixels)) for one in held
        ]


def cut(pixels: Pixels, box: NDArray[np.float32]) -> Pixels:
    """A box with a small margin, within the frame."""
    margin = _MARGIN * (box[2:] - box[:2])
    left, top = np.maximum(0, np.floor(box[:2] - margin)).astype(int)
    right, bottom = np.ceil(box[2:] + margin).astype(int)
    return pixels[top:bottom, left:right]


def sharpness(crop: Pixels) -> float:
    """Variance of the Laplacian of the grey crop at a height of 128 pixels, so that sizes compare.

    Pech-Pacheco et al., ICPR 2000.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    scale = _SHARPNESS_HEIGHT / grey.shape[0]
    size = (max(1, round(grey.shape[1] * scale)), _SHARPNESS_HEIGHT)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return float(cv2.Laplacian(cv2.resize(grey, size, interpolation=how), cv2.CV_64F).var())


def light_of(pixels: Pixels) -> Modality:
    """Infrared where a frame, uint8 (H, W, 3), has no colours, as cameras give it by night."""
    small = pixels[::8, ::8].astype(np.int16)
    colour = float((small.max(axis=2) - small.min(axis=2)).mean())
    return Modality.VISIBLE if colour >= _COLOUR_FROM else Modality.INFRARED


def encode_jpeg(pixels: Pixels) -> bytes:
    """A JPEG file of uint8 (H, W, 3), blue, green, red."""
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise ValueError(f"OpenCV could not write a JPEG of {pixels.shape}")
    return data.tobytes()
