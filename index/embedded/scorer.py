"""Cosines of a few rows of scalar codes with a query that no code blurs.

FAISS computes them in one call: with several calls of NumPy, each of which lets another thread have Python,
two threads wait for each other longer than they compute.
"""

from threading import local

import numpy as np
from numpy.typing import NDArray

from index.embedded.codec import ZERO
from index.embedded.optional_faiss import faiss

_BYTES = 1 << 19
_STEPS = 255.0
_MIDDLE = 0.5


class _Scratch:
    """Memory of one thread for some codes of ``dim`` numbers, and FAISS's index of what stands there.

    New memory comes by the page, which takes longer than what is computed in it.
    """

    def __init__(self, dim: int) -> None:
        self.most = max(_BYTES // dim, 1)
        self._index = faiss.IndexScalarQuantizer(
            dim, faiss.ScalarQuantizer.QT_8bit_uniform, faiss.METRIC_INNER_PRODUCT
        )
        self._index.is_trained = True
        # A code c stands for the first of these numbers and (c + 1/2) / 255 of the second: so for c - ZERO.
        learnt = np.array([-ZERO - _MIDDLE, _STEPS], np.float32)
        faiss.copy_array_to_vector(learnt, self._index.sq.trained)
        self._index.codes.resize(self.most * dim)
        self._codes = faiss.rev_swig_ptr(self._index.codes.data(), self.most * dim).reshape(self.most, dim)

    def products(
        self, codes: NDArray[np.uint8], rows: NDArray[np.int64], query: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """(n,) of at most ``most`` rows of (N, D) codes, in steps, with (D,) ``query``."""
        count = len(rows)
        # NumPy checks each index by itself in another mode, and needs a copy of all it writes.
        np.take(codes, rows, axis=0, out=self._codes[:count], mode="clip")
        self._index.ntotal = count
        descending, places = self._index.search(query[np.newaxis], count)
        products = np.empty(count, np.float32)
        products[places[0]] = descending[0]
        return products


_OF_THREAD = local()


def products(
    codes: NDArray[np.uint8], rows: NDArray[np.int64], query: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The inner products of (D,) ``query`` with what rows of scalar codes stand for, in the codes' steps.

    Args:
        codes: (N, D) scalar codes.
        rows: (n,) which of them.
        query: (D,) unit vector.

    Returns:
        (n,) float32.
    """
    scratch = getattr(_OF_THREAD, "scratch", {})
    dim = codes.shape[1]
    if dim not in scratch:
        scratch = _OF_THREAD.scratch = {dim: _Scratch(dim)}
    mine = scratch[dim]
    found = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), mine.most):
        found[start : start + mine.most] = mine.products(codes, rows[start : start + mine.most], query)
    return found
