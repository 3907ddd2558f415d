"""Evaluation of what a gallery holds, against the same selection and a direct computation."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from index.errors import InvalidInput
from index.evaluation import (
    CMC_RANKS,
    EvaluationReport,
    RerankedPeople,
    combine_reports,
    evaluate_gallery,
    labelled_people,
)
from index.gallery import open_gallery
from index.metrics import evaluate_ranking
from index.protocols import MODES, PLAIN, SYSU, Candidate, select
from index.records import ImageRecord, Where
from index.rerank import reranked as in_order
from index.space import EmbeddingSpec, Modality, l2_normalise

SPEC = EmbeddingSpec(dim=16, encoder="sha256:test")
MOMENT = datetime(2024, 1, 1, tzinfo=UTC)
VISIBLE, INFRARED = Modality.VISIBLE, Modality.INFRARED


def sysu_site(people=8, images=6, noise=1.0, seed=0):
    """A gallery shaped as SYSU-MM01 whose vectors are a person's direction and noise."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(people, SPEC.dim))
    records, vectors = [], []
    for person in range(people):
        for camera in range(1, 7):
            for number in range(1, images + 1):
                source = f"cam{camera}/{person + 1:04d}/{number:04d}.jpg"
                modality = INFRARED if camera in (3, 6) else VISIBLE
                name = source.removesuffix(".jpg").replace("/", "-")
                records.append(
                    ImageRecord(
                        name, modality, f"cam{camera}", MOMENT, person_id=f"{person + 1:04d}", source=source
                    )
                )
                vectors.append(directions[person] + noise * rng.normal(size=SPEC.dim))
    return records, np.array(vectors, dtype=np.float32)


def opened(records, vectors, url="memory:"):
    gallery = open_gallery(url, SPEC)
    gallery.add(records, vectors)
    return gallery


def test_plain_equals_a_direct_computation_in_both_directions():
    records, vectors = sysu_site()
    units = l2_normalise(vectors)
    for asking in Modality:
        report = evaluate_gallery(opened(records, vectors), "plain", asking)
        q = [i for i, record in enumerate(records) if record.modality is asking]
        g = [i for i, record in enumerate(records) if record.modality is not asking]
        expected = evaluate_ranking(
            units[q] @ units[g].T,
            [records[i].person_id for i in q],
            [records[i].person_id for i in g],
            [records[i].camera_id for i in q],
            [records[i].camera_id for i in g],
            PLAIN,
        )
        [trial] = report.trials
        assert (trial.queries, trial.valid_queries, trial.gallery) == (len(q), len(q), len(g))
        assert trial.scores.rank1 == pytest.approx(expected.rank(1))
        assert trial.scores.rank20 == pytest.approx(expected.rank(20))
        assert trial.cmc == pytest.approx([expected.rank(k) for k in range(1, CMC_RANKS + 1)])
        assert report.mean.mean_ap == pytest.approx(expected.mean_ap)
        assert report.mean.mean_inp == pytest.approx(expected.mean_inp)
        assert report.mean.chance_rank1 == pytest.approx(1 / 8)
        assert report.spread.rank1 == 0
        assert (report.shots, report.draws) == (None, None)
        assert (report.query_modality, report.gallery_modality) == (asking, asking.other)


@pytest.mark.parametrize("shots", [1, 10])
@pytest.mark.parametrize("name", ["sysu-all", "sysu-indoor"])
def test_sysu_averages_the_trials_of_its_draws(name, shots):
    records, vectors = sysu_site()
    report = evaluate_gallery(opened(records, vectors), name, shots=shots, trials=4)
    units = l2_normalise(vectors)
    candidates = [Candidate(r.person_id, r.camera_id, r.modality, r.source) for r in records]
    rank1, mean_ap = [], []
    for trial in range(4):
        chosen = select(candidates, MODES[name], INFRARED, shots=shots, trial=trial)
        q, g = list(chosen.queries), list(chosen.gallery)
        labels = [
            [getattr(records[i], what) for i in part]
            for what in ("person_id", "camera_id")
            for part in (q, g)
        ]
        metrics = evaluate_ranking(units[q] @ units[g].T, *labels, SYSU)
        rank1.append(metrics.rank(1))
        mean_ap.append(metrics.mean_ap)
        assert report.trials[trial].gallery == len(g)
    assert [trial.scores.rank1 for trial in report.trials] == pytest.approx(rank1)
    assert report.mean.rank1 == pytest.approx(np.mean(rank1))
    assert report.mean.mean_ap == pytest.approx(np.mean(mean_ap))
    assert report.spread.mean_ap == pytest.approx(np.std(mean_ap))
    assert report.query_modality is INFRARED


