"""Scalar codes' products with a query, which FAISS gives for a few rows at once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from index.embedded.codec import ZERO
from index.embedded.scorer import products
from index.space import l2_normalise


def drawn(dim: int, count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Codes of every byte, and a query."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, dim), np.uint8), l2_normalise(rng.standard_normal((1, dim)))[0]


def reference(
    codes: NDArray[np.uint8], rows: NDArray[np.int64], query: NDArray[np.float32]
) -> NDArray[np.float64]:
    """The same by NumPy, in double precision."""
    return (codes[rows].astype(np.float64) - ZERO) @ query.astype(np.float64)


@pytest.mark.parametrize("dim", [1, 7, 16, 24, 512, 2048])
def test_products_are_those_of_the_query_itself_in_the_rows_order(dim: int) -> None:
    codes, query = drawn(dim, 3000)
    for rows in (np.array([2999, 0, 17]), np.random.default_rng(1).permutation(3000), np.array([], np.int64)):
        found = products(codes, rows, query)
        assert found.dtype == np.float32
        # Sums of float32 differ by processor; a query that FAISS turned into bytes would be off by tenths.
        np.testing.assert_allclose(found, reference(codes, rows, query), rtol=0, atol=2e-3)


def test_threads_do_not_write_over_each_others_codes() -> None:
    drafts = [drawn(dim, 500, seed) for seed, dim in enumerate([64, 96] * 4)]
    rows = np.arange(500)

    def often(draft: tuple[NDArray[np.uint8], NDArray[np.float32]]) -> None:
        for _ in range(50):
            np.testing.assert_allclose(
                products(draft[0], rows, draft[1]), reference(draft[0], rows, draft[1]), atol=2e-3
            )

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(often, drafts))


def test_one_thread_serves_galleries_of_several_lengths() -> None:
    for dim in (64, 96, 64):
        codes, query = drawn(dim, 10, dim)
        rows = np.arange(10)
        np.testing.assert_allclose(products(codes, rows, query), reference(codes, rows, query), atol=2e-3)
