"""The vectors of an embedded gallery in memory, searched by FAISS."""

from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.errors import MissingExtra
from index.scoring import best, cosine

try:
    import faiss
except ImportError as error:
    raise MissingExtra(
        "an embedded gallery needs FAISS; install it: pip install '.[cpu]' (or '.[gpu]') in PECA's checkout"
    ) from error

_SPARE = 32
_QUERIES_AT_ONCE = 256


class VectorIndex:
    """Unit vectors by their position in the order of adding; not safe to change while another thread reads.

    FAISS finds candidates in float32, whose sums are off by up to D * 2**-24; the candidates are then
    scored by the rule that every engine shares, so FAISS's own rounding never orders two images.

    Args:
        dim: Length D of a vector.
    """

    def __init__(self, dim: int) -> None:
        self._index = faiss.IndexFlatIP(dim)
        self._positions = np.empty(0, np.int64)
        self._margin = (dim + 1) * 2.0**-23

    @classmethod
    def read(cls, dim: int, count: int, read: Callable[[int], bytes]) -> Self:
        """The index that ``write`` wrote.

        Args:
            dim: Length D of a vector.
            count: How many vectors it holds.
            read: Gives the next so many bytes.

        Raises:
            ValueError: The bytes hold another index.
        """
        restored = cls(dim)
        restored._positions = np.frombuffer(read(8 * count), "<i8").astype(np.int64)
        index = faiss.read_index(faiss.PyCallbackIOReader(read))  # type: ignore[attr-defined]
        if not isinstance(index, faiss.IndexFlatIP) or (index.d, index.ntotal) != (dim, count):
            raise ValueError(f"expected a flat index of {count} vectors of {dim} numbers, got {index}")
        restored._index = index
        return restored

    def write(self, write: Callable[[bytes], object]) -> None:
        """Hand everything held to ``write``, piece by piece."""
        write(self._positions.astype("<i8").tobytes())
        faiss.write_index(self._index, faiss.PyCallbackIOWriter(write))  # type: ignore[attr-defined]

    @property
    def positions(self) -> NDArray[np.int64]:
        """(n,) the positions held, ascending."""
        return self._positions

    def append(self, positions: NDArray[np.int64], rows: NDArray[np.float32]) -> None:
        """Take in vectors.

        Args:
            positions: (n,) ascending, above every one held.
            rows: (n, D) unit rows.
        """
        self._index.add(rows)
        self._positions = np.concatenate([self._positions, positions])

    def remove(self, positions: NDArray[np.int64]) -> None:
        """Let go of the vectors at these positions; those behind them move up."""
        leaving = np.isin(self._positions, positions)
        self._index.remove_ids(_selector(leaving))
        self._positions = self._positions[~leaving]

    def search(
        self, queries: NDArray[np.float32], k: int, among: NDArray[np.int64] | None
    ) -> list[list[tuple[int, float]]]:
        """The ``k`` best positions for each query.

        Args:
            queries: (Q, D) unit rows.
            k: How many.
            among: (n,) positions to look at, those not held ignored; ``None`` for all.

        Returns:
            Q lists of (position, cosine), by cosine descending, then position.
        """
        allowed = np.ones(len(self._positions), bool) if among is None else np.isin(self._positions, among)
        answers = []
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            block = queries[start : start + _QUERIES_AT_ONCE]
            for query, rows in zip(block, self._candidates(block, k, allowed), strict=True):
                scores = cosine(query, self._index.reconstruct_batch(rows))
                chosen = best(scores, k)
                answers.append(
                    list(zip(self._positions[rows[chosen]].tolist(), scores[chosen].tolist(), strict=True))
                )
        return answers

    def _candidates(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]
    ) -> list[NDArray[np.int64]]:
        """For each query the rows, ascending, that hold its ``k`` best whatever FAISS's rounding did."""
        available = int(allowed.sum())
        everything = np.flatnonzero(allowed)
        candidates = [everything] * len(queries)
        pending = np.arange(len(queries))
        fetch = k + _SPARE
        options = None if allowed.all() else faiss.SearchParameters(sel=_selector(allowed))  # type: ignore[call-arg]
        while len(pending) and fetch < available:
            scores, rows = self._index.search(queries[pending], fetch, params=options)
            settled = scores[:, -1] < scores[:, k - 1] - self._margin
            for query, found in zip(pending[settled], rows[settled], strict=True):
                candidates[query] = np.sort(found)
            pending = pending[~settled]
            fetch *= 2
        return candidates


def _selector(chosen: NDArray[np.bool_]) -> "faiss.IDSelectorBitmap":
    """The rows where ``chosen`` (n,) is true, as FAISS takes them."""
    bits = np.packbits(chosen, bitorder="little")
    # FAISS's own Python layer takes an array here, which its type stub does not say.
    return faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]
