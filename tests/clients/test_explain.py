"""``peca explain``: the sheet of Grad-CAM and the distances, of a run and of a gallery."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clients.extras
from index.gallery import open_gallery
from index.records import ImageRecord
from index.space import EmbeddingSpec, Modality

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


@pytest.fixture(scope="module")
def run(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from training.datasets.reader import read_dataset
    from training.options import TrainOptions
    from training.recipe import load_recipe
    from training.trainer import train

    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.toml").write_text(RECIPE)
    recipe = load_recipe(str(folder / "tiny.toml"))
    train(TrainOptions(recipe, read_dataset("sysu", tree), folder / "run", max_steps=2), lambda _: None)
    return folder / "run"


def test_cam_draws_a_sheet_and_names_its_images(peca: Peca, run: Path, tree: Path, tmp_path: Path) -> None:
    asked = ("explain", "cam", run, "--root", tree, "--people", 3)
    code, printed, err = peca(*asked, "--out", tmp_path / "a")
    assert code == 0, err
    assert f"{tmp_path / 'a' / 'cam.png'} shows 3 people" in printed
    content = json.loads((tmp_path / "a" / "cam.json").read_text())
    assert content["recipe"] == "tiny"
    test_ids = {f"{int(one):04d}" for one in (tree / "exp" / "test_id.txt").read_text().split(",")}
    assert len(content["people"]) == 3
    for person in content["people"]:
        assert person["person_id"] in test_ids
        for modality in Modality:
            assert (tree / person[modality]["source"]).is_file()
            assert person[modality]["against"] == modality.other
            assert -1 <= person[modality]["cosine"] <= 1
    with Image.open(tmp_path / "a" / "cam.png") as sheet:
        assert sheet.width > 1200
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    coloured = (pixels.max(axis=2) - pixels.min(axis=2)) > 60
    assert coloured.mean() > 0.01, "the heat is in colour"

    assert peca(*asked, "--out", tmp_path / "b")[0] == 0
    assert (tmp_path / "a" / "cam.png").read_bytes() == (tmp_path / "b" / "cam.png").read_bytes()
    assert peca(*asked, "--out", tmp_path / "b", "--seed", 4)[0] == 0
    assert (tmp_path / "a" / "cam.png").read_bytes() != (tmp_path / "b" / "cam.png").read_bytes()


def test_cam_takes_the_training_part_and_one_light(peca: Peca, run: Path, tree: Path, tmp_path: Path) -> None:
    options = ("--part", "train", "--against", "visible", "--people", 1, "--plot-format", "svg")
    code, _, err = peca("explain", "cam", run, "--root", tree, "--out", tmp_path, *options)
    assert code == 0, err
    assert (tmp_path / "cam.svg").is_file()
    [person] = json.loads((tmp_path / "cam.json").read_text())["people"]
    assert {person[modality]["against"] for modality in Modality} == {"visible"}
    train_ids = {int(one) for one in (tree / "exp" / "train_id.txt").read_text().split(",")}
    train_ids |= {int(one) for one in (tree / "exp" / "val_id.txt").read_text().split(",")}
    assert int(person["person_id"]) in train_ids


def test_distances_of_a_run(peca: Peca, run: Path, tree: Path, tmp_path: Path) -> None:
    asked = ("explain", "distances", run, "--root", tree)
    code, printed, err = peca(*asked, "--out", tmp_path)
    assert code == 0, err
    content = json.loads((tmp_path / "distances.json").read_text())
    for shown in (
        f"{content['across']['same']['mean']:.3f} ± {content['across']['same']['std']:.3f}",
        f"{content['infrared']['different']['mean']:.3f}",
        f"modality gap {content['modality_gap']:.3f}",
    ):
        assert shown in printed
    images = content["images"]
    pairs = content["across"]["same"]["pairs"] + content["across"]["different"]["pairs"]
    assert pairs == images["visible"] * images["infrared"]
    with Image.open(tmp_path / "distances.png") as figure:
        assert figure.width > 1500
    code, printed, _ = peca(*asked, "--json")
    assert json.loads(printed) == content


def test_distances_of_a_gallery_need_no_torch(
    peca: Peca, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients.extras, "find_spec", lambda name: None)
    gallery = open_gallery(f"embedded:{tmp_path / 'g'}", EmbeddingSpec(4, "test"))
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    records = [
        ImageRecord(f"{light}-{person}", light, "c", moment, person_id=person)
        for person in "ab"
        for light in Modality
    ]
    gallery.add(records, np.eye(4, dtype=np.float32)[[0, 0, 1, 2]])
    gallery.close()
    code, printed, err = peca("explain", "distances", "--gallery", f"embedded:{tmp_path / 'g'}")
    assert code == 0, err
    assert "0.500 ± 0.500" in printed
    assert "no pair" in printed
    assert "modality gap" not in printed
    code, _, err = peca("explain", "distances", "--gallery", f"embedded:{tmp_path / 'g'}", "--out", tmp_path)
    assert code == 1
    assert "need matplotlib" in err


def test_what_is_wrong_is_one_line(peca: Peca, run: Path, tree: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    for arguments, code, told in (
        (("distances",), 2, "give RUN and --root, or --gallery alone"),
        (("distances", run), 2, "give RUN and --root, or --gallery alone"),
        (("distances", run, "--root", tree, "--gallery", "embedded:g"), 2, "or --gallery alone"),
        (("distances", "--gallery", f"embedded:{tmp_path / 'none'}"), 1, "there is no gallery at"),
        (("distances", tree, "--root", tree), 1, "no checkpoint at"),
        (("cam", tree, "--root", tree, *out), 1, "no checkpoint at"),
        (("cam", run, "--root", run, *out), 1, "exp"),
        (("cam", run, "--root", tree, *out, "--device", "abacus"), 1, "the device 'abacus' cannot be used"),
        (("cam", run, "--root", tree, *out, "--against", "thermal"), 2, "thermal"),
    ):
        got, printed, err = peca("explain", *arguments)
        assert (got, printed) == (code, "")
        assert told in re.sub(r"\s*│\s*", " ", err)
        assert code == 2 or err.count("\n") == 1
    assert not (tmp_path / "out").exists()
