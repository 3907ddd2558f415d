import numpy as np
import pytest

from index.errors import InvalidInput
from training.data.sampler import IdentitySampler

LABELS = np.repeat(np.arange(10), 12)
MODALITY = np.tile(np.repeat((0, 1), (8, 4)), 10)


def sampler(seed=0, identities=4, images=3):
    return IdentitySampler(LABELS, MODALITY, identities, images, seed)


def test_a_batch_holds_p_identities_with_k_images_of_each_modality():
    visible, infrared = sampler().batch(0, 0)
    assert (MODALITY[visible] == 0).all()
    assert (MODALITY[infrared] == 1).all()
    assert (LABELS[visible] == LABELS[infrared]).all()
    _, counts = np.unique(LABELS[visible], return_counts=True)
    assert counts.tolist() == [3, 3, 3, 3]
    assert len(set(visible)) == len(visible)


def test_an_epoch_shows_the_larger_modality_once():
    assert sampler().steps_per_epoch == 7  # ceil(80 visible images / 12)


def test_batches_depend_on_seed_epoch_and_step_alone():
    first, again = sampler().batch(3, 2), sampler().batch(3, 2)
    assert np.array_equal(first, again)
    for other in (sampler(seed=1).batch(3, 2), sampler().batch(2, 2), sampler().batch(3, 1)):
        assert not np.array_equal(first, other)


def test_images_repeat_only_where_there_are_too_few():
    visible, infrared = sampler(images=6).batch(0, 0)
    assert len(set(visible)) == len(visible)
    assert len(set(infrared)) < len(infrared)


def test_identities_of_one_modality_are_never_drawn():
    modality = MODALITY.copy()
    modality[LABELS == 3] = 0
    drawn = IdentitySampler(LABELS, modality, 9, 1, 0)
    assert 3 not in LABELS[drawn.batch(0, 0)[0]]
    assert IdentitySampler(LABELS, modality, 10, 1, 0).identities == 9
    modality[LABELS != 3] = 1
    with pytest.raises(InvalidInput, match=r"needs two identities seen in both modalities; .* has 0"):
        IdentitySampler(LABELS, modality, 10, 1, 0)
