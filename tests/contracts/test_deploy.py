"""The container files name what there is: stages, extras, settings, paths, ports and metrics."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from shutil import which

import pytest
import typer
import yaml
from prometheus_client import generate_latest

from clients.cli import app
from server.metrics import REGISTRY
from server.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
COMPOSE = ("compose.yaml", "compose.milvus.yaml")
SETTINGS = {f"PECA_{name.upper()}" for name in Settings.model_fields}


def parsed(name: str) -> dict:
    return yaml.safe_load((REPOSITORY / name).read_text())


def test_the_dockerfile_builds_on_what_there_is() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    assert {"cpu", "gpu"} <= stages
    assert bases - stages == {"python:3.12-slim"}
    assert set(re.findall(r"COPY --from=(\S+)", DOCKERFILE)) <= stages
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = {extra for group in re.findall(r"'\.\[(.+?)\]'", DOCKERFILE) for extra in group.split(",")}
    assert {"cpu", "gpu"} <= installed <= set(extras)
    for name in re.findall(r"-c (\S+)", DOCKERFILE):
        assert (REPOSITORY / name).exists()


def test_the_image_is_not_root_is_watched_and_serves() -> None:
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["peca"]
    assert re.search(
        r"^HEALTHCHECK .* CMD \[\"python\", \"-m\", \"server.probe\"\]$", DOCKERFILE, re.MULTILINE
    )
    command = re.search(r'^CMD \["peca", "(\w+)"\]$', DOCKERFILE, re.MULTILINE)
    assert command
    assert command[1] in typer.main.get_command(app).commands
    assert set(re.findall(r"\b(PECA_\w+)=", DOCKERFILE)) <= SETTINGS
    assert f"EXPOSE {Settings.model_fields['port'].default}" in DOCKERFILE
    for name in ("PECA_GALLERY", "PECA_DATA_DIR", "TMPDIR"):
        assert re.search(rf"{name}=\S*/var/lib/peca/", DOCKERFILE), f"{name} is not in the volume"


def test_what_is_built_from_reaches_the_builder() -> None:
    kept = re.findall(r"^!(\S+)$", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)
    needed = {"index", "exporter", "training", "server", "clients", "pyproject.toml", "constraints.txt"}
    assert needed <= set(kept)
    assert all((REPOSITORY / name).exists() for name in kept)


@pytest.mark.parametrize("name", COMPOSE)
def test_a_compose_file_names_what_there_is(name: str) -> None:
    file = parsed(name)
    volumes = set(file["volumes"])
    for service in file["services"].values():
        assert "no-new-privileges:true" in service["security_opt"]
        assert set(service.get("depends_on", {})) <= set(file["services"])
        for published in service.get("ports", []):
            assert published.startswith("127.0.0.1:")
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            assert source in volumes or (REPOSITORY / source).is_file(), mount
    peca = file["services"]["peca"]
    assert f"AS {peca['build']['target']}" in DOCKERFILE
    assert set(peca.get("environment", {})) <= SETTINGS
    assert "127.0.0.1:8000:8000" in peca["ports"]
    assert peca["volumes"] == ["peca-data:/var/lib/peca"]
    assert int(peca["stop_grace_period"].removesuffix("s")) > Settings.model_fields["stop_grace_s"].default


def test_the_unit_of_systemd_is_one_and_its_settings_are_ours(tmp_path: Path) -> None:
    unit = (REPOSITORY / "deploy/peca.service").read_text()
    guide = (REPOSITORY / "docs/operate.md").read_text()
    command = re.search(r"^ExecStart=/opt/peca/bin/peca (\w+)$", unit, re.MULTILINE)
    assert command
    assert command[1] in typer.main.get_command(app).commands
    stop_s = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert stop_s
    assert int(stop_s[1]) > Settings.model_fields["stop_grace_s"].default
    assert re.search(r"^LimitNOFILE=65536$", unit, re.MULTILINE)
    named = set(re.findall(r"^(PECA_\w+)=", guide, re.MULTILINE))
    assert "PECA_TLS_KEY" in named <= SETTINGS
    assert "/etc/peca/server.env" in unit
    assert "/etc/peca/server.env" in guide
    if which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze to read the unit")
    # It looks for the program too, which is not installed here.
    copy = tmp_path / "peca.service"
    copy.write_text(unit.replace("/opt/peca/bin/peca", sys.executable))
    read = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert str(copy.name) not in read.stderr, read.stderr


def test_prometheus_asks_the_server_and_reads_the_rules() -> None:
    config, services = parsed("deploy/prometheus.yml"), parsed("compose.milvus.yaml")["services"]
    (job,) = config["scrape_configs"]
    host, port = job["static_configs"][0]["targets"][0].split(":")
    assert host in services
    assert f"127.0.0.1:{port}:{port}" in services[host]["ports"]
    assert all((REPOSITORY / "deploy" / name).is_file() for name in config["rule_files"])


def test_the_alerts_ask_for_metrics_that_exist_and_stand_in_the_docs() -> None:
    told = generate_latest(REGISTRY).decode()
    known = set(re.findall(r"^# TYPE (\S+)", told, re.MULTILINE))
    series = known | {f"{name}_bucket" for name in known}
    text = (REPOSITORY / "docs/operate.md").read_text()
    rules = parsed("deploy/alerts.yml")["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 8
    for rule in rules:
        asked = set(re.findall(r"\bpeca_\w+", rule["expr"]))
        assert asked <= series, rule["alert"]
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert f"**{rule['alert']}**" in text
    for name in known:
        if name.startswith("peca_") and not name.endswith("_created"):
            assert f"`{name}`" in text, name
