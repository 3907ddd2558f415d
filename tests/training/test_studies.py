"""Ablations and sweeps on real runs of a few steps, and the sums in their tables."""

import csv
import json
import statistics
from dataclasses import replace

import pytest
import torch

from index.errors import InvalidInput
from training.checkpoint import BEST, LAST, load_checkpoint
from training.data.arrays import decode_images
from training.datasets.describe import TESTS
from training.models.network import Network
from training.options import TrainOptions
from training.recipe import load_recipe
from training.scoring import score_test
from training.studies import (
    RANGES,
    RESULT,
    SWEPT,
    Result,
    Study,
    Variant,
    markdown_table,
    run_study,
    summarise,
    swept,
    write_tables,
)


def one_epoch(recipe):
    return replace(recipe, optimiser=replace(recipe.optimiser, epochs=1, lr=0.001))


@pytest.fixture
def study(shrink, dataset, tmp_path):
    rows = tuple(Variant(name, one_epoch(shrink(load_recipe(name)))) for name in ("M1", "M2"))
    return Study(rows, 1, TrainOptions(rows[0].recipe, dataset, tmp_path / "study"))


def lines_of(study):
    lines = []
    return run_study(study, lines.append), lines


def test_a_study_trains_each_row_and_scores_it_on_every_test(study, dataset):
    results, lines = lines_of(study)
    tests = list(TESTS[dataset.layout])
    assert [(one.variant, one.mirrored, one.test) for one in results] == [
        (row, mirrored, test) for row in ("M1", "M2") for mirrored in (False, True) for test in tests
    ]
    assert all(0 <= one.rank1 <= one.rank10 <= one.rank20 <= 1 for one in results)
    assert any("M2, seed 0: step" in line for line in lines)
    assert "(2 of 2, 0 min left)" in lines[-1]
    for row in ("M1", "M2"):
        assert load_checkpoint(study.options.out / row / "seed-0" / LAST).recipe["name"] == row


def test_its_scores_are_those_of_the_best_checkpoint(study, dataset, tmp_path):
    results, _ = lines_of(replace(study, variants=study.variants[:1]))
    checkpoint = load_checkpoint(study.options.out / "M1" / "seed-0" / BEST)
    recipe = study.variants[0].recipe
    network = Network(recipe.model, len(checkpoint.identities))
    network.load_state_dict(checkpoint.network)
    images = decode_images(dataset.test, recipe.data.image_hw, tmp_path / "anew")
    for mirrored in (False, True):
        reports = score_test(
            network.encoder.eval(),
            dataset.test,
            images,
            dataset.layout,
            torch.device("cpu"),
            mirrored=mirrored,
        )
        kept = {one.test: one for one in results if one.mirrored == mirrored}
        assert {name: report.mean.mean_ap for name, report in reports.items()} == pytest.approx(
            {name: one.mean_ap for name, one in kept.items()}, abs=1e-6
        )


def test_a_complete_run_is_not_repeated_and_a_stopped_one_goes_on(study):
    stopped, lines = lines_of(replace(study, max_minutes=0))
    assert stopped == []
    assert "not complete (1 of 2" in lines[1]
    first, _ = lines_of(study)
    second, lines = lines_of(study)
    assert second == first
    assert not [line for line in lines if "step" in line]
    (study.options.out / "M2" / "seed-0" / RESULT).unlink()
    third, lines = lines_of(study)
    assert third == first
    assert len([line for line in lines if "seed 0: " in line]) == 2


def test_the_result_of_another_experiment_is_refused(study):
    lines_of(study)
    other = replace(study, variants=(Variant("M1", one_epoch(study.variants[1].recipe)),))
    with pytest.raises(InvalidInput, match=r"result of another run \(recipe\); choose another --out"):
        lines_of(other)
    path = study.options.out / "M1" / "seed-0" / RESULT
    path.write_text(json.dumps(json.loads(path.read_text()) | {"images": "images-of-another-tree.npy"}))
    with pytest.raises(InvalidInput, match=r"result of another run \(images\)"):
        lines_of(study)


