"""The house style of the figures, and what ``peca evaluate`` draws, writes and reads again."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from client_site import REPOSITORY
from PIL import Image

import clients.extras
from clients.figures import draw_cmc, draw_distances
from clients.paper import paper_scores
from clients.plots import PlotFormat, figure, line_with_spread
from index.distances import measure_distances
from index.errors import InvalidInput
from index.evaluation import EvaluationReport, evaluate_gallery
from index.gallery import open_gallery
from index.records import ImageRecord
from index.space import EmbeddingSpec, Modality

Peca = Callable[..., tuple[int, str, str]]


def fill(url: str, noise: float = 1.0, encoder: str = "test") -> None:
    """A gallery of 12 people, 2 images each by SYSU-MM01's six cameras."""
    rng = np.random.default_rng(0)
    records, vectors = [], []
    for person, direction in enumerate(rng.normal(size=(12, 16)), start=1):
        for camera in range(1, 7):
            for shot in range(2):
                light = Modality.INFRARED if camera in (3, 6) else Modality.VISIBLE
                name, moment = f"cam{camera}-{person}-{shot}", datetime(2024, 1, 1, tzinfo=UTC)
                records.append(ImageRecord(name, light, f"cam{camera}", moment, person_id=str(person)))
                vectors.append(direction + noise * rng.normal(size=16))
    gallery = open_gallery(url, EmbeddingSpec(16, encoder))
    gallery.add(records, np.array(vectors, dtype=np.float32))
    gallery.close()


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"embedded:{tmp_path_factory.mktemp('gallery')}"
    fill(url)
    return url


@pytest.fixture(scope="module")
def report(gallery: str) -> EvaluationReport:
    with_vectors = open_gallery(gallery, EmbeddingSpec(16, "test"), read_only=True)
    found = evaluate_gallery(with_vectors, "sysu-all", trials=3)
    with_vectors.close()
    return found


@pytest.mark.parametrize("kind", PlotFormat)
def test_a_figure_is_the_same_bytes_each_time_whatever_the_user_set(tmp_path: Path, kind: PlotFormat) -> None:
    def drawn(name: str) -> bytes:
        path = tmp_path / "made" / f"{name}.{kind}"
        with figure(path, columns=2) as (left, right):
            line_with_spread(left, [1, 2, 3], [1.0, 3.0, 2.0], [0.5, 0.2, 0.1], "a")
            right.hist([1, 2, 2])
        return path.read_bytes()

    first = drawn("first")
    before = dict(mpl.rcParams)
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        assert drawn("second") == first
    assert dict(mpl.rcParams) == before


def test_a_figure_is_what_its_suffix_says(tmp_path: Path) -> None:
    heads = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    for suffix, head in heads.items():
        with figure(tmp_path / f"a.{suffix}") as (panel,):
            panel.plot([1, 2])
        assert (tmp_path / f"a.{suffix}").read_bytes().startswith(head)
    with pytest.raises(InvalidInput, match=r"png, svg, pdf.*got 'a.gif'"), figure(tmp_path / "a.gif"):
        pass


def test_a_figure_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), figure(tmp_path / "a.png") as (panel,):
        panel.plot([1 / 0])
    assert not list(tmp_path.iterdir())


def test_the_band_is_one_spread_to_each_side(tmp_path: Path) -> None:
    with figure(tmp_path / "a.png") as (panel,):
        line_with_spread(panel, [1, 2], [10.0, 20.0], [1.0, 2.0], "a")
        line_with_spread(panel, [1, 2], [10.0, 20.0], [0.0, 0.0], "b", series=1)
        [band] = panel.collections
        corners = {(x, y) for x, y in band.get_paths()[0].vertices.tolist()}
        assert corners == {(1.0, 9.0), (1.0, 11.0), (2.0, 18.0), (2.0, 22.0)}
        assert len({line.get_color() for line in panel.lines}) == 2
        assert len({line.get_marker() for line in panel.lines}) == 2


def test_the_cmc_figure_shows_the_curve(report: EvaluationReport, tmp_path: Path) -> None:
    draw_cmc(report, tmp_path / "cmc.svg")
    draw_cmc(report, tmp_path / "cmc.png")
    with Image.open(tmp_path / "cmc.png") as image:
        assert image.width > 800
        assert image.convert("L").getpixel((5, 5)) == 255
    assert (tmp_path / "cmc.svg").read_text().count("<path") > 10


