import socket
from contextlib import closing

import pytest
import torch
import torchvision
from torch.nn import functional

from index.errors import InvalidInput
from training.data.augment import normalise
from training.models.encoder import Encoder, Stream
from training.models.frozen import FrozenEncoder
from training.models.gem import GeneralisedMeanPool
from training.models.network import IMAGENET, Network, load_pretrained, read_weights
from training.models.nonlocal_block import NonLocalBlock
from training.models.shape import NeckWithShape, ShapeGrid
from training.models.stripes import StripePool
from training.recipe import Affinity, Backbone, Feature, ModelRecipe


def small(**changes):
    return ModelRecipe(backbone=Backbone.RESNET18, **changes)


def settled(encoder):
    """The encoder after a few batches, so that its running statistics mean something."""
    encoder.train()
    with torch.no_grad():
        for _ in range(20):
            encoder([(stream, torch.randn(8, 3, 48, 24)) for stream in Stream])
    return encoder.eval()


@pytest.mark.parametrize(("backbone", "dim"), [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)])
def test_each_backbone_has_its_dimension_and_keeps_the_last_resolution(backbone, dim):
    encoder = Encoder(ModelRecipe(backbone=Backbone(backbone)))
    encoded = encoder(
        [(Stream.VISIBLE, torch.randn(2, 3, 96, 48)), (Stream.INFRARED, torch.randn(1, 3, 96, 48))]
    )
    assert encoded.maps.shape == (3, dim, 6, 3)
    assert encoded.features.shape == encoded.neck.shape == (3, dim)


def test_resnet50_has_the_non_local_blocks_of_agw():
    encoder = Encoder(ModelRecipe())
    kinds = [
        ["N" if isinstance(block, NonLocalBlock) else "b" for block in stage] for stage in encoder.stages
    ]
    assert ["".join(stage) for stage in kinds] == ["bbb", "bbbNbN", "bbbbNbNbN", "bbb"]


def test_gem_lies_between_mean_and_maximum():
    maps = torch.rand(2, 5, 4, 3)
    mean, most = maps.mean((2, 3)), maps.amax((2, 3))
    assert torch.allclose(GeneralisedMeanPool(1.0)(maps), mean, atol=1e-6)
    pooled = GeneralisedMeanPool(3.0)(maps)
    assert torch.allclose(pooled, maps.double().pow(3).mean((2, 3)).pow(1 / 3).float(), atol=1e-6)
    assert (pooled > mean).all()
    assert (pooled < most).all()


@pytest.mark.parametrize("affinity", list(Affinity))
def test_a_non_local_block_begins_as_the_identity_and_then_mixes_positions(affinity):
    block = NonLocalBlock(8, affinity).eval()
    maps = torch.randn(2, 8, 4, 3)
    assert torch.equal(block(maps), maps)
    torch.nn.init.ones_(block.out[1].weight)
    changed = maps.clone()
    changed[:, :, 3, 2] += 1
    moved = (block(changed) - block(maps))[:, :, 0, 0]
    assert moved.abs().max() > 1e-4


def test_three_stages_give_half_the_channels_at_the_same_resolution():
    encoder = Encoder(ModelRecipe(last_stage=3))
    encoded = encoder([(Stream.VISIBLE, torch.randn(2, 3, 96, 48))])
    assert encoded.maps.shape == (2, 1024, 6, 3)
    assert encoded.neck.shape == (2, encoder.dim) == (2, 1024)
    with pytest.raises(ValueError, match="last_stage is 3"):
        ModelRecipe(last_stage=3, non_local=(0, 0, 0, 1))


def test_a_stripe_sees_its_own_rows_alone():
    pool = GeneralisedMeanPool(3.0)
    stripes = StripePool(pool, dim=8, stripes=3, channels=4)
    maps = torch.rand(2, 8, 6, 3)
    pooled = stripes(maps).view(2, 3, 4)
    assert torch.allclose(pooled[:, 1], pool(maps[:, :, 2:4]) @ stripes.reduce.weight.T, atol=1e-6)
    changed = maps.clone()
    changed[:, :, 4:] += 1
    moved = (stripes(changed).view(2, 3, 4) - pooled).abs().amax((0, 2))
    assert moved[:2].amax() == 0
    assert moved[2] > 0.1
    # Seven rows over three stripes: 0-2, 2-4 and 4-6.
    odd = torch.rand(1, 8, 7, 3)
    assert torch.allclose(stripes(odd)[0, :4], stripes.reduce(pool(odd[:, :, :3]))[0], atol=1e-6)


