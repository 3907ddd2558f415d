from dataclasses import replace

import pytest
import torch

from index.errors import InvalidInput
from training.blend import blend_run
from training.checkpoint import BEST, LAST, load_checkpoint
from training.data.arrays import load_images
from training.datasets.reader import read_dataset
from training.datasets.synthetic import write_tree
from training.datasets.tree import Layout
from training.models.network import Network
from training.options import TrainOptions
from training.recipe import parse_recipe
from training.trainer import train


@pytest.fixture(scope="module")
def finished(shrink, dataset, tmp_path_factory):
    """The weights that a run started from, and its folder."""
    from training.recipe import load_recipe

    folder = tmp_path_factory.mktemp("blend")
    recipe = replace(shrink(load_recipe("demo")), losses=load_recipe("M1").losses)
    torch.manual_seed(3)
    network = Network(recipe.model, 5)
    start = folder / "start.pt"
    encoder = network.encoder.state_dict()
    torch.save(_as_resnet(encoder), start)
    train(TrainOptions(recipe, dataset, folder / "run", weights=start, max_steps=2), lambda _: None)
    return start, folder / "run"


def _as_resnet(encoder):
    """The first stem and the trunk under torchvision's names, as far as ResNet-18 has no blocks between."""
    stem = {"0.0": "conv1", "0.1": "bn1"}
    named = {}
    for key, value in encoder.items():
        parts = key.split(".")
        if key.startswith("stems.0."):
            named[f"{stem['.'.join(parts[1:3])]}.{parts[3]}"] = value
        if key.startswith("stages.0."):
            named[f"layer1.{'.'.join(parts[2:])}"] = value
    return named


def weights(folder):
    return load_checkpoint(folder / BEST).network


SHARED = "encoder.stages.0.0.conv1.weight"
OWN = "encoder.stages.3.0.conv1.weight"


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_weights_lie_between_and_what_the_start_lacks_stays(finished, dataset, tmp_path, share):
    start, run = finished
    blend_run(run, start, tmp_path / "new", dataset, share=share)
    first, reached, new = torch.load(start), weights(run), weights(tmp_path / "new")
    assert not torch.equal(reached[SHARED], first["layer1.0.conv1.weight"])
    mixed = share * reached[SHARED] + (1 - share) * first["layer1.0.conv1.weight"]
    assert torch.allclose(new[SHARED], mixed, atol=1e-7)
    assert torch.equal(new[OWN], reached[OWN])
    assert torch.equal(new["classifier.weight"], reached["classifier.weight"])


def test_batch_norms_are_settled_on_the_training_images(finished, dataset, tmp_path):
    start, run = finished
    blend_run(run, start, tmp_path / "new", dataset, share=1.0)
    checkpoint = load_checkpoint(tmp_path / "new" / BEST)
    network = Network(parse_recipe(checkpoint.recipe).model, len(checkpoint.identities))
    network.load_state_dict(checkpoint.network)
    neck = network.encoder.neck
    assert neck.momentum == 0.1
    before = weights(run)["encoder.neck.running_mean"]
    assert not torch.allclose(neck.running_mean, before, rtol=0.01)
    # Of all training images at once, the features that reach the neck have the mean that it takes away.
    from training.validation import embed

    data = load_images(tmp_path / "new").of(checkpoint.identities)
    pooled = []
    embed(
        network.encoder.eval(),
        data,
        torch.device("cpu"),
        lambda encoded: pooled.append(encoded.features) or encoded.neck,
    )
    assert torch.allclose(torch.cat(pooled).mean(0), neck.running_mean, rtol=0.3, atol=0.3)


def test_another_image_size_stands_in_the_recipe_and_the_decoded_images(finished, dataset, tmp_path):
    start, run = finished
    found = blend_run(run, start, tmp_path / "new", dataset, share=0.5, image_hw=(64, 32))
    checkpoint = load_checkpoint(tmp_path / "new" / BEST)
    assert parse_recipe(checkpoint.recipe).data.image_hw == (64, 32)
    assert load_images(tmp_path / "new").pixels.shape[1:] == (64, 32, 3)
    assert checkpoint.best_map == found.mean_ap
    assert checkpoint.start.startswith("0.5 of a run from start.pt")
    assert not (tmp_path / "new" / LAST).exists()


def test_what_cannot_be_blended_is_said(finished, dataset, tmp_path):
    start, run = finished
    with pytest.raises(InvalidInput, match="share must be from 0 to 1"):
        blend_run(run, start, tmp_path / "new", dataset, share=1.5)
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "file").touch()
    with pytest.raises(InvalidInput, match="empty folder"):
        blend_run(run, start, tmp_path / "held", dataset, share=0.5)
    write_tree(tmp_path / "tree", Layout.SYSU, 5, 1, 0, image_hw=(48, 24))
    with pytest.raises(InvalidInput, match="the data set lacks"):
        blend_run(run, start, tmp_path / "new", read_dataset("sysu", tmp_path / "tree"), share=0.5)
