import numpy as np
import pytest

from index.scoring import best, cosine
from index.space import l2_normalise


@pytest.mark.parametrize("dim", [3, 512, 2048])
def test_a_score_is_exact_and_does_not_depend_on_the_rows_beside_it(dim: int) -> None:
    rows = l2_normalise(np.random.default_rng(0).standard_normal((300, dim)))
    scores = cosine(rows[0], rows)
    exact = [float(np.sum(row.astype(np.longdouble) * rows[0])) for row in rows]
    np.testing.assert_allclose(scores, exact, rtol=0, atol=2**-24)
    for i in range(300):
        assert cosine(rows[0], rows[i : i + 1])[0] == scores[i]
    assert scores.dtype == np.float32


def test_a_score_stays_within_one() -> None:
    rows = l2_normalise(np.random.default_rng(0).standard_normal((1000, 7)))
    own = np.array([cosine(row, row[np.newaxis])[0] for row in rows])
    assert own.max() <= 1
    assert own.min() > 1 - 1e-6


@pytest.mark.parametrize(("k", "expected"), [(1, [1]), (3, [1, 3, 0]), (4, [1, 3, 0, 2]), (9, [1, 3, 0, 2])])
def test_the_best_come_first_and_equals_in_the_order_given(k: int, expected: list[int]) -> None:
    scores = np.array([0.5, 0.9, -0.5, 0.9], np.float32)
    assert best(scores, k).tolist() == expected
