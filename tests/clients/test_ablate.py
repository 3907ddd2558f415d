"""`peca ablate` and `peca sweep`, by their commands, on runs of a few steps."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Peca = Callable[..., tuple[int, str, str]]

FORM = """
[data]
image_hw = [48, 24]
identities = 4
images_per_modality = 2
held_out = 0.2
[model]
backbone = "resnet18"
affinity = "softmax"
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
def form(tmp_path: Path) -> Path:
    path = tmp_path / "form.toml"
    path.write_text(FORM)
    return path


def test_an_ablation_leaves_a_table_every_run_and_a_plot(
    peca: Peca, tree: Path, form: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ablation"
    command = ("ablate", "--rows", "M1,M3", "--seeds", 2, "--root", tree, "--out", out, "--form", form)
    code, shown, told = peca(*command, "--max-minutes", 0)
    assert (code, shown) == (0, "0 of 4 runs complete; the same command goes on\n")
    code, shown, told = peca(*command)
    assert code == 0
    assert shown.startswith(
        "all-single-shot\n\n| row | seeds | R1 | R10 | R20 | mAP | mINP | R1 gain | mAP gain |"
    )
    assert "(4 of 4, 0 min left)" in told
    table = (out / "ablation.md").read_text()
    assert "all-single-shot, averaged with the mirror image:" in table
    assert "| M3 | 2 | " in table
    with (out / "ablation.csv").open(newline="") as file:
        assert {(row["variant"], row["seed"]) for row in csv.DictReader(file)} == {
            (row, seed) for row in ("M1", "M3") for seed in "01"
        }
    with Image.open(out / "ablation.png") as plot:
        assert min(plot.size) > 500


def test_a_sweep_plots_a_parameter(peca: Peca, tree: Path, form: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    code, shown, _ = peca(
        "sweep", "lambda_m", "--values", "0,0.5", "--recipe", "M3", "--seeds", 1,
        "--root", tree, "--out", out, "--form", form,
    )  # fmt: skip
    assert code == 0
    assert "| lambda_m 0.5 | 1 | " in shown
    assert (out / "lambda_m.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sweep", "margin"), "no parameter 'margin' to sweep; there are tau_ins, tau_mod, lambda_m"),
        (("sweep", "tau_mod", "--recipe", "M2"), "which recipe M2 does not have"),
        (("sweep", "tau_ins", "--values", "0.1,much"), "--values takes numbers with commas, got 'much'"),
        (("ablate", "--rows", "M1,M9"), "no recipe 'M9'"),
        (("ablate", "--form", "huge"), "no form 'huge'; there are brief, small"),
        (("ablate", "--precision", "int8"), "--precision is one of"),
    ],
    ids=["parameter", "term", "value", "row", "form", "precision"],
)
def test_what_cannot_be_run_is_refused_before_anything_is_written(
    peca: Peca, tree: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    code, _, told = peca(*words, "--root", tree, "--out", tmp_path / "out")
    assert code in (1, 2)
    assert message in " ".join(told.replace("│", " ").split())
    assert not (tmp_path / "out").exists()
