"""Several processes train as one: the parts in float64, and the whole as a user starts it."""

import json
import os
import socket
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import multiprocessing, nn

from index.errors import InvalidInput
from training.checkpoint import LAST, load_checkpoint
from training.data.arrays import decode_images
from training.log import LOG
from training.models.encoder import Encoder, Stream
from training.models.joined_norm import JoinedBatchNorm, join_batch_norms
from training.options import TrainOptions
from training.processes import ALONE, Processes, joined_processes
from training.recipe import load_recipe
from training.trainer import Trainer, train
from training.validation import embed

COUNT = 2
STEPS = 3
CPU = torch.device("cpu")


def small_network():
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(channels, channels + 1, 3, bias=False) for channels in (3, 4)]
    layers = nn.Sequential(convolutions[0], nn.BatchNorm2d(4), nn.Tanh(), convolutions[1])
    return nn.Sequential(layers, nn.BatchNorm2d(5), nn.Flatten(), nn.BatchNorm1d(5 * 4 * 2)).double()


def small_batch():
    """Visible and infrared images, and what stands for a classifier, which sees joined features."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 6, 3, 8, 6, dtype=torch.float64, generator=generator)
    weights = torch.randn(40, 3, dtype=torch.float64, generator=generator)
    return images, weights


def small_step(network, processes):
    """A step whose loss compares every image with every other; its features, loss and gradients."""
    images, weights = small_batch()
    weights.requires_grad_()
    own = torch.cat([stream[processes.share(6)] for stream in images])
    features = network(own)
    features = features if processes is ALONE else processes.joined_by_stream(features, 2)
    loss = torch.cdist(features, features).square().mean() + (features @ weights).logsumexp(1).sum()
    loss.backward()
    processes.average_gradients([*network.parameters(), weights])
    return {
        "features": features.detach(),
        "loss": loss.detach(),
        "weights": weights.grad,
        **{name: parameter.grad for name, parameter in network.named_parameters()},
        **dict(network.named_buffers()),
    }


def as_torchrun_starts_it(rank, folder):
    torch.set_num_threads(1)
    started = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": COUNT, "TORCHELASTIC_RUN_ID": "test"}
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": (folder / "port").read_text()}
    os.environ.update({name: str(value) for name, value in {**started, **where}.items()})
    with joined_processes(CPU) as processes:
        assert processes == Processes(rank, COUNT)
        network = small_network()
        join_batch_norms(network, processes, CPU)
        found = small_step(network, processes)
        mine = torch.full((3,), float(rank))
        processes.copy_first(mine)
        answers = [processes.any(rank == 1), processes.any(False)]
        torch.save({**found, "first": mine, "answers": answers}, folder / f"{rank}.pt")


def test_a_step_of_two_processes_is_the_step_of_one(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    multiprocessing.spawn(as_torchrun_starts_it, (tmp_path,), COUNT)
    expected = small_step(small_network(), ALONE)
    for rank in range(COUNT):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.pop("answers") == [True, False]
        assert found.pop("first").tolist() == [0, 0, 0]
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert torch.allclose(found[name].double(), value.double(), rtol=1e-9, atol=1e-12), name


def test_every_batch_norm_of_the_encoder_is_joined_and_keeps_its_names():
    recipe = replace(load_recipe("PECA").model, backbone="resnet18")
    encoder = Encoder(recipe)
    names = list(encoder.state_dict())
    norms = sum("BatchNorm" in type(module).__name__ for module in encoder.modules())
    join_batch_norms(encoder, Processes(0, 2), CPU)
    assert list(encoder.state_dict()) == names
    assert sum(isinstance(module, JoinedBatchNorm) for module in encoder.modules()) == norms
    encoder.eval()
    assert encoder([(Stream.VISIBLE, torch.randn(2, 3, 48, 24))]).neck.shape == (2, 512)


def test_a_gpu_gets_torchs_own_joined_batch_norm():
    network = small_network()
    join_batch_norms(network, Processes(0, 2), torch.device("cuda"))
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in network.modules()) == 3


def test_a_batch_that_does_not_divide_is_refused(shrink, dataset, tmp_path):
    recipe = shrink(load_recipe("PECA"))
    data = decode_images(dataset.train, recipe.data.image_hw, tmp_path)
    with pytest.raises(
        InvalidInput, match=r"8 visible and 8 infrared images .* do not divide over 3 processes"
    ):
        Trainer(TrainOptions(recipe, dataset, tmp_path), data, Processes(0, 3))


def test_the_images_to_embed_are_shared(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("training.validation._BATCH", 16)
    data = decode_images(dataset.train, (48, 24), tmp_path)
    encoder = Encoder(replace(load_recipe("demo").model, backbone="resnet18"))
    whole = embed(encoder, data, CPU)
    # Without the sum over processes each has its own rows, and zeros in the others'.
    monkeypatch.setattr(Processes, "sum", lambda self, values: None)
    parts = [embed(encoder, data, CPU, processes=Processes(rank, COUNT)) for rank in range(COUNT)]
    assert all(0 < np.count_nonzero(part.any(1)) < len(data) for part in parts)
    assert np.array_equal(sum(parts), whole)


RECIPE = """
name = "all terms"
[losses]
ce = { weight = 1.0, generated = true }
triplet = { weight = 1.0 }
ins = { weight = 1.0 }
mod = { weight = 0.5, refresh = true }
sim = { weight = 1.0, own_statistics = true }
mix = { weight = 1.0 }
[data]
image_hw = [48, 24]
identities = 4
images_per_modality = 2
held_out = 0.2
[augment]
pad = 3
[model]
backbone = "resnet18"
[optimiser]
# Small: from scratch, on tiny images, a rounding error of one step is ten times larger in the next at 1e-5.
lr = 1e-6
warmup_epochs = 0
epochs = 1
"""


def torchrun(count, *arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    root = Path(__file__).parents[2]
    return subprocess.run(
        [*command, "-m", "clients.cli", *map(str, arguments)],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=240,
    )


def logged(run):
    lines = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def momentum(checkpoint):
    return [state["momentum_buffer"] for state in checkpoint.optimiser["state"].values()]


def test_torchrun_trains_as_one_process_does(sysu_tree, dataset, tmp_path):
    path = tmp_path / "all.toml"
    path.write_text(RECIPE)
    recipe = load_recipe(str(path))
    two, one = tmp_path / "two", tmp_path / "one"
    command = ("train", "--recipe", path, "--root", sysu_tree, "--out", two, "--max-steps", STEPS)
    ended = torchrun(COUNT, *command)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"best checkpoint: {two / 'best.pt'}\n"
    assert "device: cpu, 2 processes" in ended.stderr

    train(TrainOptions(recipe, dataset, one, max_steps=STEPS), lambda event: None)
    assert [line["step"] for line in logged(two)] == list(range(1, STEPS + 1))
    for theirs, ours in zip(logged(two), logged(one), strict=True):
        for name in ("loss", *recipe.losses):
            assert theirs[name] == pytest.approx(ours[name], rel=1e-4, abs=1e-5), (theirs["step"], name)

    ours, theirs = load_checkpoint(one / LAST), load_checkpoint(two / LAST)
    for name, value in {**ours.network, **ours.objective, **ours.memory}.items():
        other = {**theirs.network, **theirs.objective, **theirs.memory}[name]
        assert torch.allclose(other.float(), value.float(), rtol=1e-3, atol=1e-4), name
    # The momentum is the sum of the gradients, at its own scale.
    for one_buffer, two_buffer in zip(momentum(ours), momentum(theirs), strict=True):
        apart = (one_buffer - two_buffer).norm()
        assert apart < 0.05 * one_buffer.norm() + 1e-5, (apart, one_buffer.norm())

    # What two processes began, one goes on with.
    train(TrainOptions(recipe, dataset, two, max_steps=STEPS + 1, resume=True), lambda event: None)
    train(TrainOptions(recipe, dataset, one, max_steps=STEPS + 1, resume=True), lambda event: None)
    assert logged(two)[-1]["loss"] == pytest.approx(logged(one)[-1]["loss"], rel=1e-4)


@pytest.mark.slow
def test_torchrun_goes_on_where_torchrun_stopped(sysu_tree, tmp_path):
    path = tmp_path / "all.toml"
    path.write_text(RECIPE)
    command = ("train", "--recipe", path, "--root", sysu_tree, "--max-steps")
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    for steps, resume in ((2, ()), (4, ("--resume",))):
        assert torchrun(COUNT, *command, steps, "--out", broken, *resume).returncode == 0
    assert torchrun(COUNT, *command, 4, "--out", whole).returncode == 0
    for ours, theirs in zip(logged(whole), logged(broken), strict=True):
        assert [ours[name] for name in ("step", "loss")] == [theirs[name] for name in ("step", "loss")]
    refused = torchrun(3, *command, 4, "--out", tmp_path / "three")
    assert refused.returncode != 0
    assert "peca: 8 visible and 8 infrared images in a batch do not divide over 3 processes" in refused.stderr