def test_the_order_of_ingest_does_not_change_the_result():
    records, vectors = sysu_site()
    order = np.random.default_rng(1).permutation(len(records))
    forward = evaluate_gallery(opened(records, vectors), "sysu-all", trials=3)
    shuffled = evaluate_gallery(opened([records[i] for i in order], vectors[order]), "sysu-all", trials=3)
    assert shuffled.mean.mean_ap == pytest.approx(forward.mean.mean_ap, abs=1e-12)
    assert shuffled.mean.rank1 == forward.mean.rank1


def test_the_embedded_engine_gives_the_same_report(tmp_path):
    site = sysu_site()
    embedded = opened(*site, url=f"embedded:{tmp_path}")
    in_memory = evaluate_gallery(opened(*site), "sysu-all", trials=2)
    assert evaluate_gallery(embedded, "sysu-all", trials=2) == in_memory
    embedded.close()


def test_without_a_source_the_draw_sorts_by_image_id():
    records, vectors = sysu_site()
    bare = [
        ImageRecord(r.image_id, r.modality, r.camera_id, r.captured_at, person_id=r.person_id)
        for r in records
    ]
    with_source = evaluate_gallery(opened(records, vectors), "sysu-all", trials=2)
    assert evaluate_gallery(opened(bare, vectors), "sysu-all", trials=2).trials == with_source.trials


def test_a_perfect_and_a_random_encoder():
    perfect = evaluate_gallery(opened(*sysu_site(noise=0.01)), "sysu-all")
    assert perfect.mean.rank1 == perfect.mean.mean_ap == perfect.mean.mean_inp == 1
    # Queries of camera 6 see 4 images a person, of camera 3 they see 3: the share is 1/8 either way.
    assert perfect.mean.chance_rank1 == pytest.approx(1 / 8)
    noise = evaluate_gallery(opened(*sysu_site(noise=1000.0)), "plain")
    assert noise.mean.rank1 < 0.4


def test_unlabelled_images_take_no_part_and_are_counted():
    records, vectors = sysu_site()
    strangers = [ImageRecord(f"x{i}", m, "lobby", MOMENT) for i, m in enumerate([VISIBLE, INFRARED, VISIBLE])]
    extra = np.random.default_rng(5).normal(size=(3, SPEC.dim)).astype(np.float32)
    alone = evaluate_gallery(opened(records, vectors), "sysu-all")
    mixed = evaluate_gallery(opened([*strangers, *records], np.concatenate([extra, vectors])), "sysu-all")
    assert (alone.unlabelled, mixed.unlabelled) == (0, 3)
    assert mixed.mean == alone.mean


def test_the_report_is_json():
    report = evaluate_gallery(opened(*sysu_site()), "sysu-indoor", shots=10, trials=2).to_dict()
    assert json.loads(json.dumps(report)) == report
    assert report["encoder"] == SPEC.encoder
    assert report["draws"] == "seeded"
    assert (report["queries"], report["valid_queries"], report["gallery"]) == (96, 96, 96)
    assert set(report) >= {
        "rank1",
        "rank5",
        "rank10",
        "rank20",
        "mean_ap",
        "mean_inp",
        "chance_rank1",
        "spread",
    }
    assert [trial["trial"] for trial in report["trials"]] == [0, 1]
    assert report["rank1"] == pytest.approx(np.mean([trial["rank1"] for trial in report["trials"]]))


