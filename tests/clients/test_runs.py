"""Training, freezing and the demonstration, by their commands."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from client_site import REPOSITORY
from PIL import Image

from exporter.runtime import load_encoder
from index.space import Modality
from peca_client import ConnectionFailed, PecaClient

Peca = Callable[..., tuple[int, str, str]]

RECIPE = """
name = "tiny"
[losses]
ce = { weight = 1.0 }
[data]
image_hw = [48, 24]
identities = 4
images_per_modality = 2
held_out = 0.2
[model]
backbone = "resnet18"
affinity = "softmax"
whole = false
stripes = 2
stripe_channels = 32
shape_cells = [6, 3]
shape_channels = 8
[optimiser]
lr = 0.001
epochs = 1
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from training.datasets.synthetic import write_tree
    from training.datasets.tree import Layout

    folder = tmp_path_factory.mktemp("people") / "tree"
    write_tree(folder, Layout.SYSU, identities=14, images_per_camera=2, seed=1, image_hw=(48, 24))
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


def test_train_resume_and_export_lead_to_an_encoder(
    peca: Peca, tree: Path, recipe: Path, tmp_path: Path
) -> None:
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    train = ("train", "--recipe", recipe, "--dataset", "sysu", "--root", tree, "--out", run)
    code, out, err = peca(*train, "--max-steps", 3, "--training-set", "drawn people")
    assert (code, out) == (0, f"best checkpoint: {run / 'best.pt'}\n")
    assert "held-out identities R1" in err
    code, _, err = peca(*train)
    assert code == 1
    assert "holds a run already; add --resume" in err
    assert peca(*train, "--resume", "--training-set", "drawn people")[0] == 0
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert steps[-1] == 9

    code, out, _ = peca("export", run, "--out", bundle, "--json")
    assert code == 0
    manifest = json.loads(out)
    assert manifest["fingerprint"].startswith("bundle-int8-")
    assert manifest["training_set"] == "drawn people; 108 images of 9 identities"
    encoder = load_encoder(bundle)
    assert encoder.image_hw == (48, 24)
    images = np.zeros((1, 48, 24, 3), dtype=np.uint8)
    assert encoder.encode(images, [Modality.INFRARED]).shape == (1, 2 * 32 + 6 * 3 * 8)
    code, out, err = peca("export", run, "--out", bundle)
    assert (code, out) == (1, "")
    assert "is not empty" in err
    code, out, _ = peca("export", run, "--out", tmp_path / "small", "--precision", "int8", "--name", "x")
    assert code == 0
    assert "not kept" in out
    assert "x-int8-" in out

    share = ("export", run, "--out", tmp_path / "share", "--precision", "fp32", "--shape-share")
    assert peca(*share, 0.2, "--json")[0] == 0
    drawn = np.random.default_rng(0).integers(0, 256, (1, 48, 24, 3), dtype=np.uint8)
    vector = load_encoder(tmp_path / "share").encode(drawn, [Modality.INFRARED])[0]
    assert float(np.square(vector[2 * 32 :]).sum()) == pytest.approx(0.2, abs=1e-4)
    code, _, err = peca(*share, 1.5)
    assert (code, "between 0 and 1, not be 1.5" in err) == (1, True)
    checkpoint = torch.load(run / "best.pt")
    checkpoint["recipe"]["model"]["shape_cells"] = None
    (tmp_path / "shapeless").mkdir()
    torch.save(checkpoint, tmp_path / "shapeless" / "best.pt")
    code, _, err = peca("export", tmp_path / "shapeless", "--out", tmp_path / "no", "--shape-share", 0.2)
    assert (code, "has no shape" in " ".join(err.split())) == (1, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--recipe", "M7"), "no recipe 'M7'"),
        (("--recipe", "M1", "--backbone", "resnet7"), "--backbone expects one of resnet18"),
        (("--recipe", "M1", "--precision", "int4"), "--precision expects one of fp32, bf16, fp16"),
        (("--recipe", "M1", "--device", "abacus"), "the device 'abacus' cannot be used"),
        (("--recipe", "M1", "--weights", "absent.pth"), "there is no file absent.pth to start from"),
    ],
)
def test_a_wrong_option_of_train_is_named(
    peca: Peca, tree: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    code, _, err = peca("train", "--root", tree, "--out", tmp_path / "run", *options)
    assert code in (1, 2)
    assert message in re.sub(r"\s*│\s*", " ", err)


def test_export_needs_a_run(peca: Peca, tmp_path: Path) -> None:
    code, _, err = peca("export", tmp_path, "--out", tmp_path / "bundle")
    assert code == 1
    assert "no checkpoint at" in err


def test_the_demonstration_shows_the_whole_way_and_serves(tmp_path: Path) -> None:
    out, log = tmp_path / "demo", tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "clients.cli", "demo", "--out", str(out)],
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        url, key = wait_for_server(process, log)
        report = json.loads((out / "report.json").read_text())
        for direction in ("visible_to_infrared", "infrared_to_visible"):
            score = report[direction]
            assert score["queries"] == score["gallery"] == 192
            assert score["chance_rank1"] == pytest.approx(1 / 48)
            assert score["rank1"] >= 10 * score["chance_rank1"]
            assert score["chance_rank1"] < score["mean_ap"] < 1
        with Image.open(out / "contact-sheet.png") as sheet:
            assert sheet.width > 800
            assert sheet.height > 1000
        with PecaClient(url, key) as client:
            assert {camera.modality for camera in client.cameras()} == set(Modality)
            query = next((out / "site").rglob("*.jpg"))
            assert len(client.search(query, "visible", limit=3).items) == 3
        advised = [line for line in log.read_text().splitlines() if line.startswith(("  export ", "  /"))]
        assert len(advised) == 2
        ended = subprocess.run(["bash", "-c", "\n".join(advised)], cwd=tmp_path, timeout=60, check=False)
        assert ended.returncode == 0
        assert (tmp_path / "found.png").is_file()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    assert process.returncode == 0
    with PecaClient(url, key, retries=0) as client, pytest.raises(ConnectionFailed):
        client.version()


def test_the_demonstration_replaces_nothing_that_it_did_not_make(peca: Peca, tmp_path: Path) -> None:
    mine = tmp_path / "gallery" / "precious"
    mine.mkdir(parents=True)
    code, _, err = peca("demo", "--no-serve", "--out", tmp_path)
    assert code == 1
    assert "holds gallery, not made by a demonstration" in err
    assert mine.is_dir()


def wait_for_server(process: subprocess.Popen[bytes], log: Path) -> tuple[str, str]:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        text = log.read_text()
        if "Ctrl-C stops it" in text:
            url, key = re.search(r"serving at (\S+)", text), re.search(r"admin key: (\S+)", text)
            assert url is not None
            assert key is not None
            return url[1], key[1]
        time.sleep(0.2)
    process.kill()
    raise AssertionError(log.read_text())