def test_the_panels_of_distances_have_one_scale(tmp_path: Path) -> None:
    """There are far fewer pairs of one person, which alone would be drawn in wider bins."""
    draws = np.random.default_rng(0)
    people = np.arange(80) % 20
    vectors = (draws.normal(size=(20, 64))[people] + draws.normal(size=(80, 64))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lights = [Modality.VISIBLE if number < 40 else Modality.INFRARED for number in range(80)]
    draw_distances(measure_distances(vectors, list(map(str, people)), lights), tmp_path / "distances.svg")
    # matplotlib tells in comments what it writes as outlines: below each panel, then beside it.
    told = "|".join(re.findall(r"<!-- (.*?) -->", (tmp_path / "distances.svg").read_text()))
    people_axis, modalities_axis = re.findall(r"cosine distance\|(.*?per [\d.]+\))", told)
    assert people_axis == modalities_axis


def test_distances_without_a_pair_of_a_kind_are_drawn(tmp_path: Path) -> None:
    lights = [Modality.VISIBLE, Modality.VISIBLE, Modality.INFRARED, Modality.INFRARED]
    distances = measure_distances(np.eye(4, dtype=np.float32), ["a", "b", "a", "b"], lights)
    draw_distances(distances, tmp_path / "distances.png")
    assert (tmp_path / "distances.png").is_file()


def test_evaluate_draws_and_writes_all_that_is_asked(peca: Peca, gallery: str, tmp_path: Path) -> None:
    asked = ("--gallery", gallery, "--protocol", "sysu-all", "--trials", 3)
    plots, table, out = tmp_path / "plots", tmp_path / "trials.csv", tmp_path / "report.json"
    files = ("--plots", plots, "--csv", table, "--out", out)
    code, printed, err = peca("evaluate", *asked, *files)
    assert code == 0, err
    assert sorted(path.name for path in plots.iterdir()) == ["cmc.png", "distances.png"]
    assert str(plots / "cmc.png") in printed
    content = json.loads(out.read_text())
    assert len(content["cmc"]) == len(content["cmc_spread"]) == 50
    assert content["cmc"][9] == pytest.approx(content["rank10"])
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["trial"] for row in rows] == ["0", "1", "2", "mean", "spread"]
    assert float(rows[3]["mean_ap"]) == pytest.approx(content["mean_ap"])
    assert float(rows[1]["rank1"]) == pytest.approx(content["trials"][1]["rank1"])

    code, printed, err = peca("evaluate", out, "--plots", plots, "--plot-format", "svg")
    assert code == 0, err
    assert f"{100 * content['rank1']:.2f}" in printed
    assert sorted(path.name for path in plots.iterdir()) == ["cmc.png", "cmc.svg", "distances.png"]


def test_evaluate_averages_reports(peca: Peca, tmp_path: Path) -> None:
    paths = []
    for split in range(2):
        fill(f"embedded:{tmp_path / str(split)}", noise=1.5 + split, encoder=f"model-{split}")
        paths.append(tmp_path / f"split{split}.json")
        asked = ("--gallery", f"embedded:{tmp_path / str(split)}", "--protocol", "regdb", "--out", paths[-1])
        assert peca("evaluate", *asked, "--query-modality", "infrared")[0] == 0
    means = [json.loads(path.read_text())["mean_ap"] for path in paths]
    code, printed, err = peca("evaluate", *paths, "--json")
    assert code == 0, err
    content = json.loads(printed)
    assert content["mean_ap"] == pytest.approx(np.mean(means))
    assert content["spread"]["mean_ap"] == pytest.approx(np.std(means))
    assert content["encoder"] == "model-0, model-1"
    code, printed, _ = peca("evaluate", *paths)
    assert "mean of 2 reports" in printed
    code, _, err = peca("evaluate", *paths, "--protocol", "regdb")
    assert code == 2
    assert "--protocol is for a gallery" in err
    paths[0].write_text("{")
    code, _, err = peca("evaluate", *paths)
    assert (code, err.count("\n")) == (1, 1)
    assert "split0.json is not JSON of `peca evaluate --out`" in err


def test_the_paper_stands_beside_and_says_whether_the_rows_compare(peca: Peca, gallery: str) -> None:
    asked = ("evaluate", "--gallery", gallery, "--protocol", "sysu-indoor", "--beside-paper")
    code, printed, err = peca(*asked)
    assert code == 0, err
    [row] = [line for line in printed.splitlines() if "PECA, Table 1" in line and "79.96" in line]
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "PECA, Table 1", "79.96", "", "98.90", "99.78", "83.96", "", "",
    ]  # fmt: skip
    assert "the rows do not compare" in printed
    assert json.loads(peca(*asked, "--json")[1])["paper"]["mean_ap"] == 0.8396
    for wrong in (("--protocol", "plain"), ("--protocol", "sysu-all", "--shots", 10)):
        code, _, err = peca("evaluate", "--gallery", gallery, *wrong, "--beside-paper")
        assert (code, err.count("\n")) == (1, 1)
        assert "leave --beside-paper out" in err


def test_sizes_of_the_published_test_are_known(report: EvaluationReport) -> None:
    paper = paper_scores(report)
    assert not paper.has_sizes_of(report)
    content: dict[str, Any] = report.to_dict()
    for trial in content["trials"]:
        trial.update(queries=3803, gallery=301)
    assert paper.has_sizes_of(EvaluationReport.from_dict(content))
    content["trials"][2]["gallery"] = 300
    assert not paper.has_sizes_of(EvaluationReport.from_dict(content))


def test_plots_without_matplotlib_name_it_and_not_all_of_training(
    peca: Peca, gallery: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = clients.extras.find_spec
    monkeypatch.setattr(
        clients.extras, "find_spec", lambda name: None if name == "matplotlib" else find(name)
    )
    code, out, err = peca("evaluate", "--gallery", gallery, "--plots", tmp_path)
    assert (code, out) == (1, "")
    assert err == "peca: plots need matplotlib: pip install matplotlib\n"
    assert peca("evaluate", "--gallery", gallery)[0] == 0


def test_evaluating_imports_neither_torch_nor_matplotlib(gallery: str) -> None:
    code = (
        "import sys\n"
        "from clients.cli import main\n"
        "try:\n    main(['evaluate', '--gallery', sys.argv[1], '--beside-paper', '--protocol', 'regdb'])\n"
        "except SystemExit as ended:\n    assert ended.code == 0\n"
        "heavy = {'torch', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", code, gallery]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "94.97" in done.stdout