def test_the_cmc_curve_is_the_mean_of_the_trials_with_its_spread():
    report = evaluate_gallery(opened(*sysu_site(noise=2.0)), "sysu-all", trials=3)
    curves = np.array([trial.cmc for trial in report.trials])
    assert curves.shape == (3, CMC_RANKS)
    assert len(set(curves[:, 0])) > 1
    assert report.cmc == pytest.approx(curves.mean(axis=0))
    assert report.cmc_spread == pytest.approx(curves.std(axis=0))
    assert (report.cmc[0], report.cmc[19]) == pytest.approx((report.mean.rank1, report.mean.rank20))
    # The gallery has 8 identities, so the curve has arrived at rank 8 and stays.
    assert report.cmc[7:] == [1.0] * (CMC_RANKS - 7)


@pytest.mark.parametrize(("name", "shots"), [("sysu-indoor", 10), ("plain", 1)])
def test_a_report_comes_back_from_its_json(name, shots):
    report = evaluate_gallery(opened(*sysu_site()), name, shots=shots, trials=2)
    assert EvaluationReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "market"}, "protocol must be one of"),
        ({"trials": [{"trial": 0}]}, "KeyError: 'cmc'"),
        ({"query_modality": "thermal"}, "'thermal' is not a valid Modality"),
        ({"trials": []}, "at least one trial"),
    ],
)
def test_what_is_no_report_is_refused(change, message):
    content = {**evaluate_gallery(opened(*sysu_site()), "plain").to_dict(), **change}
    with pytest.raises(InvalidInput, match=message):
        EvaluationReport.from_dict(content)


def test_a_short_cmc_curve_is_refused():
    content = evaluate_gallery(opened(*sysu_site()), "plain").to_dict()
    content["trials"][0]["cmc"].pop()
    with pytest.raises(InvalidInput, match="has 50 ranks, got 49"):
        EvaluationReport.from_dict(content)


def test_reports_of_one_test_are_averaged_over_all_their_trials():
    splits = [evaluate_gallery(opened(*sysu_site(seed=seed, noise=2.0)), "regdb") for seed in range(3)]
    combined = combine_reports(splits)
    rank1 = [split.mean.rank1 for split in splits]
    assert len(set(rank1)) == 3
    assert combined.mean.rank1 == pytest.approx(np.mean(rank1))
    assert combined.spread.rank1 == pytest.approx(np.std(rank1))
    assert combined.cmc == pytest.approx(np.mean([split.cmc for split in splits], axis=0))
    assert [trial.trial for trial in combined.trials] == [0, 1, 2]
    assert combined.encoder == SPEC.encoder, "one encoder is named once"
    assert combine_reports(splits[:1]) == splits[0]


@pytest.mark.parametrize(
    ("protocol", "options"), [("plain", {}), ("regdb", {"query_modality": "infrared"}), ("sysu-all", {})]
)
def test_reports_of_two_tests_have_no_mean(protocol, options):
    gallery = opened(*sysu_site())
    with pytest.raises(InvalidInput, match="only reports of one test have a mean"):
        combine_reports([evaluate_gallery(gallery, "regdb"), evaluate_gallery(gallery, protocol, **options)])
    with pytest.raises(InvalidInput, match="no report"):
        combine_reports([])
    with pytest.raises(InvalidInput, match="one report was given twice"):
        combine_reports([evaluate_gallery(gallery, "regdb")] * 2)


@pytest.mark.parametrize("modality", list(Modality))
def test_refuses_a_gallery_of_one_modality(modality):
    gallery = opened(*sysu_site())
    gallery.remove(Where(modality=modality))
    with pytest.raises(InvalidInput, match=f"no {modality} one: ingest labelled {modality} images too"):
        evaluate_gallery(gallery, "plain")


