"""GET /stats, GET /quality and POST /encoder/reload."""

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from server_site import Site, about, picture, served

from exporter.bundle import default_bundle
from exporter.runtime import GreyPixelEncoder, load_encoder
from index.evaluation import evaluate_gallery
from index.gallery import open_gallery
from index.space import EmbeddingSpec, Modality
from server.access import Role
from server.app import create_app
from server.keys import open_keys
from server.settings import Settings


@pytest.fixture
def labelled(site: Site) -> Site:
    """Four people before three cameras: two visible images of cam1, one infrared each of cam2 and cam3."""
    for camera, modality, shots in (("cam1", "visible", 2), ("cam2", "infrared", 1), ("cam3", "infrared", 1)):
        said = [
            about(
                f"{person}-{shot}",
                image_id=f"{camera}-{person}-{shot}",
                camera_id=camera,
                modality=modality,
                person_id=f"{person:04d}",
            )
            for person in range(4)
            for shot in range(shots)
        ]
        files = {one["filename"]: picture(int(str(one["filename"])[0])) for one in said}
        assert site.ingest(files, said).status_code == 201
    assert site.people(2, camera_id="cam3").status_code == 201
    return site


def test_stats_count_by_camera_and_hour(site: Site, settings: Settings) -> None:
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    moments = [now, hour, hour - timedelta(hours=1), hour - timedelta(hours=23), hour - timedelta(hours=24)]
    said = [
        about(f"{n}", image_id=f"i{n}", captured_at=moment.isoformat(), camera_id=f"cam{n % 2}")
        for n, moment in enumerate(moments)
    ]
    site.ingest({one["filename"]: picture(n) for n, one in enumerate(said)}, said)
    stats = site.http.get("/stats").json()
    assert stats["images"] == 5
    hours = {one["camera_id"]: one.pop("hours") for one in stats["cameras"]}
    assert stats["cameras"] == site.http.get("/cameras").json()["items"]
    counts = {datetime.fromisoformat(one["hour"]): one["images"] for one in stats["hours"]}
    if datetime.now(UTC).hour == hour.hour:  # the hour may end while this runs
        assert list(counts) == [hour - timedelta(hours=back) for back in range(23, -1, -1)]
        assert [n for n in counts.values() if n] == [1, 1, 2]
        assert counts[hour] == 2
        assert {camera: [n for n in its if n] for camera, its in hours.items()} == {
            "cam0": [1, 1],
            "cam1": [1, 1],
        }
        assert [sum(both) for both in zip(*hours.values(), strict=True)] == list(counts.values())
    assert 0 < stats["disk_free_bytes"] <= stats["disk_total_bytes"]
    assert (stats["gallery"], stats["encoder"], stats["dim"]) == ("memory", "grey-pixels-32x16", 513)
    assert stats["provider"] == "numpy"


def test_a_limited_key_has_stats_of_its_cameras(labelled: Site, as_holder: Callable[..., Site]) -> None:
    limited = as_holder(labelled, "Ada", Role.OPERATOR, camera_ids=["cam2"])
    stats = limited.http.get("/stats").json()
    assert (stats["images"], [one["camera_id"] for one in stats["cameras"]]) == (4, ["cam2"])


def test_quality_is_the_evaluation_of_the_labelled_images(labelled: Site) -> None:
    quality = labelled.http.get("/quality").json()
    assert (quality["people"], quality["labelled"]) == (4, 16)
    assert quality["images"] == {"visible": 8, "infrared": 8}
    gallery = labelled.app.state.parts.catalogue._gallery
    assert [one["query_modality"] for one in quality["directions"]] == ["visible", "infrared"]
    for one in quality["directions"]:
        report = evaluate_gallery(gallery, "plain", Modality(one["query_modality"]))
        assert one["cmc"] == report.cmc
        assert (one["mean_ap"], one["mean_inp"]) == (report.mean.mean_ap, report.mean.mean_inp)
        assert (one["rank1"], one["valid_queries"], one["gallery"]) == (report.mean.rank1, 8, 8)
    cosines = quality["cosines"]
    assert (cosines["bin_edges"][0], cosines["bin_edges"][-1], len(cosines["bin_edges"])) == (-1, 1, 101)
    assert (cosines["across"]["same"]["pairs"], cosines["across"]["different"]["pairs"]) == (16, 48)
    assert (cosines["visible"]["same"]["pairs"], cosines["infrared"]["same"]["pairs"]) == (4, 4)
    # The pictures of a person are the same, so that their cosine is 1, in the last bin.
    assert cosines["across"]["same"]["histogram"][-1] == 16
    assert cosines["across"]["same"]["mean"] == pytest.approx(1, abs=1e-4)
    different = cosines["across"]["different"]
    assert sum(different["histogram"]) == 48
    centres = (np.array(cosines["bin_edges"][1:]) + np.array(cosines["bin_edges"][:-1])) / 2
    assert float(np.average(centres, weights=different["histogram"])) == pytest.approx(
        different["mean"], abs=0.011
    )


