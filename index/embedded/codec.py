"""How vectors are held in memory in less space than they take on the disk, and what that costs.

Three codes stand for a vector of D numbers. One byte a number (scalar code) with a bound on its error, so
that what it cannot decide is known. Half a byte for every 32 or 64 and for every 4 numbers (product codes,
[PQ]; searched as in [Quick ADC]); how far these err is measured on the images that they stand for, so that
a search knows how deep it has to look.

What the quicker code costs is that all of it is read. Of the more than 1,024 numbers of a long vector it
stands for 64 at once, as far as it tells people apart then: where most of them are little alike.

[PQ]: Jegou, Douze, Schmid. Product quantization for nearest neighbor search. PAMI 2011.
[Quick ADC]: Andre, Kermarrec, Le Scouarnec. Accelerated nearest neighbor search with Quick ADC. ICMR 2017.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from index.embedded.optional_faiss import faiss

SAMPLE = 4096
"""How many vectors a codec is learnt from, at most."""

ZERO = 128
"""The scalar code of a zero."""

_WIDE, _NARROW, _FAITHFUL = 64, 32, 4
_LONG = 1024
_MOST, _UNLIKE = 0.999, 0.5
_BITS = 4
_ROUNDS = 10
_POINTS = 128
_PROBES = 256
_FEW_PROBES = 32
_NEAREST = 10
_QUANTILES = 1024
_HIGHEST = 127
_HEADROOM = 1.1
_SURE = 1.6


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a product code tells the cosines of some images.

    Its estimate of a cosine, divided by ``gain``, errs by about ``error``.

    Attributes:
        gain: The mean cosine of a vector with what its code stands for, times the latter's length.
        error: The standard deviation of an estimate from the cosine; of all pairs or of near ones,
            whichever is larger.
        spread: (1024,) ascending estimates of pairs drawn at random.
    """

    gain: float
    error: float
    spread: NDArray[np.float32]

    @classmethod
    def of(cls, rows: NDArray[np.float32], restored: NDArray[np.float32], probes: int) -> Self:
        """Measure it on (n, D) unit rows and what their codes stand for, with so many as queries."""
        gain = max(float(np.vecdot(rows, restored).mean()), 1e-6)
        asked = rows[np.linspace(0, len(rows) - 1, min(probes, len(rows))).astype(int)]
        true, guessed = asked @ rows.T, asked @ restored.T / gain
        nearest = np.argpartition(-true, min(_NEAREST, len(rows) - 1), axis=1)[:, 1 : _NEAREST + 1]
        errors = guessed - true
        near = np.take_along_axis(errors, nearest, axis=1)
        error = max(float(errors.std()), float(np.sqrt((near**2).mean())))
        spread = np.quantile(guessed, np.linspace(0, 1, _QUANTILES)).astype(np.float32)
        return cls(gain, error, spread)

    def floor(self, score: float) -> float:
        """The estimate that an image of cosine ``score`` hardly ever lies below."""
        return score - _SURE * self.error

    def ceiling(self, estimates: NDArray[np.float32], errors: float = _SURE) -> NDArray[np.float32]:
        """The cosines that images of these estimates hardly ever lie above: by so many errors."""
        return estimates + np.float32(errors * self.error)

    def share_above(self, estimate: float) -> float:
        """About which share of these images has a higher estimate."""
        return 1.0 - float(np.searchsorted(self.spread, estimate)) / len(self.spread)


