"""Retention applied by a real server, by the rules that stand in its gallery."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from server_site import Process, Site, about, picture, served

from exporter.runtime import GreyPixelEncoder
from index.embedded.retention import Retention, write_retention
from index.images import image_path
from server.app import create_app
from server.metrics import RETENTION_SUCCESS
from server.settings import Settings

OLD, NEW = "2020-01-01T12:00:00Z", "2099-01-01T12:00:00Z"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "peca-data"


def filled(process: Process) -> Site:
    """Old and new images of two cameras."""
    site = process.site(process.key or "")
    images = [
        ("gate-old", "gate", OLD),
        ("gate-new", "gate", NEW),
        ("vault-old", "vault", OLD),
    ]
    said = [
        about(f"{name}.jpg", image_id=name, camera_id=camera, captured_at=captured_at)
        for name, camera, captured_at in images
    ]
    files = {f"{name}.jpg": picture(n) for n, (name, _, _) in enumerate(images)}
    assert site.ingest(files, said).json()["counts"]["stored"] == 3
    return site


def set_rules(data: Path) -> None:
    write_retention(data, Retention(30, {"vault": None}))


def status(site: Site, image_id: str) -> int:
    return site.http.get(f"/images/{image_id}").status_code


def test_a_server_removes_what_is_due_by_itself(
    launch: Callable[[], Process], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PECA_RETENTION_MINUTES", "0.005")
    process = launch()
    site = filled(process)
    set_rules(data)
    end = time.monotonic() + 30
    while status(site, "gate-old") == 200:
        assert time.monotonic() < end, process.log.read_text()
        time.sleep(0.05)
    assert [status(site, name) for name in ("gate-old", "gate-new", "vault-old")] == [404, 200, 200]
    assert not image_path(data / "images", "gate-old").exists()
    assert image_path(data / "images", "vault-old").exists()
    records = [json.loads(line) for line in (data / "audit.jsonl").read_text().splitlines()]
    (deleted,) = [record for record in records if record["action"] == "delete"]
    assert (deleted["by"], deleted["key"], deleted["image_ids"]) == ("retention", None, ["gate-old"])
    assert deleted["filters"]["exclude_camera_ids"] == ["vault"]
    assert "before" in deleted["filters"]
    metrics = site.http.get("/metrics").text
    assert "peca_retention_images_total 1.0" in metrics
    assert "peca_retention_images_dated_ahead 1.0" in metrics
    log = process.log.read_text()
    assert log.count("1 image is dated more than a day ahead of this machine's clock") == 1
    (success,) = [
        float(line.split()[1])
        for line in metrics.splitlines()
        if line.startswith("peca_retention_success_timestamp_seconds ")
    ]
    assert abs(success - time.time()) < 30
    assert "1 image removed, kept for as long as the rules" in process.log.read_text()


def test_generations_that_removals_do_not_reach_are_told_once_at_the_start(
    launch: Callable[[], Process], data: Path
) -> None:
    process = launch()
    assert "of another encoder" not in process.log.read_text()
    process.end()
    other = data / "generations" / "earlier"
    other.mkdir(parents=True)
    shutil.copy(data / "gallery.sqlite3", other)
    process = launch()
    told = f"1 generation of another encoder beside the gallery embedded:{data}: what this server removes"
    assert process.log.read_text().count(told) == 1


def test_rules_that_cannot_be_read_are_told_and_tried_again(
    launch: Callable[[], Process], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PECA_RETENTION_MINUTES", "0.005")
    process = launch()
    site = filled(process)
    pointer = data / "generation"
    pointer.write_text("damaged")
    end = time.monotonic() + 30
    while "retention cannot be applied now, and will be tried again" not in process.log.read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    pointer.unlink()
    set_rules(data)
    while status(site, "gate-old") == 200:
        assert time.monotonic() < end, process.log.read_text()
        time.sleep(0.05)


def test_a_server_of_a_gallery_in_milvus_says_that_it_removes_nothing_for_its_age(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("milvus_lite")
    RETENTION_SUCCESS.set(0)
    settings = Settings(
        gallery=f"milvus:{tmp_path}/gallery.db", data_dir=tmp_path / "data", metrics_open=True
    )
    for minutes in (0, 0.005):
        assert "retention" not in caplog.text
        changed = settings.model_copy(update={"retention_minutes": minutes})
        with served(create_app(changed, encoder=GreyPixelEncoder())) as address:
            time.sleep(1)
            metrics = httpx.get(f"{address}/metrics").text
        assert "peca_retention_success_timestamp_seconds 0.0" in metrics
    (told,) = [one for one in caplog.records if "retention" in one.getMessage()]
    assert told.levelname == "WARNING"
    assert f"no image of milvus:{tmp_path}/gallery.db is removed" in told.getMessage()


def test_a_server_that_is_told_so_removes_nothing(
    launch: Callable[[], Process], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PECA_RETENTION_MINUTES", "0")
    site = filled(launch())
    set_rules(data)
    time.sleep(1)
    assert status(site, "gate-old") == 200
    assert "peca_retention_images_total 0.0" in site.http.get("/metrics").text
