"""Grad-CAM of a match, against its definition by hooks on the whole network, and the draw of people."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from index.errors import InvalidInput
from index.space import Modality, l2_normalise
from training.checkpoint import BEST
from training.data.augment import normalise
from training.explain.cam import explain_people, similarity_cam
from training.explain.trained import TrainedEncoder, decode_samples, embed_samples, load_trained
from training.models.encoder import Stream
from training.models.network import Network

VISIBLE, INFRARED = Modality.VISIBLE, Modality.INFRARED


@pytest.fixture(scope="module")
def trained(shrink):
    """An encoder of random weights whose batch norms have seen images."""
    from training.recipe import load_recipe

    torch.manual_seed(0)
    network = Network(shrink(load_recipe("M1")).model, 4)
    for stream in Stream:
        network.encoder([(stream, torch.randn(8, 3, 48, 24))])
    encoder = network.encoder.eval().requires_grad_(False)
    return TrainedEncoder(encoder, (48, 24), "demo", 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def test_samples(sysu_tree):
    from training.datasets.reader import read_dataset

    return read_dataset("sysu", sysu_tree).test


def test_the_heat_is_each_place_s_share_of_the_similarity(trained):
    """Written out for GeM of power 3 and the BN-neck: what each place adds, channel by channel."""
    encoder, p = trained.encoder, 3.0
    images = torch.randn(3, 3, 48, 24)
    targets = functional.normalize(torch.randn(3, encoder.dim), dim=1)
    heat, cosine = similarity_cam(encoder, Stream.INFRARED, images, targets)
    with torch.no_grad():
        encoded = encoder([(Stream.INFRARED, images)])
    torch.testing.assert_close(cosine, functional.cosine_similarity(encoded.neck, targets))

    neck = encoder.neck
    slope = neck.weight.double() / (neck.running_var.double() + neck.eps).sqrt()
    for image in range(3):
        maps, feature = encoded.maps[image].double(), encoded.features[image].double()
        places = maps[0].numel()
        weight = targets[image].double() * slope / encoded.neck[image].norm().double()
        shares = torch.zeros(maps.shape[1:], dtype=torch.float64)
        for channel in range(len(maps)):
            of_feature = maps[channel] ** p / (places * feature[channel] ** (p - 1))
            shares += weight[channel] * (of_feature - neck.running_mean[channel].double() / places)
        assert float(shares.sum()) == pytest.approx(float(cosine[image]), abs=1e-3)
        torch.testing.assert_close(heat[image].double(), shares.clamp_min(0), rtol=1e-3, atol=1e-4)
    assert heat.max() > 0


def _striped(**parts):
    """A small encoder with three stripes and these parts, its batch statistics those of noise."""
    from training.models.encoder import Encoder
    from training.recipe import ModelRecipe

    torch.manual_seed(0)
    encoder = Encoder(ModelRecipe(backbone="resnet18", stripes=3, stripe_channels=8, **parts))
    for stream in Stream:
        encoder([(stream, torch.randn(8, 3, 96, 48))])
    return encoder.eval().requires_grad_(False)


def test_stripes_have_their_share():
    """A target that only the last stripe's part of the feature resembles is matched by the lowest rows."""
    encoder = _striped()
    images = torch.randn(2, 3, 96, 48)
    with torch.no_grad():
        neck = encoder([(Stream.VISIBLE, images)]).neck
        encoder.neck.running_mean.zero_()
        feature = encoder([(Stream.VISIBLE, images)]).neck
    targets = torch.zeros_like(neck)
    targets[:, -8:] = feature[:, -8:]
    heat, cosine = similarity_cam(encoder, Stream.VISIBLE, images, functional.normalize(targets, dim=1))
    assert (cosine > 0).all()
    assert heat[:, :4].sum() < 0.01 * heat[:, 4:].sum()


def test_the_shape_has_its_share():
    """A target that only the shape's lowest cells resemble is matched by the lowest rows."""
    encoder = _striped(whole=False, shape_cells=(6, 3), shape_channels=4)
    images = torch.randn(2, 3, 96, 48)
    with torch.no_grad():
        neck = encoder([(Stream.VISIBLE, images)]).neck
    targets = torch.zeros_like(neck)
    targets[:, -4 * 3 * 2 :] = neck[:, -4 * 3 * 2 :]
    heat, cosine = similarity_cam(encoder, Stream.VISIBLE, images, functional.normalize(targets, dim=1))
    assert heat.shape == (2, 6, 3)
    assert (cosine > 0).all()
    assert heat[:, 4:].sum() > 2 * heat[:, :4].sum()


