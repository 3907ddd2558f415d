"""The other commands of ``peca``, their errors, and what starting it costs."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from client_site import NIGHT, REPOSITORY, Server, picture

from clients.cli import app, main
from index.protocols import MODES
from peca_client import ImageUpload, PecaClient
from server.settings import Settings

Peca = Callable[..., tuple[int, str, str]]


@pytest.fixture
def query(tmp_path: Path) -> Path:
    path = tmp_path / "day.jpg"
    path.write_bytes(picture(3))
    return path


@pytest.fixture
def labelled(fresh_server: Server) -> Server:
    """A gallery of 6 people, 2 images each by SYSU-MM01's cameras 1, 2 (visible), 3 and 6 (infrared)."""
    cameras = (("cam1", "visible"), ("cam2", "visible"), ("cam3", "infrared"), ("cam6", "infrared"))
    with PecaClient(fresh_server.url, fresh_server.key) as client:
        report = client.ingest(
            ImageUpload(
                picture(person, quality=90 - 10 * shot),
                camera,
                modality,
                NIGHT,
                person_id=f"{person:04d}",
                source=f"{camera}/{person:04d}/{shot:04d}.jpg",
            )
            for person in range(1, 7)
            for camera, modality in cameras
            for shot in range(2)
        )
    assert report.stored == 48
    return fresh_server


def test_search_prints_a_ranking(peca: Peca, server: Server, client: PecaClient, query: Path) -> None:
    client.add_images(
        [
            ImageUpload(
                picture(p),
                f"look-{p % 2}",
                "infrared",
                NIGHT + timedelta(hours=p),
                f"look-{p}",
                f"[bold]person-{p}",
            )
            for p in range(6)
        ]
    )
    asked = ("search", query, "--query-modality", "visible", "--url", server.url, "--api-key", server.key)
    cameras = ("--camera-id", "look-0", "--camera-id", "look-1")
    code, out, _ = peca(*asked, *cameras, "--limit", "3")
    assert code == 0
    assert "look-3" in out
    assert "[bold]person-3" in out
    assert "1.0000" in out
    assert "2026-05-02 02:15:00" in out
    assert "3 found" in out

    def found(*options: object) -> list[str]:
        code, out, err = peca(*asked, *options, "--json")
        assert code == 0, err
        return [hit["image_id"] for hit in json.loads(out)["items"]]

    assert found(*cameras)[0] == "look-3"
    assert sorted(found("--camera-id", "look-1")) == ["look-1", "look-3", "look-5"]
    assert sorted(found(*cameras, "--exclude-camera-id", "look-1")) == ["look-0", "look-2", "look-4"]
    assert sorted(found(*cameras, "--after", "2026-05-02T03:15:00Z")) == ["look-4", "look-5"]
    assert sorted(found(*cameras, "--before", "2026-05-02T02:15:00+02:00")) == ["look-0"]
    assert found(*cameras, "--threshold", "0.99") == ["look-3"]
    assert found(*cameras, "--gallery-modality", "visible") == []
    assert found(*cameras, "--limit", "1", "--case", "7", "--reason", "missing child") == ["look-3"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--query-modality", "purple"), "purple"),
        (("--query-modality", "visible", "--after", "yesterday"), "ISO 8601"),
        (("--query-modality", "visible", "--after", "2026-05-02T02:15:00"), "time zone"),
        (("--query-modality", "visible", "--limit", "0"), "limit"),
        (("--query-modality", "visible", "--threshold", "2"), "threshold"),
    ],
)
def test_usage_of_search(peca: Peca, query: Path, arguments: tuple[str, ...], told: str) -> None:
    code, _, err = peca("search", query, "--api-key", "peca_x", *arguments)
    assert code == 2
    assert told in err


def test_what_keeps_a_search_from_succeeding_is_one_line(peca: Peca, server: Server, query: Path) -> None:
    asked = ("search", query, "--query-modality", "visible")
    bad = query.with_name("bad.jpg")
    bad.write_text("no image")
    for arguments, told in (
        ((*asked, "--url", "http://127.0.0.1:9", "--api-key", "peca_x"), "is a PECA server running there?"),
        ((*asked, "--url", server.url, "--api-key", "peca_wrong"), "API key"),
        ((*asked, "--url", "nowhere", "--api-key", "peca_x"), "such as http://127.0.0.1:8000; got 'nowhere'"),
        ((*asked, "--url", server.url, "--api-key", server.key, "--camera-id", "never-seen"), "never-seen"),
        (("search", bad, *asked[2:], "--url", server.url, "--api-key", server.key), "415"),
    ):
        code, out, err = peca(*arguments)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert err.startswith("peca: ")
        assert told in err


@pytest.mark.parametrize("protocol", MODES)
def test_evaluate_beside_a_running_server(
    peca: Peca, labelled: Server, tmp_path: Path, protocol: str
) -> None:
    out_file = tmp_path / "report.json"
    arguments = (
        "evaluate",
        "--gallery",
        f"embedded:{labelled.data}",
        "--protocol",
        protocol,
        "--trials",
        "3",
    )
    code, out, err = peca(*arguments, "--query-modality", "infrared", "--json", "--out", out_file)
    assert code == 0, err
    report = json.loads(out)
    assert json.loads(out_file.read_text()) == report
    assert report["protocol"] == protocol
    assert report["queries"] == 24
    assert report["mean_ap"] > 0.9, "the two lights of a person look the same here"
    assert report["trials"][0]["queries"] == 24
    assert len(report["trials"]) == (3 if MODES[protocol].draws else 1)
    code, out, _ = peca(*arguments, "--query-modality", "infrared")
    assert code == 0
    for heading in ("R1", "R5", "R10", "R20", "mAP", "mINP", "24 queries"):
        assert heading in out
    assert f"{100 * report['mean_ap']:.2f}" in out
    assert ("spread" in out) == (len(report["trials"]) > 1), "one trial has none"


