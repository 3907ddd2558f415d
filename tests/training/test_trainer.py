import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from index.errors import InvalidInput
from training.checkpoint import BEST, LAST, Checkpoint, load_checkpoint
from training.clock import Clock
from training.data.arrays import decode_images, load_images
from training.data.augment import normalise
from training.datasets.tree import DatasetInvalid
from training.log import LOG
from training.losses.ins import instance_contrastive
from training.losses.term import Need
from training.models.backbone import OwnBackbone
from training.models.encoder import Stream
from training.options import ArithmeticForm, TrainOptions
from training.recipe import load_recipe, recipe_names
from training.trainer import LossNotFinite, Trainer, train

TINY = f"{__name__}:Tiny"


class Tiny(OwnBackbone):
    """Two convolutions: what a test needs of an encoder that it takes many steps with."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.trunk = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.dim = 16


def with_tiny(recipe):
    return replace(
        recipe, model=replace(recipe.model, backbone=TINY, non_local=(0, 0, 0, 0), shape_cells=None)
    )


@pytest.fixture
def resnet(shrink):
    return replace(shrink(load_recipe("demo")), losses=load_recipe("M1").losses)


@pytest.fixture
def recipe(resnet):
    return with_tiny(resnet)


def run(recipe, dataset, out, **changes):
    events = []
    best = train(TrainOptions(recipe, dataset, out, **changes), events.append)
    return best, [event for event in events if "decoded" not in event.values and not event.run]


def logged(out):
    lines = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    return [line for line in lines if "run" not in line]


def trainer_with(losses, recipe, dataset, out, **changes):
    trainer = trainer_for(replace(recipe, losses=losses), dataset, out, **changes)
    trainer.fill_memory()
    return trainer


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
    recipe = replace(recipe, optimiser=replace(recipe.optimiser, epochs=6, lr=0.05, warmup_epochs=0))
    best, events = run(recipe, dataset, tmp_path / "run")
    losses = [event.values["ce"] for event in events if "ce" in event.values]
    assert np.mean(losses[-9:]) < np.mean(losses[:9]) - 0.1
    lines = logged(tmp_path / "run")
    assert len(lines) == len(events)
    assert {"loss", "ce", "triplet", "lr", "images_per_s", "time_left_s"} <= set(lines[0])
    left = [line["time_left_s"] for line in lines if "loss" in line]
    assert left[-1] == 0 < left[0]
    scores = [line["val_map"] for line in lines if "val_map" in line]
    assert len(scores) == 6
    checkpoint = load_checkpoint(best)
    assert checkpoint.best_map == pytest.approx(max(scores))
    assert checkpoint.start == "from scratch"
    assert not set(checkpoint.identities) & set(checkpoint.held_out)


@pytest.mark.parametrize("name", ["demo", "PECA"])
@pytest.mark.parametrize("arithmetic", [ArithmeticForm.FP32, ArithmeticForm.BF16])
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
    lines = logged(tmp_path / "run")
    for name in ("loss", "ce", "triplet", "lr", "time_left_s", "val_map"):
        written = [(line["step"], line[name]) for line in lines if name in line]
        read = [(scalar.step, scalar.value) for scalar in board.Scalars(name)]
        assert read == [(step, pytest.approx(value)) for step, value in written]


def test_a_used_folder_is_not_overwritten(recipe, dataset, tmp_path):
    run(recipe, dataset, tmp_path / "run", max_steps=1)
    with pytest.raises(InvalidInput, match="holds a run already; add --resume"):
        run(recipe, dataset, tmp_path / "run")
    with pytest.raises(InvalidInput, match="no run to resume"):
        run(recipe, dataset, tmp_path / "other", resume=True)
    with pytest.raises(InvalidInput, match="differs in its recipe"):
        run(replace(recipe, losses={"ce": {"weight": 1.0}}), dataset, tmp_path / "run", resume=True)
    with pytest.raises(InvalidInput, match="differs in its seed"):
        run(recipe, dataset, tmp_path / "run", resume=True, seed=9)


def test_a_loss_that_is_not_finite_stops_the_run_by_name(recipe, dataset, tmp_path):
    trainer = trainer_for(recipe, dataset, tmp_path)
    with torch.no_grad():
        trainer.network.classifier.weight.fill_(torch.nan)
    before = trainer.network.encoder.neck.weight.clone()
    with pytest.raises(LossNotFinite, match="loss term 'ce' is nan at step 1"):
        trainer.train_step()
    assert torch.equal(trainer.network.encoder.neck.weight, before)


def test_pretrained_layers_learn_at_a_share_of_the_rate(resnet, dataset, tmp_path):
    settings = replace(resnet.optimiser, pretrained_factor=0.1)
    resnet = replace(resnet, optimiser=settings)
    path = tmp_path / "weights.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    trainer = trainer_for(resnet, dataset, tmp_path, weights=path)
    trainer.train_step()
    rates = sorted(group["lr"] for group in trainer.optimiser.param_groups)
    assert rates == pytest.approx([settings.pretrained_factor * settings.rate(0), settings.rate(0)])
    assert trainer.checkpoint().start.startswith("weights.pth, ")


def test_frozen_stages_keep_the_weights_and_statistics_that_they_start_from(resnet, dataset, tmp_path):
    model = replace(resnet.model, stripes=2, whole=False, shape_cells=(6, 3), frozen_stages=2)
    recipe = replace(resnet, model=model)
    with pytest.raises(InvalidInput, match="--weights"):
        trainer_for(recipe, dataset, tmp_path)
    path = tmp_path / "weights.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    trainer = trainer_for(recipe, dataset, tmp_path, weights=path)
    encoder = trainer.network.encoder
    before = copy.deepcopy(encoder.state_dict())
    trainer.train_step()
    changed = {name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in changed} == {"stages", "stripes", "neck"}
    assert not [name for name in changed if name.startswith(("stages.0.", "stages.1."))]
    assert any(name.startswith("stages.2.") and "running_mean" in name for name in changed)


def test_the_shape_starts_from_the_axes_of_the_training_images(resnet, dataset, tmp_path):
    """As a singular value decomposition of the same cells finds them; a later run keeps them."""
    recipe = replace(resnet, model=replace(resnet.model, whole=True, shape_cells=(3, 2), shape_channels=4))
    trainer = trainer_for(recipe, dataset, tmp_path)
    encoder = trainer.network.encoder.eval()
    shape, data, cells = encoder.shape, trainer.data, []
    with torch.no_grad():
        for row in range(len(data)):
            images = normalise(torch.from_numpy(data.take(np.array([row]))))
            early, _ = encoder.maps_of(encoder.stems[data.modality[row]](images))
            cell = functional.adaptive_avg_pool2d(early, (3, 2)).flatten(2)[0].T
            cells.append(cell - cell.mean(0))
    _, _, axes = torch.linalg.svd(torch.cat(cells).double(), full_matrices=False)
    ours = shape.reduce.weight.detach().double()
    # The same subspace: projecting the expected axes on ours loses nothing.
    torch.testing.assert_close((axes[:4] @ ours.T @ ours), axes[:4], atol=1e-3, rtol=0)

    trainer.validate_and_save()
    again = trainer_for(recipe, dataset, tmp_path / "again", weights=tmp_path / LAST)
    assert torch.equal(again.network.encoder.shape.reduce.weight, shape.reduce.weight)


def test_the_log_and_the_checkpoint_say_how_a_run_began(resnet, dataset, tmp_path):
    weights = tmp_path / "part.pth"
    state = torchvision.models.resnet18(weights=None).state_dict()
    torch.save({name: value for name, value in state.items() if not name.startswith("layer4")}, weights)
    out = tmp_path / "run"
    events = []
    train(TrainOptions(resnet, dataset, out, max_steps=1, weights=weights), events.append)
    (told,) = [event.run for event in events if event.run]
    (line,) = [json.loads(line) for line in (out / LOG).read_text().splitlines() if '"run"' in line]
    assert line == {"epoch": 0, "step": 0, "run": told}
    assert told["start"] == "part.pth, 51 of 55 tensors; the others from scratch"
    assert load_checkpoint(out / LAST).start == told["start"]
    assert (told["recipe"], told["precision"], told["images"]) == ("demo", "fp32", "memory-mapped")


def test_the_time_left_is_told_at_the_pace_so_far_and_never_beyond_the_limit(monkeypatch):
    now = 100.0
    monkeypatch.setattr("training.clock.time.monotonic", lambda: now)
    clock, limited = Clock(None, 10, 50), Clock(2, 10, 50)
    now = 120.0
    assert clock.left_s(20) == pytest.approx(60)
    assert limited.left_s(12) == pytest.approx(100)
    assert (limited.limited, clock.limited, limited.is_out()) == (True, False, False)
    now = 220.0
    assert limited.is_out()
    assert limited.left_s(20) == 0


def test_fp16_scales_the_loss_and_resumes_the_scale(recipe, dataset, tmp_path):
    trainer = trainer_for(recipe, dataset, tmp_path, arithmetic=ArithmeticForm.FP16)
    # So large a scale overflows: the step is left out and the scale halved, as often as it takes.
    trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 2.0**40})
    before = {name: value.clone() for name, value in trainer.network.named_parameters()}
    trainer.train_step()
    assert trainer.scaler.get_scale() == 2.0**39
    assert all(torch.equal(before[name], value) for name, value in trainer.network.named_parameters())
    trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 2.0**10})
    trainer.train_step()
    assert trainer.scaler.get_scale() == 2.0**10
    trainer.checkpoint().save(tmp_path / LAST)
    resumed = trainer_for(recipe, dataset, tmp_path, arithmetic=ArithmeticForm.FP16)
    resumed.restore(load_checkpoint(tmp_path / LAST))
    assert resumed.scaler.state_dict() == trainer.scaler.state_dict()
    assert resumed.train_step()["loss"] == trainer.train_step()["loss"]
    for name, value in trainer.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def test_generated_images_join_a_term_where_its_setting_says_so(recipe, dataset, tmp_path):
    weighted = {"weight": 1.0, "generated": True}
    trainer = trainer_with({"ce": weighted, "ins": weighted}, recipe, dataset, tmp_path)
    step = trainer.encode_batch()
    made = step.generated
    count = len(step.labels)
    assert made.logits.shape == (count // 2, len(trainer.data.identities))
    assert torch.equal(step.labels[made.visible], step.labels[made.infrared])
    _, values = trainer.objective(step)
    logits = torch.cat([step.logits, made.logits]).double()
    labels = torch.cat([step.labels, step.labels[made.visible]])
    every = functional.cross_entropy(logits, labels, reduction="none")
    assert values["ce"].item() == pytest.approx(sum(part.mean().item() for part in every.chunk(3)), rel=1e-5)
    features = torch.cat([step.encoded.metric, made.encoded.metric])
    assert values["ins"].item() == pytest.approx(instance_contrastive(features, labels).item(), rel=1e-5)
    assert values["ins"] != instance_contrastive(step.encoded.metric, step.labels)


def test_the_memory_is_filled_anew_each_epoch_where_the_term_says_so(recipe, dataset, tmp_path):
    filled = {}
    for refresh in (False, True):
        losses = {"ce": {"weight": 1.0}, "mod": {"weight": 1.0, "refresh": refresh}}
        trainer = trainer_with(losses, recipe, dataset, tmp_path)
        fill, filled[refresh] = trainer.fill_memory, []
        trainer.fill_memory = lambda: (filled[refresh].append((trainer.epoch, trainer.step)), fill())  # noqa: B023
        trainer.run(lambda event: None)
        assert trainer.epoch == recipe.optimiser.epochs == 2
    assert filled == {False: [(0, 0)], True: [(0, 0), (1, 0)]}


@pytest.mark.parametrize("own", [False, True])
def test_parts_are_normalised_as_the_term_says(recipe, dataset, tmp_path, own):
    losses = {"ce": {"weight": 1.0}, "sim": {"weight": 1.0, "own_statistics": own}}
    trainer = trainer_with(losses, recipe, dataset, tmp_path)
    local = trainer.encode_batch().local
    batch = trainer.source.batch(0, 0, generated=False)
    groups = [
        (stream, torch.cat([images[:, :, top : top + 16] for top in (0, 16, 32)]))
        for stream, images in batch.images.items()
    ]
    encoder = copy.deepcopy(trainer.network.encoder)
    with torch.no_grad():
        expected = encoder.train(own)(groups).metric
    visible, infrared = expected.view(2, 3, -1, encoder.dim).transpose(1, 2)
    assert torch.allclose(local, torch.cat([visible, infrared]), atol=1e-4)


def test_parts_leave_no_trace_in_the_running_statistics(recipe, dataset, tmp_path):
    weighted = {"weight": 1.0}
    statistics = []
    for losses in ({"ce": weighted}, {"ce": weighted, "sim": {**weighted, "own_statistics": True}}):
        trainer = trainer_with(losses, recipe, dataset, tmp_path)
        trainer.encode_batch()
        statistics.append({name: value.clone() for name, value in trainer.network.named_buffers()})
    assert any("running" in name for name in statistics[0])
    for name, value in statistics[0].items():
        assert torch.equal(value, statistics[1][name]), name


def test_held_images_are_those_of_the_file(recipe, dataset, tmp_path, monkeypatch):
    trainer = trainer_for(recipe, dataset, tmp_path)
    assert trainer.source.held is None
    monkeypatch.setattr("training.data.batch.free_bytes", lambda device: 2**40)
    held = trainer_for(recipe, dataset, tmp_path)
    assert held.source.held.shape == (len(held.data), 48, 24, 3)
    assert held.describe()["images"] == "held on cpu"
    ours, theirs = (one.source.batch(0, 1, generated=True) for one in (trainer, held))
    assert torch.equal(ours.labels, theirs.labels)
    assert all(torch.equal(ours.images[stream], theirs.images[stream]) for stream in Stream)
    monkeypatch.setattr("training.data.batch.free_bytes", lambda device: 2 * held.source.held.numel())
    assert trainer_for(recipe, dataset, tmp_path).source.held is None


@pytest.mark.slow
def test_a_compiled_encoder_trains_as_the_plain_one_does(shrink, dataset, tmp_path):
    recipe = with_tiny(shrink(load_recipe("PECA")))
    losses = []
    for compiled in (False, True):
        out = tmp_path / str(compiled)
        train(TrainOptions(recipe, dataset, out, max_steps=3, compiled=compiled), lambda event: None)
        losses.append([line["loss"] for line in logged(out) if "loss" in line])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert list(load_checkpoint(tmp_path / "True" / LAST).network) == list(
        load_checkpoint(tmp_path / "False" / LAST).network
    )


def test_a_compiler_that_does_not_work_is_told_before_the_images_are_decoded(
    recipe, dataset, tmp_path, monkeypatch
):
    def fails(function):
        raise RuntimeError("no C++ compiler\nand more")

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(InvalidInput, match=r"does not work here \(no C\+\+ compiler\); leave --compile away"):
        train(TrainOptions(recipe, dataset, tmp_path / "run", compiled=True), lambda event: None)
    assert not list((tmp_path / "run").glob("*.npy"))


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


def test_a_run_from_weights_goes_on_without_them(recipe, resnet, dataset, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    run(resnet, dataset, tmp_path / "run", weights=path, max_steps=1)
    path.unlink()
    run(resnet, dataset, tmp_path / "run", max_steps=2, resume=True)
    checkpoint = load_checkpoint(tmp_path / "run" / LAST)
    assert len(checkpoint.pretrained) > 50
    assert checkpoint.start.startswith("weights.pth")
    assert [len(group["params"]) for group in checkpoint.optimiser["param_groups"]][1] == len(
        checkpoint.pretrained
    )


def test_a_stopped_run_ends_with_the_best_checkpoint_of_an_unbroken_one(recipe, dataset, tmp_path):
    run(recipe, dataset, tmp_path / "whole")
    run(recipe, dataset, tmp_path / "parts", max_steps=1)
    stand_in = load_checkpoint(tmp_path / "parts" / BEST)
    assert (stand_in.step, stand_in.best_map) == (1, -1)
    run(recipe, dataset, tmp_path / "parts", resume=True)
    whole, parts = (load_checkpoint(tmp_path / name / BEST) for name in ("whole", "parts"))
    assert (whole.epoch, whole.step, whole.best_map) == (parts.epoch, parts.step, parts.best_map)
    for name, value in whole.network.items():
        assert torch.equal(value, parts.network[name]), name


def test_no_kill_between_two_checkpoints_loses_the_best(recipe, dataset, tmp_path, monkeypatch):
    saved = []
    save = Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", lambda self, path: (saved.append(path.name), save(self, path)))
    run(recipe, dataset, tmp_path / "run")
    assert saved.index(BEST) < saved.index(LAST)
