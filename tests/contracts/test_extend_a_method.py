"""The worked example of docs/extend-a-method.md: its files are written, and its commands run."""

import json
import math
import os
import re
import runpy
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from clients.cli import main
from exporter.bundle import read_bundle

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "docs/extend-a-method.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w.]+)`\n\n```\w+\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
DRAW, TRAIN, COMPARE = COMMANDS

LOAD_ALONE = """
import sys
sys.modules["torch"] = sys.modules["my_backbone"] = None  # importing them raises ImportError from here on
from pathlib import Path
from exporter.runtime import load_encoder
assert load_encoder(Path(sys.argv[1]), provider="cpu").spec.dim == 576
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a user who copied the files out of the page and drew the people."""
    folder = tmp_path_factory.mktemp("extend")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    shell(DRAW, folder)
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    yield
    for name in [name for name in sys.modules if f"{name}.py" in FILES]:
        del sys.modules[name]


def shell(script, folder):
    """Runs commands as a shell does, with the `peca` that is installed beside this Python."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", script], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(line):
    """Runs one command in this process, which has torch at hand; gives the exit code."""
    program, *arguments = shlex.split(line)
    if program == "python":
        runpy.run_path(arguments[0], run_name="__main__")
        return 0
    assert program == "peca"
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def test_every_block_of_the_page_is_a_file_or_is_run():
    assert len(re.findall(r"^```\w+$", TEXT, re.MULTILINE)) == len(FILES) + len(COMMANDS)
    assert {"my_data.py", "my_losses.py", "my_backbone.py", "mine.toml", "centre.toml"} <= set(FILES)


def test_the_installed_command_finds_the_reader_in_the_current_directory(folder):
    told = json.loads(shell("peca dataset describe --layout my_data:read --root people --json", folder))
    assert told["layout"] == "my_data:read"
    assert told["train_identities"] == 9
    assert set(told["test"]) == {"visible-to-infrared", "infrared-to-visible"}


def test_the_loss_passes_its_own_check():
    checks = import_module("test_my_losses")
    for seed in range(3):
        checks.test_the_loss_is_that_of_a_plain_loop(seed)
    checks.test_the_worked_number()


def test_the_example_trains_exports_and_searches(folder, capsys):
    train, export, search = TRAIN.splitlines()
    assert run(train) == 0
    steps = [json.loads(line) for line in (folder / "runs/mine/log.jsonl").read_text().splitlines()]
    terms = [(step["ce"], step["centre"]) for step in steps if "loss" in step]
    assert len(terms) == 3
    assert all(math.isfinite(value) and value > 0 for step in terms for value in step)

    assert run(export) == 0
    manifest = read_bundle(folder / "bundle").manifest
    assert manifest.recipe["model"]["backbone"] == "my_backbone:MobileNet"
    assert manifest.recipe["losses"]["centre"]["term"] == "my_losses:HeteroCentreTerm"
    subprocess.run([sys.executable, "-c", LOAD_ALONE, str(folder / "bundle")], cwd="/", check=True)

    capsys.readouterr()
    assert run(search) == 0
    found = [line.split() for line in capsys.readouterr().out.splitlines()]
    scores = [float(score) for score, _ in found]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 5
    assert all(-1 <= score <= 1 for score in scores)
    assert all("infrared" in path for _, path in found)

    (folder / "my_backbone.py").rename(folder / "elsewhere.py")
    del sys.modules["my_backbone"]
    assert run("peca export runs/mine --out again") == 1
    assert "there is no module 'my_backbone' to take 'my_backbone:MobileNet' from" in capsys.readouterr().err
    (folder / "elsewhere.py").rename(folder / "my_backbone.py")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_comparison_gives_a_table(folder, capsys):
    # One seed of the page's three: the way is the same.
    assert run(COMPARE.replace("--seeds 3", "--seeds 1")) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [row.split("|")[1].strip() for row in table[2:]] == ["M1", "M1+centre"]
    assert (folder / "ablation/ablation.png").stat().st_size > 0
