"""The search for an int8 form that ranks as fp32 does: method and images of calibration, layers in float."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from exporter.errors import BundleInvalid
from exporter.parity import MAX_MAP_CHANGE, MIN_MEAN_COSINE
from exporter.quantize import Calibration, CalibrationImages, Quantiser

# Histograms take many times the work of extremes, and settle on fewer images.
_PLANS = ((Calibration.MINMAX, 512), (Calibration.PERCENTILE, 128), (Calibration.ENTROPY, 128))


@dataclass(frozen=True, slots=True)
class Closeness:
    """How near an int8 form comes to fp32 on the held-out images.

    Attributes:
        mean_cosine: Of the two vectors of an image.
        map_change: In [-1, 1].
    """

    mean_cosine: float
    map_change: float

    @property
    def suffices(self) -> bool:
        """Whether it may serve."""
        return self.mean_cosine >= MIN_MEAN_COSINE and abs(self.map_change) <= MAX_MAP_CHANGE


@dataclass(frozen=True, slots=True)
class Attempt:
    """One int8 form that was tried."""

    method: Calibration
    images: int
    in_float: tuple[str, ...]
    closeness: Closeness

    def as_json(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "method": self.method.value,
            "calibration_images": self.images,
            "layers_in_float": list(self.in_float),
            **asdict(self.closeness),
        }


def tune_int8(
    fp32: Path, int8: Path, seen: CalibrationImages, measure: Callable[[Path], Closeness]
) -> dict[str, Any]:
    """Write the first int8 form that suffices.

    The convolutions that see pixels stay in float: they are a small part of the work, slow in int8 for
    their three channels, and OpenVINO computes them wrongly where they are quantised. The methods are tried
    in turn; where none suffices, each convolution is put back into float alone, and then those that gain
    most together, 1, 2, 4 and so on.

    Args:
        fp32: The file to quantise.
        int8: The file to write.
        seen: Images of the training identities, both modalities.
        measure: Of an int8 file.

    Returns:
        ``chosen`` and all that was ``tried``, for the manifest.

    Raises:
        BundleInvalid: Nothing suffices.
    """
    with TemporaryDirectory() as folder:
        return _Search(Quantiser(fp32, Path(folder)), int8, seen, measure).run()


class _Search:
    def __init__(
        self,
        quantiser: Quantiser,
        int8: Path,
        seen: CalibrationImages,
        measure: Callable[[Path], Closeness],
    ) -> None:
        self._quantiser, self._int8, self._seen, self._measure = quantiser, int8, seen, measure
        # A network of stems alone has nothing else to quantise.
        whole = len(quantiser.stems) == len(quantiser.convolutions)
        self._always = () if whole else quantiser.stems
        self._tried: list[Attempt] = []

    def run(self) -> dict[str, Any]:
        for method, images in _PLANS:
            if self._try(method, images, self._always).closeness.suffices:
                return self._report()
        best = max(self._tried, key=lambda one: one.closeness.mean_cosine)
        order, count = self._by_gain(best), 1
        while count < len(order):
            in_float = (*self._always, *order[:count])
            if self._try(best.method, best.images, in_float).closeness.suffices:
                return self._report()
            count *= 2
        raise BundleInvalid(
            f"no int8 form comes near enough to fp32 (mAP within {MAX_MAP_CHANGE}, mean cosine at least "
            f"{MIN_MEAN_COSINE}); the nearest of {len(self._tried)}: {best.as_json()}; export without int8"
        )

    def _try(self, method: Calibration, images: int, in_float: tuple[str, ...]) -> Attempt:
        seen = self._seen.first(images)
        self._quantiser.write(self._int8, seen, method, in_float)
        self._tried.append(Attempt(method, len(seen.images), in_float, self._measure(self._int8)))
        return self._tried[-1]

    def _by_gain(self, base: Attempt) -> list[str]:
        """The quantised convolutions, the one first whose return to float gains most."""
        gains = {}
        for name in self._quantiser.convolutions:
            if name not in self._always:
                found = self._try(base.method, base.images, (*self._always, name))
                gains[name] = found.closeness.mean_cosine
        return sorted(gains, key=gains.__getitem__, reverse=True)

    def _report(self) -> dict[str, Any]:
        tried = [one.as_json() for one in self._tried]
        return {"chosen": tried[-1], "tried": tried}