def test_a_perfect_match_has_heat(trained):
    """The gradient of the cosine itself is zero there, and the map would show noise."""
    images = torch.randn(4, 3, 48, 24)
    with torch.no_grad():
        neck = trained.encoder([(Stream.VISIBLE, images)]).neck
    heat, cosine = similarity_cam(trained.encoder, Stream.VISIBLE, images, functional.normalize(neck, dim=1))
    assert cosine.tolist() == pytest.approx([1] * 4, abs=1e-5)
    assert (heat.sum(dim=(1, 2)) > 0.999).all()


def test_it_leaves_no_gradient_behind(trained):
    similarity_cam(
        trained.encoder, Stream.VISIBLE, torch.randn(1, 3, 48, 24), torch.ones(1, trained.encoder.dim)
    )
    assert all(parameter.grad is None for parameter in trained.encoder.parameters())


@pytest.mark.parametrize("against", [None, VISIBLE, INFRARED])
def test_each_image_is_matched_with_the_others_of_its_person(trained, test_samples, against):
    explained = explain_people(trained, test_samples, people=2, seed=3, against=against)
    assert [one.person_id for one in explained] == sorted({one.person_id for one in explained})
    assert len(explained) == 2
    for person in explained:
        for modality, one in ((VISIBLE, person.visible), (INFRARED, person.infrared)):
            assert (one.sample.person_id, one.sample.modality) == (person.person_id, modality)
            assert one.against is (against or modality.other)
            matched = [
                sample
                for sample in test_samples
                if sample.person_id == person.person_id
                and sample.modality is one.against
                and sample != one.sample
            ]
            target = l2_normalise(embed_samples(trained, matched).mean(axis=0))
            assert one.cosine == pytest.approx(
                float(embed_samples(trained, [one.sample])[0] @ target), abs=1e-4
            )
            assert (one.image == decode_samples([one.sample], (48, 24))[0]).all()
            assert one.heat.shape == (48, 24)
            assert 0 <= one.heat.min() <= one.heat.max() <= 1 + 1e-6


def test_the_draw_depends_on_the_seed_alone(trained, test_samples):
    def drawn(seed):
        people = explain_people(trained, test_samples, people=1, seed=seed)
        return [(one.visible.sample.source, one.infrared.sample.source) for one in people]

    assert drawn(5) == drawn(5)
    assert len({tuple(drawn(seed)) for seed in range(8)}) > 1
    everybody = explain_people(trained, test_samples, people=40)
    assert [one.person_id for one in everybody] == sorted({sample.person_id for sample in test_samples})


def test_people_without_the_images_are_not_drawn(trained, test_samples):
    first = test_samples[0].person_id
    others = [sample for sample in test_samples if sample.person_id != first or sample.modality is VISIBLE]
    everybody = explain_people(trained, others, people=40)
    assert first not in [one.person_id for one in everybody]
    day = [sample for sample in test_samples if sample.modality is VISIBLE]
    with pytest.raises(InvalidInput, match="needs a person with visible and infrared images; none of"):
        explain_people(trained, day, people=1)
    one_night = [
        next(sample for sample in test_samples if sample.modality is INFRARED and sample.person_id == first)
    ]
    with pytest.raises(InvalidInput, match="at least two infrared ones; none of 1"):
        explain_people(
            trained, [*filter(lambda s: s.person_id == first, day), *one_night], people=1, against=INFRARED
        )


def test_an_image_that_cannot_be_read_is_named(trained, test_samples, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no image")
    with pytest.raises(InvalidInput, match=r"bad\.jpg cannot be read"):
        embed_samples(trained, [replace(test_samples[0], path=bad)])


def test_the_encoder_comes_from_the_best_checkpoint(dataset, recipe, tmp_path):
    from training.options import TrainOptions
    from training.trainer import train

    train(TrainOptions(recipe, dataset, tmp_path, max_steps=2), lambda _: None)
    loaded = load_trained(tmp_path)
    assert (loaded.recipe, loaded.image_hw) == (recipe.name, (48, 24))
    assert not loaded.encoder.training
    state = torch.load(tmp_path / BEST, weights_only=True)["network"]
    for name, value in loaded.encoder.state_dict().items():
        assert torch.equal(value, state[f"encoder.{name}"])
    embeddings = embed_samples(loaded, dataset.test)
    image = torch.from_numpy(decode_samples(dataset.test[:1], (48, 24)))
    stream = Stream.VISIBLE if dataset.test[0].modality is VISIBLE else Stream.INFRARED
    with torch.no_grad():
        alone = functional.normalize(loaded.encoder([(stream, normalise(image))]).neck, dim=1)
    np.testing.assert_allclose(embeddings[0], alone[0].numpy(), atol=1e-4)
    with pytest.raises(InvalidInput, match="the device 'abacus' cannot be used"):
        load_trained(tmp_path, "abacus")
    with pytest.raises(InvalidInput, match="no checkpoint at"):
        load_trained(tmp_path / "nowhere")
