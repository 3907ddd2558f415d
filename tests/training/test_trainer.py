import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from index.errors import InvalidInput
from training.checkpoint import BEST, LAST, load_checkpoint
from training.data.arrays import decode_images, load_images
from training.datasets.tree import DatasetInvalid
from training.log import LOG
from training.losses.term import Need
from training.recipe import load_recipe, recipe_names
from training.trainer import ArithmeticForm, LossNotFinite, Trainer, TrainOptions, train


def run(recipe, dataset, out, **changes):
    events = []
    best = train(TrainOptions(recipe, dataset, out, **changes), events.append)
    return best, [event for event in events if "decoded" not in event.values]


def trainer_for(recipe, dataset, out, **changes):
    data = decode_images(dataset.train, recipe.data.image_hw, out)
    return Trainer(TrainOptions(recipe, dataset, out, **changes), data)


@pytest.mark.parametrize("name", recipe_names())
def test_each_recipe_takes_a_step_with_finite_gradients(name, shrink, dataset, tmp_path):
    trainer = trainer_for(shrink(load_recipe(name)), dataset, tmp_path)
    trainer.fill_memory()
    values = trainer.train_step()
    assert set(values) == {"loss", *trainer.recipe.losses, "lr", "images_per_s"}
    parameters = [*trainer.network.named_parameters(), *trainer.objective.named_parameters()]
    for parameter_name, parameter in parameters:
        unused = "stems.2" in parameter_name and Need.GENERATED not in trainer.objective.needs
        if parameter.requires_grad and not unused:
            assert parameter.grad is not None, parameter_name
            assert torch.isfinite(parameter.grad).all(), parameter_name


def test_a_run_learns_and_leaves_checkpoints_and_a_log(recipe, dataset, tmp_path):
    recipe = replace(recipe, optimiser=replace(recipe.optimiser, epochs=6, lr=0.001, warmup_epochs=0))
    best, events = run(recipe, dataset, tmp_path / "run")
    losses = [event.values["ce"] for event in events if "ce" in event.values]
    assert np.mean(losses[-9:]) < np.mean(losses[:9]) - 0.1
    lines = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert len(lines) == len(events)
    assert {"loss", "ce", "triplet", "lr", "images_per_s"} <= set(lines[0])
    scores = [line["val_map"] for line in lines if "val_map" in line]
    assert len(scores) == 6
    checkpoint = load_checkpoint(best)
    assert checkpoint.best_map == pytest.approx(max(scores))
    assert checkpoint.start == "from scratch"
    assert not set(checkpoint.identities) & set(checkpoint.held_out)


@pytest.mark.parametrize("name", ["demo", "PECA"])
@pytest.mark.parametrize("arithmetic", list(ArithmeticForm))
def test_the_step_after_a_resume_is_bitwise_the_step_without_it(shrink, dataset, tmp_path, name, arithmetic):
    recipe = shrink(load_recipe(name))
    trainer = trainer_for(recipe, dataset, tmp_path, arithmetic=arithmetic)
    trainer.fill_memory()
    for _ in range(3):
        trainer.train_step()
    trainer.checkpoint().save(tmp_path / LAST)
    trainer.train_step()

    resumed = trainer_for(recipe, dataset, tmp_path, arithmetic=arithmetic)
    resumed.restore(load_checkpoint(tmp_path / LAST))
    resumed.train_step()
    for name, value in trainer.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    assert torch.equal(trainer.memory.centroids, resumed.memory.centroids)


def test_the_memory_is_filled_before_the_first_step_and_follows_each(shrink, dataset, tmp_path):
    trainer = trainer_for(shrink(load_recipe("M3")), dataset, tmp_path)
    trainer.fill_memory()
    filled = trainer.memory.centroids.clone()
    norms = filled.norm(dim=2)
    assert torch.allclose(norms, torch.ones_like(norms), atol=1e-5)
    visible, infrared = trainer.sampler.batch(0, 0)
    trainer.train_step()
    moved = (trainer.memory.centroids != filled).any(2)
    seen = torch.zeros_like(moved)
    seen[0, trainer.data.labels[visible]] = True
    seen[1, trainer.data.labels[infrared]] = True
    assert torch.equal(moved, seen)


def test_local_images_leave_the_statistics_of_whole_images_alone(shrink, dataset, tmp_path):
    statistics = []
    for name in ("M3", "M4"):
        trainer = trainer_for(shrink(load_recipe(name)), dataset, tmp_path)
        trainer.fill_memory()
        trainer.train_step()
        buffers = trainer.network.named_buffers()
        statistics.append({key: value.clone() for key, value in buffers if "running" in key})
        assert trainer.network.encoder.training
    for name, value in statistics[0].items():
        assert torch.equal(value, statistics[1][name]), name