def test_what_evaluate_refuses(peca: Peca, labelled: Server, tmp_path: Path) -> None:
    gallery = f"embedded:{labelled.data}"
    for arguments, code, told in (
        (("--gallery", f"embedded:{tmp_path / 'nowhere'}"), 1, "no gallery"),
        (("--gallery", "sqlite:x"), 1, "sqlite"),
        (("--gallery", gallery, "--protocol", "sysu-all", "--draws", "official"), 1, "rand_perm_cam.mat"),
        (("--gallery", gallery, "--protocol", "sysu-all", "--query-modality", "visible"), 1, "visible"),
        (("--gallery", gallery, "--protocol", "market"), 2, "market"),
        (("--gallery", gallery, "--rand-perm", tmp_path / "none.mat"), 2, "none.mat"),
    ):
        got, _, err = peca("evaluate", *arguments)
        assert got == code
        # A long path is broken over the lines of a box.
        assert told.replace(" ", "") in re.sub(r"[\s│]", "", err)
        assert not (tmp_path / "nowhere").exists()


def test_synth_describe_ingest(peca: Peca, fresh_server: Server, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    code, out, err = peca(
        "synth",
        "--out",
        tree,
        "--layout",
        "sysu",
        "--identities",
        "6",
        "--images-per-camera",
        "2",
        "--seed",
        "3",
    )
    assert code == 0, err
    assert "synthetic" in out
    code, out, err = peca("dataset", "describe", "--layout", "sysu", "--root", tree, "--json")
    assert code == 0, err
    counts = json.loads(out)
    assert counts["train_visible"] == counts["train_identities"] * 8
    assert counts["train_infrared"] == counts["train_identities"] * 4
    code, out, _ = peca("dataset", "describe", "--layout", "sysu", "--root", tree, "--check-images")
    assert code == 0
    assert "train_identities" in out
    arguments = (
        "ingest",
        tree,
        "--layout",
        "sysu",
        "--url",
        fresh_server.url,
        "--api-key",
        fresh_server.key,
        "--json",
    )
    code, out, err = peca(*arguments)
    assert code == 0, err
    assert json.loads(out)["stored"] == (6 - counts["train_identities"]) * 12


def test_describe_refuses_another_tree(peca: Peca, tmp_path: Path) -> None:
    code, out, err = peca("dataset", "describe", "--layout", "llcm", "--root", tmp_path)
    assert (code, out, err.count("\n")) == (1, "", 1)


def test_serve_says_which_setting_is_wrong(
    peca: Peca, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.app.configure_logs", lambda *_: None)  # they are this process's too
    code, _, err = peca(
        "serve", "--gallery", f"embedded:{tmp_path / 'g'}", "--encoder", tmp_path / "no-bundle"
    )
    assert code == 1
    assert "no-bundle" in err
    code, _, err = peca("serve", "--tls-cert", "cert.pem")
    assert (code, err) == (
        1,
        "peca: a setting is wrong: tls_cert and tls_key are given together, or neither\n",
    )
    monkeypatch.setenv("PECA_PORT", "many")
    code, _, err = peca("serve")
    assert (code, err.count("\n")) == (1, 1)
    assert "port" in err


def test_the_defaults_that_help_names_are_those_of_the_settings() -> None:
    options = {option.name: option for option in typer.main.get_command(app).commands["serve"].params}
    for name, said in (("gallery", None), ("host", None), ("port", None), ("provider", None)):
        default = said or str(Settings.model_fields[name].default)
        assert options[name].show_default == f"PECA_{name.upper()} or {default}"
    evaluate = {option.name: option for option in typer.main.get_command(app).commands["evaluate"].params}
    assert evaluate["gallery"].default == Settings.model_fields["gallery"].default


def test_version_and_help(peca: Peca) -> None:
    code, out, _ = peca("--version")
    assert code == 0
    assert out.startswith("peca")
    code, out, _ = peca("--help")
    assert code == 0
    assert "evaluate" in out
    assert "Begin with peca demo" in out
    assert peca("no-such-command")[0] == 2


def leaves(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def test_each_help_shows_an_example_and_its_arguments_in_capitals() -> None:
    for name, command in leaves(typer.main.get_command(app), "peca"):
        assert f"Example: {name} " in command.help, name
        if name.startswith("peca gallery "):
            continue
        for argument in (one for one in command.params if one.param_type_name == "argument"):
            assert (argument.metavar or "").isupper(), f"{name}: {argument.name}"


def test_a_fault_of_our_own_keeps_its_trace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, query: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(PecaClient, "search", fail)
    with pytest.raises(ZeroDivisionError):
        main(["search", str(query), "--query-modality", "visible", "--api-key", "peca_x"])


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from clients.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as ended:\n    assert ended.code == 0\n"
        "heavy = {'torch', 'faiss', 'onnxruntime', 'fastapi', 'httpx', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_module_is_the_command(server: Server, query: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clients.cli", "search", str(query), "--query-modality", "visible",
         "--url", server.url, "--api-key", "peca_wrong"],
        cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("peca: 401 ")
    assert done.stderr.count("\n") == 1