@dataclass(frozen=True, slots=True)
class Tier:
    """One product code: a number of ``width`` neighbouring dimensions for each half byte.

    Attributes:
        quantiser: FAISS's ``ProductQuantizer``.
        error: ``Fit.error`` on images like those that it was learnt from.
    """

    quantiser: Any
    error: float

    @classmethod
    def learn(cls, rows: NDArray[np.float32], width: int) -> Self:
        """Learn from (n, D) unit rows; ``width`` divides D."""
        quantiser = faiss.ProductQuantizer(rows.shape[1], rows.shape[1] // width, _BITS)
        quantiser.cp.niter = _ROUNDS
        quantiser.cp.max_points_per_centroid = _POINTS
        quantiser.cp.min_points_per_centroid = 1
        # On what it has seen a code errs less; and every second image may be of the same light.
        seen, others = np.array_split(np.random.default_rng(0).permutation(rows), 2)
        quantiser.train(seen)
        quantiser.sync_transposed_centroids()  # FAISS encodes a third faster with them
        others = others if len(others) else rows
        restored = quantiser.decode(quantiser.compute_codes(others))
        return cls(quantiser, Fit.of(others, restored, _PROBES).error)

    @property
    def code_bytes(self) -> int:
        """Of one vector."""
        return int(self.quantiser.code_size)

    def tells_apart(self, rows: NDArray[np.float32]) -> bool:
        """Whether of (n, D) unit rows hardly one in a thousand may be as like another as one person's are."""
        asked, others = np.array_split(np.random.default_rng(1).permutation(rows), 2)
        codes = self.quantiser.compute_codes(others)
        fit = self.fit(others, codes)
        guesses = asked[:_PROBES] @ self.quantiser.decode(codes).T / fit.gain
        return float(fit.ceiling(np.quantile(guesses, [_MOST]))[0]) < _UNLIKE

    def fit(self, rows: NDArray[np.float32], codes: NDArray[np.uint8]) -> Fit:
        """How well it tells the cosines of (n, D) rows of (n, B) codes."""
        return Fit.of(rows, self.quantiser.decode(codes), _FEW_PROBES)


@dataclass(frozen=True, slots=True, eq=False)
class Codec:
    """What was learnt of a gallery's vectors.

    Attributes:
        dim: Length D of a vector.
        seen: How many images the gallery held then.
        last: The position of the last of them.
        scale: Steps of a scalar code in a unit.
        tiers: The product codes, from the quickest to the most faithful.
    """

    dim: int
    seen: int
    last: int
    scale: float
    tiers: tuple[Tier, ...]

    @classmethod
    def learn(cls, rows: NDArray[np.float32], seen: int, last: int) -> Self:
        """Learn from (n, D) unit rows, which should be of all parts of the gallery."""
        scale = _HIGHEST / (_HEADROOM * float(np.abs(rows).max()))
        dim = rows.shape[1]
        quick, faithful = _dividing(dim, _NARROW), _dividing(dim, _FAITHFUL)
        tiers = {width: Tier.learn(rows, width) for width in (quick, faithful)}
        if dim > _LONG and (wide := Tier.learn(rows, _dividing(dim, _WIDE))).tells_apart(rows):
            tiers[quick] = wide
        return cls(dim, seen, last, scale, tuple(tiers.values()))

    @property
    def farthest(self) -> float:
        """How far a vector is from its scalar code, at most, unless it lies beyond what these tell apart."""
        return 0.5 * float(np.sqrt(self.dim)) / self.scale

    def scalar(self, rows: NDArray[np.float32]) -> tuple[NDArray[np.uint8], float]:
        """The scalar codes (n, D) of unit rows, and how far a row is from its code, at most."""
        steps = np.clip(np.rint(rows * np.float32(self.scale)), -ZERO, _HIGHEST)
        errors = np.linalg.norm(rows - steps / np.float32(self.scale), axis=1)
        return (steps + ZERO).astype(np.uint8), float(errors.max(initial=0.0))

    def encode(self, rows: NDArray[np.float32]) -> tuple[NDArray[np.uint8], float, list[NDArray[np.uint8]]]:
        """``scalar`` of (n, D) unit rows, and their (n, B) codes of each tier."""
        codes, error = self.scalar(rows)
        return codes, error, [tier.quantiser.compute_codes(rows) for tier in self.tiers]

    def dump(self) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """What ``load`` needs: JSON's types, and arrays."""
        tiers = [{"width": tier.quantiser.dsub, "error": tier.error} for tier in self.tiers]
        arrays = [faiss.vector_to_array(tier.quantiser.centroids) for tier in self.tiers]
        told = {"dim": self.dim, "seen": self.seen, "last": self.last, "scale": self.scale, "tiers": tiers}
        return told, arrays

    @staticmethod
    def shape(dim: int) -> tuple[int, ...]:
        """Of each array that ``dump`` gives and ``load`` takes, one a tier."""
        return (dim * 2**_BITS,)

    @classmethod
    def load(cls, header: dict[str, Any], arrays: Sequence[NDArray[Any]]) -> Self:
        """The codec that ``dump`` gave.

        Raises:
            ValueError: The arrays are not of these sizes.
        """
        tiers = []
        for told, centroids in zip(header["tiers"], arrays, strict=True):
            quantiser = faiss.ProductQuantizer(header["dim"], header["dim"] // told["width"], _BITS)
            if centroids.shape != (quantiser.centroids.size(),):
                raise ValueError("the codes were learnt for vectors of another length")
            faiss.copy_array_to_vector(centroids.astype(np.float32), quantiser.centroids)
            quantiser.sync_transposed_centroids()
            tiers.append(Tier(quantiser, told["error"]))
        return cls(header["dim"], header["seen"], header["last"], header["scale"], tuple(tiers))


def _dividing(dim: int, width: int) -> int:
    """The largest number up to ``width`` that divides ``dim``."""
    return next(one for one in range(width, 0, -1) if dim % one == 0)
