"""Which layouts the command line takes: the published ones, and a reader of the user's own."""

import json
import sys

import pytest
from PIL import Image

from clients.layouts import layout_name
from index.space import Modality
from training.datasets.tree import Layout

READER = """
from index.space import Modality
from training.datasets.tree import TreeImage

def read(root, split):
    def of(person):
        sources = [(m, f"{person}-{m}.png") for m in Modality]
        return [TreeImage(root / source, source, person, str(m), m) for m, source in sources]
    return of("a") + of("b"), of(f"c{split}")
"""


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """The import path of a reader in the current directory, which is the tree too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "reader_of_test.py").write_text(READER)
    for person in ("a", "b", "c3"):
        for number, modality in enumerate(Modality):
            colour = (40 * number, 7 * ord(person[0]) % 256, 100)
            Image.new("RGB", (24, 48), colour).save(tmp_path / f"{person}-{modality}.png")
    yield "reader_of_test:read"
    sys.modules.pop("reader_of_test", None)


@pytest.mark.parametrize("name", [*Layout, "my_data:read"])
def test_layouts_and_import_paths_are_taken_as_they_are(name):
    assert layout_name(name) == name


@pytest.mark.parametrize(
    "command",
    [
        ("train", "--root", ".", "--out", "x", "--dataset"),
        ("ablate", "--root", ".", "--out", "x", "--dataset"),
        ("sweep", "tau_ins", "--root", ".", "--out", "x", "--dataset"),
        ("ingest", ".", "--api-key", "x", "--layout"),
        ("dataset", "describe", "--root", ".", "--layout"),
    ],
)
def test_another_name_is_a_wrong_command_line(peca, command):
    code, _, err = peca(*command, "mine")
    assert code == 2
    told = " ".join(err.replace("│", " ").split())
    assert "expected sysu, regdb, llcm, or module:function for a reader of your own; got 'mine'" in told


def test_the_tree_of_an_own_reader_is_described_and_ingested(reader, peca, server):
    code, out, _ = peca("dataset", "describe", "--layout", reader, "--root", ".", "--json")
    assert code == 0
    assert json.loads(out)["train_visible"] == 2
    ingest = ("ingest", ".", "--url", server.url, "--api-key", server.key, "--layout", reader, "--json")
    code, out, err = peca(*ingest, "--split", 3)
    assert (code, err) == (0, "")
    assert json.loads(out)["stored"] == 2
    code, out, _ = peca(*ingest, "--split", 3, "--split-name", "train")
    assert json.loads(out)["stored"] == 4


def test_a_reader_that_is_not_there_is_one_line(reader, peca):
    code, _, err = peca("dataset", "describe", "--layout", "reader_of_test:raed", "--root", ".")
    assert code == 1
    assert err.startswith("peca: there is no 'raed' in ")
    assert err.endswith("it defines read\n")