def test_the_result_of_another_start_or_precision_is_refused(study, tmp_path):
    lines_of(study)
    start = tmp_path / "start.pt"
    start.write_bytes((study.options.out / "M1" / "seed-0" / BEST).read_bytes())
    for part, changes in {"weights": {"weights": start}, "precision": {"arithmetic": "bf16"}}.items():
        with pytest.raises(InvalidInput, match=rf"result of another run \({part}\)"):
            lines_of(replace(study, options=replace(study.options, **changes)))


def test_a_wrong_setting_is_refused_before_the_decoding(study):
    rows = swept(replace(study.variants[1].recipe, losses=load_recipe("PECA").losses), "tau_mod", [0.1, 0.0])
    with pytest.raises(InvalidInput, match="temperature must be above 0, got 0"):
        lines_of(replace(study, variants=rows))
    assert not study.options.out.exists()


@pytest.mark.slow
def test_runs_side_by_side_give_the_results_of_runs_in_a_row(study):
    alone, _ = lines_of(study)
    together = run_study(
        replace(study, options=replace(study.options, out=study.options.out / "2"), jobs=2), print
    )
    for one, other in zip(alone, together, strict=True):
        assert one.mean_ap == pytest.approx(other.mean_ap, abs=0.05)


@pytest.mark.parametrize("parameter", SWEPT)
def test_a_sweep_varies_one_setting_and_nothing_else(parameter):
    base = load_recipe("PECA")
    term, setting = SWEPT[parameter]
    for value, variant in zip(RANGES[parameter], swept(base, parameter, RANGES[parameter]), strict=True):
        assert variant.name == f"{parameter} {value:g}"
        assert variant.recipe.losses[term][setting] == value
        losses = variant.recipe.losses
        assert replace(variant.recipe, losses=losses | {term: base.losses[term]}) == base


def test_what_cannot_be_swept_is_refused():
    with pytest.raises(InvalidInput, match="tau_mod belongs to the loss term 'mod', which recipe M2"):
        swept(load_recipe("M2"), "tau_mod", [0.1])
    with pytest.raises(InvalidInput, match="there are tau_ins, tau_mod, lambda_m"):
        swept(load_recipe("PECA"), "margin", [0.1])


def test_rows_of_one_name_are_refused(study):
    with pytest.raises(InvalidInput, match="names of their own"):
        replace(study, variants=study.variants[:1] * 2)


def result(row, seed, rank1):
    return Result(row, seed, "all", False, rank1, 0.9, 1.0, rank1 / 2, 0.1)


RESULTS = [
    *(result("M1", seed, value) for seed, value in enumerate((0.40, 0.50, 0.45))),
    *(result("PECA", seed, value) for seed, value in enumerate((0.50, 0.58, 0.57))),
]


def test_the_gain_is_paired_by_seed():
    cells = summarise(RESULTS, "all", False, "rank1")
    assert cells["M1"].mean == pytest.approx(45)
    assert cells["PECA"].spread == pytest.approx(statistics.stdev((50, 58, 57)))
    assert cells["PECA"].gain == pytest.approx(10)
    assert cells["PECA"].gain_spread == pytest.approx(statistics.stdev((10, 8, 12)))
    row = ("PECA", "3", "55.0 ± 4.4", "90.0 ± 0.0", "100.0 ± 0.0", "27.5 ± 2.2", "10.0 ± 0.0")
    gains = ("+10.0 ± 2.0", "+5.0 ± 1.0")
    assert markdown_table(RESULTS, "all").splitlines()[3] == f"| {' | '.join(row + gains)} |"


def test_the_tables_hold_every_run(tmp_path):
    markdown, table = write_tables(RESULTS, tmp_path, "ablation")
    assert markdown_table(RESULTS, "all") in markdown.read_text()
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["variant"], row["seed"], float(row["rank1"])) for row in rows] == [
        (one.variant, str(one.seed), one.rank1) for one in RESULTS
    ]
