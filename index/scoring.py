"""The one rule by which every engine scores and ranks, so that their answers agree to the last bit."""

import numpy as np
from numpy.typing import NDArray

SAME_VECTOR = 0.999
"""Cosine from which two vectors of one image count as the same, so that an encoder may round anew."""


def cosine(query: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine similarity of one query to many rows.

    Each row's sum is taken by itself in float64 and rounded once, so a score does not depend on which
    other rows stand beside it, as it would in a matrix product.

    Args:
        query: (D,) unit vector.
        rows: (n, D) unit rows.

    Returns:
        (n,) float32 in [-1, 1].
    """
    exact = np.vecdot(rows.astype(np.float64), query.astype(np.float64))
    scores: NDArray[np.float32] = np.clip(exact, -1.0, 1.0).astype(np.float32)
    return scores


def best(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Where the ``k`` highest scores stand, highest first, equal ones in the order given.

    Args:
        scores: (n,) in the order of adding.
        k: How many at most.

    Returns:
        (min(n, k),) positions in ``scores``.
    """
    return np.argsort(-scores, kind="stable")[:k]