@pytest.mark.parametrize("images", [0, 4])
def test_refuses_a_gallery_without_labels(images):
    records = [ImageRecord(f"x{i}", VISIBLE, "lobby", MOMENT) for i in range(images)]
    gallery = (
        opened(records, np.eye(16, dtype=np.float32)[:images]) if images else open_gallery("memory:", SPEC)
    )
    with pytest.raises(InvalidInput, match=f"none of the {images} in the gallery is"):
        evaluate_gallery(gallery, "plain")


@pytest.mark.parametrize(
    ("protocol", "options", "message"),
    [
        ("market", {}, "protocol must be one of sysu-all"),
        ("sysu-all", {"query_modality": "visible"}, "asked by infrared images"),
        (
            "sysu-all",
            {"query_modality": "thermal"},
            "modality must be one of visible, infrared; got 'thermal'",
        ),
        ("sysu-all", {"draws": "official"}, "give its path"),
        ("sysu-all", {"draws": "random"}, "draws must be one of seeded, official; got 'random'"),
        ("sysu-all", {"trials": 0}, "trials must be at least 1"),
        ("sysu-all", {"shots": 0}, "shots must be at least 1"),
        ("plain", {"shots": 10}, "draws nothing"),
        ("plain", {"draws": "official"}, "draws nothing"),
        ("llcm", {"draws": "official"}, "llcm has seeded draws, not official"),
    ],
)
def test_refuses_what_a_protocol_does_not_define(protocol, options, message):
    with pytest.raises(InvalidInput, match=message):
        evaluate_gallery(opened(*sysu_site(people=2, images=1)), protocol, **options)


def test_refuses_cameras_that_sysu_cannot_read():
    records = [
        ImageRecord("a", VISIBLE, "lobby", MOMENT, person_id="1"),
        ImageRecord("b", INFRARED, "yard", MOMENT, person_id="1"),
    ]
    gallery = opened(records, np.eye(16, dtype=np.float32)[:2])
    with pytest.raises(InvalidInput, match=r"got 'yard'; use the plain protocol"):
        evaluate_gallery(gallery, "sysu-all")
    assert evaluate_gallery(gallery, "plain").mean.rank1 == 1


def test_refuses_modalities_without_an_identity_in_common():
    records = [
        ImageRecord("a", VISIBLE, "cam1", MOMENT, person_id="1"),
        ImageRecord("b", INFRARED, "cam3", MOMENT, person_id="2"),
    ]
    with pytest.raises(InvalidInput, match="identities in common"):
        evaluate_gallery(opened(records, np.eye(16, dtype=np.float32)[:2]), "plain")


def test_reranked_rankings_are_scored_and_said():
    records, vectors = sysu_site(people=12, noise=1.2)
    gallery = opened(records, vectors)
    plain = evaluate_gallery(gallery, "plain", VISIBLE)
    reranked = evaluate_gallery(gallery, "plain", VISIBLE, rerank=True)
    assert (plain.reranked, reranked.reranked) == (False, True)
    assert reranked.mean.mean_ap > plain.mean.mean_ap
    assert reranked.mean.mean_inp > plain.mean.mean_inp
    assert EvaluationReport.from_dict(json.loads(json.dumps(reranked.to_dict()))) == reranked
    old = {name: value for name, value in plain.to_dict().items() if name != "reranked"}
    assert EvaluationReport.from_dict(old) == plain
    with pytest.raises(InvalidInput, match="re-ranked"):
        combine_reports([plain, reranked])
    units = l2_normalise(vectors)
    g = [i for i, record in enumerate(records) if record.modality is INFRARED]
    people = labelled_people(gallery)
    again = RerankedPeople(people.candidates, people.vectors, people.unlabelled, people.image_ids)
    (row,) = again.similarity(np.array([0]), np.array(g))
    hits = gallery.search(units[:1], len(g), Where(modality=INFRARED))[0]
    expected = [hit.record.image_id for hit in in_order(gallery, units[0], hits)]
    assert [records[g[i]].image_id for i in np.argsort(-row, kind="stable")] == expected