def test_the_shape_says_where_a_channel_answers_not_how_much():
    grid = ShapeGrid(dim=6, cells=(4, 2), channels=3)
    maps = torch.rand(2, 6, 8, 4)
    shape = grid(maps)
    cells = functional.adaptive_avg_pool2d(maps, (4, 2))
    rows = (cells - cells.mean((2, 3), keepdim=True)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(shape, (rows @ grid.reduce.weight.T).flatten(1))
    assert shape.shape == (2, grid.dim) == (2, 4 * 2 * 3)
    # A camera that answers more strongly everywhere changes nothing.
    brighter = maps + torch.rand(2, 6, 1, 1)
    torch.testing.assert_close(grid(brighter), shape, atol=1e-6, rtol=1e-5)


def test_the_neck_gives_the_shape_its_share():
    neck = NeckWithShape(dim=10, shape_dim=30, share=0.25)
    out = neck(torch.randn(8, 40))
    pooled, shape = out.split((10, 30), dim=1)
    torch.testing.assert_close(pooled.square().sum(1), torch.full((8,), 30.0))
    torch.testing.assert_close(shape.square().sum(1), torch.full((8,), 10.0))


def test_shape_and_stripes_alone_are_the_feature():
    encoder = settled(
        Encoder(small(stripes=4, stripe_channels=16, whole=False, shape_cells=(6, 3), shape_channels=8))
    )
    assert encoder.dim == 4 * 16 + 6 * 3 * 8
    images = torch.randint(0, 256, (3, 96, 48, 3), dtype=torch.uint8)
    modality = torch.tensor([0, 1, 0])
    rows = FrozenEncoder(encoder)(images, modality)
    for row, image, code in zip(rows, images, modality.tolist(), strict=True):
        neck = encoder([(Stream(code), normalise(image[None]))]).neck
        torch.testing.assert_close(functional.normalize(neck, dim=1)[0], row, atol=1e-5, rtol=1e-4)
    assert not encoder.neck.norm.bias.requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        assert encoder([(Stream.VISIBLE, normalise(images))]).metric.dtype == torch.float32
    with pytest.raises(ValueError, match="set stripes"):
        ModelRecipe(whole=False)
    with pytest.raises(ValueError, match="second stage"):
        ModelRecipe(backbone="mine:Net", non_local=(0, 0, 0, 0), shape_cells=(6, 3))


def test_stripes_join_the_feature_and_the_frozen_encoder():
    encoder = settled(Encoder(small(stripes=4, stripe_channels=16)))
    assert encoder.dim == 512 + 4 * 16
    images = torch.randint(0, 256, (3, 48, 24, 3), dtype=torch.uint8)
    frozen = FrozenEncoder(encoder)(images, torch.zeros(3, dtype=torch.int64))
    neck = encoder([(Stream.VISIBLE, normalise(images))]).neck
    assert torch.allclose(frozen, functional.normalize(neck, dim=1), atol=1e-4)


def test_the_streams_share_the_trunk_and_differ_in_the_stem():
    encoder = settled(Encoder(small()))
    images = torch.randn(2, 3, 48, 24)
    outputs = [encoder([(stream, images)]).neck for stream in Stream]
    assert not torch.allclose(outputs[0], outputs[1])
    encoder.stems[1].load_state_dict(encoder.stems[0].state_dict())
    assert torch.allclose(encoder([(Stream.INFRARED, images)]).neck, outputs[0])


def test_the_neck_has_no_trained_bias_and_the_classifier_none():
    network = Network(small(), 7)
    assert not network.encoder.neck.bias.requires_grad
    assert network.classifier.bias is None


@pytest.mark.parametrize("affinity", list(Affinity))
def test_the_frozen_encoder_says_what_the_encoder_says(affinity):
    encoder = settled(Encoder(small(affinity=affinity)))
    images = torch.randint(256, (5, 48, 24, 3), dtype=torch.uint8)
    modality = torch.tensor([0, 1, 1, 0, 1])
    with torch.no_grad():
        frozen = FrozenEncoder(encoder)(images, modality)
        alone = torch.cat(
            [
                encoder([(Stream(code), normalise(one[None]))]).neck
                for one, code in zip(images, modality.tolist(), strict=True)
            ]
        )
    assert torch.allclose(frozen, functional.normalize(alone, dim=1), atol=1e-4)


def test_the_frozen_encoder_leaves_no_batch_norm_but_the_neck():
    frozen = FrozenEncoder(Encoder(small()))
    norms = [name for name, module in frozen.named_modules() if "BatchNorm" in type(module).__name__]
    assert norms == ["encoder.neck"]


def test_pretrained_weights_fill_the_three_stems_and_the_trunk(tmp_path):
    torch.manual_seed(3)
    theirs = torchvision.models.resnet18(weights=None)
    path = tmp_path / "weights.pth"
    torch.save(theirs.state_dict(), path)
    encoder = Encoder(small())
    loaded = load_pretrained(encoder, path)
    for stem in encoder.stems:
        assert torch.equal(stem[0].weight, theirs.conv1.weight)
    # In layer2 the order is block, non-local, block, non-local.
    assert torch.equal(encoder.stages[1][2].conv1.weight, theirs.layer2[1].conv1.weight)
    assert torch.equal(encoder.stages[3][1].conv2.weight, theirs.layer4[1].conv2.weight)
    new = {name for name, _ in encoder.named_parameters()} - set(loaded)
    assert {name.split(".")[0] for name in new} == {"stages", "neck"}
    assert all("neck" in name or any(part in name for part in ("theta", "phi", ".g.", "out")) for name in new)


def test_a_partial_file_loads_what_it_has_and_a_foreign_one_is_refused(tmp_path):
    state = torchvision.models.resnet18(weights=None).state_dict()
    path = tmp_path / "partial.pth"
    torch.save({name: value for name, value in state.items() if not name.startswith("layer4")}, path)
    loaded = load_pretrained(Encoder(small()), path)
    assert loaded
    assert not any(name.startswith("stages.3") for name in loaded)
    torch.save({"something": torch.zeros(3)}, path)
    with pytest.raises(InvalidInput, match="no weight that fits"):
        load_pretrained(Encoder(small()), path)
    path.write_bytes(b"not weights")
    with pytest.raises(InvalidInput, match="not a readable state dictionary"):
        load_pretrained(Encoder(small()), path)


@pytest.mark.parametrize("feature", list(Feature))
def test_the_recipe_says_which_feature_the_metric_terms_see(feature):
    torch.manual_seed(0)
    encoder = Encoder(small(metric_feature=feature))
    images = torch.randn(8, 3, 48, 24)
    encoded = encoder([(Stream.VISIBLE, images[:4]), (Stream.INFRARED, images[4:])])
    assert encoded.metric is (encoded.neck if feature is Feature.NECK else encoded.features)
    # Why it matters: rectified features of different images point the same way until the neck centres them.
    unit = functional.normalize(encoded.metric, dim=1)
    between = (unit @ unit.T)[~torch.eye(8, dtype=torch.bool)].mean()
    assert between > 0.5 if feature is Feature.POOLED else between < 0.1


def test_a_checkpoint_of_a_run_starts_another_and_its_visible_stem_the_generated_one(tmp_path):
    ours, theirs = Encoder(small()), Network(small(), 3)
    torch.save({"recipe": {}, "network": theirs.state_dict()}, tmp_path / "best.pt")
    assert set(load_pretrained(ours, tmp_path / "best.pt")) == {name for name, _ in ours.named_parameters()}
    for stem in (Stream.VISIBLE, Stream.GENERATED):
        torch.testing.assert_close(ours.stems[stem][0].weight, theirs.encoder.stems[Stream.VISIBLE][0].weight)
    torch.testing.assert_close(ours.stages.state_dict(), theirs.encoder.stages.state_dict())


def test_imagenet_weights_come_from_where_torch_keeps_them(tmp_path, monkeypatch):
    theirs = torchvision.models.resnet18(weights=None)
    kept = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    kept.parent.mkdir(parents=True)
    torch.save(theirs.state_dict(), kept)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    encoder = Encoder(small())
    assert load_pretrained(encoder, IMAGENET)
    assert torch.equal(encoder.stages[0][0].conv1.weight, theirs.layer1[0].conv1.weight)


def test_imagenet_weights_that_cannot_be_fetched_name_the_file_to_give(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # A port that nobody listens on stands for a network without a way out.
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(
        InvalidInput,
        match=r"could not be fetched from https://download\.pytorch\.org/models/resnet18-f37072fd\.pth .*"
        r"refused.*; fetch that file .* --weights resnet18-f37072fd\.pth",
    ):
        read_weights(IMAGENET, Backbone.RESNET18)


def test_weights_that_are_none_are_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"there is no file .*absent\.pth to start from; give one, or"):
        read_weights(tmp_path / "absent.pth", Backbone.RESNET18)
    with pytest.raises(InvalidInput, match=r"no ImageNet weights of mine:Own; give a file"):
        read_weights(IMAGENET, "mine:Own")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InvalidInput, match="is no state dictionary: it holds a list"):
        read_weights(tmp_path / "list.pth", Backbone.RESNET18)


def test_a_file_named_imagenet_is_that_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": torch.zeros(3)}, "imagenet")
    assert list(read_weights(IMAGENET, Backbone.RESNET50)) == ["conv1.weight"]


def test_the_stride_moves_to_the_first_convolution_and_the_weights_stay():
    second, first = Encoder(ModelRecipe()), Encoder(ModelRecipe(stride_first=True))
    assert list(first.state_dict()) == list(second.state_dict())
    for encoder, strides in ((second, (1, 2)), (first, (2, 1))):
        block = encoder.stages[2][0]
        assert (block.conv1.stride[0], block.conv2.stride[0]) == strides
        assert encoder.stages[3][0].conv1.stride == encoder.stages[3][0].conv2.stride == (1, 1)
    first.load_state_dict(second.state_dict())
    images = torch.randn(1, 3, 96, 48)
    with torch.no_grad():
        ours, theirs = (one.eval()([(Stream.VISIBLE, images)]).maps for one in (first, second))
    assert ours.shape == theirs.shape
    assert not torch.allclose(ours, theirs)
