import numpy as np
import pytest

from index.errors import InvalidInput
from index.space import EmbeddingSpec, Modality, l2_normalise


def test_each_modality_is_the_others_other() -> None:
    assert Modality.VISIBLE.other is Modality.INFRARED
    assert Modality.INFRARED.other is Modality.VISIBLE


@pytest.mark.parametrize(("dim", "encoder"), [(0, "e"), (-1, "e"), (8, "")])
def test_a_spec_without_length_or_encoder_is_refused(dim: int, encoder: str) -> None:
    with pytest.raises(InvalidInput):
        EmbeddingSpec(dim, encoder)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_rows_come_back_as_float32_of_unit_length(dtype: type) -> None:
    rows = np.array([[3, 4], [0, -2]], dtype)
    units = l2_normalise(rows)
    assert units.dtype == np.float32
    np.testing.assert_allclose(units, [[0.6, 0.8], [0, -1]], atol=1e-7)


def test_one_vector_and_no_rows_keep_their_shapes() -> None:
    np.testing.assert_allclose(l2_normalise([0.0, 5.0]), [0, 1])
    assert l2_normalise(np.empty((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_length_does_not_matter_however_extreme(scale: float) -> None:
    np.testing.assert_allclose(l2_normalise(np.array([[3.0, 4.0]]) * scale), [[0.6, 0.8]], atol=1e-7)


@pytest.mark.parametrize("bad", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_a_vector_without_direction_is_refused(bad: list[float]) -> None:
    with pytest.raises(InvalidInput):
        l2_normalise([[1.0, 0.0], bad])
