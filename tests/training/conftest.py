"""A small synthetic data set, written once, that trains in seconds."""

from dataclasses import replace

import pytest

from training.datasets.reader import read_dataset
from training.datasets.synthetic import write_tree
from training.datasets.tree import Layout
from training.recipe import load_recipe


@pytest.fixture(scope="session")
def sysu_tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("sysu")
    write_tree(root / "tree", Layout.SYSU, identities=14, images_per_camera=2, seed=1, image_hw=(48, 24))
    return root / "tree"


@pytest.fixture(scope="session")
def dataset(sysu_tree):
    return read_dataset(Layout.SYSU, sysu_tree)


@pytest.fixture(scope="session")
def shrink():
    """Makes of a recipe the same experiment on images and batches that a test can afford."""
    return _shrink


def _shrink(recipe):
    data = replace(recipe.data, image_hw=(48, 24), identities=4, images_per_modality=2, held_out=0.2)
    # Nothing is frozen, since a test has no weights to start from.
    model = replace(recipe.model, backbone="resnet18", frozen_stages=0)
    optimiser = replace(recipe.optimiser, epochs=2)
    return replace(recipe, data=data, model=model, optimiser=optimiser)


@pytest.fixture
def recipe():
    return replace(_shrink(load_recipe("demo")), losses=load_recipe("M1").losses)