def test_max_steps_stops_at_a_checkpoint_and_resume_goes_on(recipe, dataset, tmp_path):
    _, first = run(recipe, dataset, tmp_path / "run", max_steps=2)
    assert [event.step for event in first if "loss" in event.values] == [1, 2]
    assert load_checkpoint(tmp_path / "run" / LAST).step == 2
    _, second = run(recipe, dataset, tmp_path / "run", max_steps=4, resume=True)
    assert [event.step for event in second if "loss" in event.values] == [3, 4]


def test_max_minutes_stops_at_a_checkpoint_within_an_epoch_and_resume_goes_on(recipe, dataset, tmp_path):
    _, first = run(recipe, dataset, tmp_path / "run", max_minutes=0)
    assert [event.step for event in first if "loss" in event.values] == [1]
    assert "val_map" in first[-1].values
    assert load_checkpoint(tmp_path / "run" / LAST).step == 1
    _, second = run(recipe, dataset, tmp_path / "run", max_steps=2, resume=True)
    assert [event.step for event in second if "loss" in event.values] == [2]


def test_tensorboard_reads_what_the_log_says(recipe, dataset, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(recipe, dataset, tmp_path / "run", max_steps=2)
    board = EventAccumulator(str(tmp_path / "run")).Reload()
    lines = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    for name in ("loss", "ce", "triplet", "lr", "val_map"):
        written = [(line["step"], line[name]) for line in lines if name in line]
        read = [(scalar.step, scalar.value) for scalar in board.Scalars(name)]
        assert read == [(step, pytest.approx(value)) for step, value in written]


def test_a_used_folder_is_not_overwritten(recipe, dataset, tmp_path):
    run(recipe, dataset, tmp_path / "run", max_steps=1)
    with pytest.raises(InvalidInput, match="holds a run already; add --resume"):
        run(recipe, dataset, tmp_path / "run")
    with pytest.raises(InvalidInput, match="no run to resume"):
        run(recipe, dataset, tmp_path / "other", resume=True)
    with pytest.raises(InvalidInput, match="has another recipe"):
        run(replace(recipe, losses={"ce": {"weight": 1.0}}), dataset, tmp_path / "run", resume=True)
    with pytest.raises(InvalidInput, match="has another seed"):
        run(recipe, dataset, tmp_path / "run", resume=True, seed=9)


def test_a_loss_that_is_not_finite_stops_the_run_by_name(recipe, dataset, tmp_path):
    trainer = trainer_for(recipe, dataset, tmp_path)
    with torch.no_grad():
        trainer.network.classifier.weight.fill_(torch.nan)
    before = trainer.network.encoder.neck.weight.clone()
    with pytest.raises(LossNotFinite, match="loss term 'ce' is nan at step 0"):
        trainer.train_step()
    assert torch.equal(trainer.network.encoder.neck.weight, before)


def test_pretrained_layers_learn_at_a_tenth_of_the_rate(recipe, dataset, tmp_path):
    import torchvision

    path = tmp_path / "weights.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    trainer = trainer_for(recipe, dataset, tmp_path, weights=path)
    trainer.train_step()
    rates = sorted(group["lr"] for group in trainer.optimiser.param_groups)
    assert rates == pytest.approx([0.1 * recipe.optimiser.rate(0), recipe.optimiser.rate(0)])
    assert trainer.checkpoint().start.startswith("weights.pth, ")


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / BEST
    with pytest.raises(InvalidInput, match="no checkpoint at"):
        load_checkpoint(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InvalidInput, match="not a readable checkpoint"):
        load_checkpoint(path)


def test_images_are_decoded_once_and_anew_when_they_change(dataset, tmp_path):
    calls = []
    first = decode_images(dataset.train, (48, 24), tmp_path, lambda done, of: calls.append(done))
    assert len(calls) == len(first)
    again = decode_images(dataset.train, (48, 24), tmp_path, lambda done, of: calls.append(done))
    assert len(calls) == len(first)
    assert np.array_equal(again.pixels, first.pixels)
    assert load_images(tmp_path).identities == first.identities
    decode_images(dataset.train, (24, 12), tmp_path, lambda done, of: calls.append(done))
    assert len(calls) == 2 * len(first)


def test_a_part_of_the_images_is_labelled_anew(dataset, tmp_path):
    whole = decode_images(dataset.train, (48, 24), tmp_path)
    kept = whole.identities[3:5]
    part = whole.of(kept)
    assert part.identities == kept
    assert set(part.labels) == {0, 1}
    rows = np.flatnonzero(whole.labels == 4)
    assert np.array_equal(part.take(np.flatnonzero(part.labels == 1)), whole.take(rows))


def test_an_unreadable_image_is_named(dataset, tmp_path):
    path = tmp_path / "cut.jpg"
    path.write_bytes(dataset.train[0].path.read_bytes()[:200])
    broken = replace(dataset.train[0], path=path)
    with pytest.raises(DatasetInvalid, match=r"cut\.jpg cannot be read"):
        decode_images([broken], (48, 24), tmp_path)
    with pytest.raises(DatasetInvalid, match="got none"):
        decode_images([], (48, 24), tmp_path)