def test_quality_needs_people_labelled_in_both_modalities(site: Site) -> None:
    def refused() -> str:
        answer = site.http.get("/quality")
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:peca:problem:not-labelled")
        return str(answer.json()["detail"])

    assert "evaluation needs images labelled with person_id" in refused()
    site.people(2, person_id="0001")
    assert "no visible one" in refused()
    site.ingest({"v": picture(3)}, [about("v", modality="visible", person_id="0002")])
    assert "an identity that was seen in both" in refused()


def test_quality_within_the_cameras_of_a_key(labelled: Site, as_holder: Callable[..., Site]) -> None:
    two = as_holder(labelled, "Ada", Role.OPERATOR, camera_ids=["cam1", "cam2"])
    assert two.http.get("/quality").json()["images"] == {"visible": 8, "infrared": 4}
    one = as_holder(labelled, "Eve", Role.OPERATOR, camera_ids=["cam1"])
    assert one.http.get("/quality").json()["type"] == "urn:peca:problem:not-labelled"


def test_of_many_labelled_images_whole_people_are_drawn(
    labelled: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.services.quality.MOST_IMAGES", 9)
    quality = labelled.http.get("/quality").json()
    assert (quality["people"], quality["images"], quality["labelled"]) == (
        2,
        {"visible": 4, "infrared": 4},
        16,
    )
    assert labelled.http.get("/quality").json() == quality


def test_another_encoder_than_the_gallerys_is_refused(labelled: Site, settings: Settings) -> None:
    answer = labelled.http.post("/encoder/reload")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:peca:problem:encoder-mismatch")
    assert labelled.http.get("/version").json()["provider"] == "numpy"
    assert labelled.search(picture(1)).status_code == 200
    log = (settings.data_folder / "audit.jsonl").read_text()
    assert '"action":"reload"' not in log


def test_the_encoder_is_opened_again(tmp_path: Path) -> None:
    """Begun with a stand-in of the same fingerprint, so that the settings' encoder is seen to take over."""
    settings = Settings(gallery="memory:", data_dir=tmp_path / "data")
    bundle = load_encoder(default_bundle(), "cpu")
    stand_in = GreyPixelEncoder(bundle.image_hw)
    stand_in.spec = bundle.spec
    stand_in.encode = lambda images, _: np.eye(bundle.spec.dim, dtype=np.float32)[: len(images)]
    _, key = open_keys(settings.data_folder)
    with (
        closing(open_gallery("memory:", EmbeddingSpec(bundle.spec.dim, bundle.spec.encoder))) as gallery,
        served(create_app(settings, encoder=stand_in, gallery=gallery)) as address,
        httpx.Client(base_url=address, headers={"X-API-Key": key or ""}, timeout=60) as http,
    ):
        site = Site(http)
        site.people(1)
        assert site.search(picture(9)).json()["items"][0]["score"] == pytest.approx(1)
        assert http.get("/version").json()["provider"] == "numpy"
        answer = http.post("/encoder/reload")
        assert answer.json() == {"encoder": bundle.spec.encoder, "provider": "cpu"}
        assert site.search(picture(9)).json()["items"][0]["score"] < 0.9
        assert http.get("/version").json()["provider"] == "cpu"
    last = (settings.data_folder / "audit.jsonl").read_text().splitlines()
    reloads = [json.loads(line) for line in last if '"action":"reload"' in line]
    assert [(one["key"], one["encoder"]) for one in reloads] == [("admin", bundle.spec.encoder)]


def test_a_bundle_that_cannot_be_opened_leaves_the_encoder_in_use(
    start: Callable[..., Site], tmp_path: Path
) -> None:
    site = start(encoder=GreyPixelEncoder())
    state = site.app.state.parts
    state.encoder._load = lambda: load_encoder(tmp_path / "no-bundle")
    answer = site.http.post("/encoder/reload")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:encoder-invalid")
    assert site.search(picture(1)).status_code == 200


def test_a_provider_that_does_not_run_here_leaves_the_encoder_in_use(
    start: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = start(encoder=GreyPixelEncoder(), provider="cuda")
    monkeypatch.setattr("exporter.sessions.missing", lambda _: "it is not installed")
    answer = site.http.post("/encoder/reload")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:peca:problem:encoder-invalid")
    assert f"runs {default_bundle().name} here: cuda" in answer.json()["detail"]
    assert str(default_bundle().parent) not in answer.text
    assert answer.headers["retry-after"] == "5"
    assert site.search(picture(1)).status_code == 200
