"""`peca verify` and `peca benchmark encoder`, on the encoder that ships and on changed copies of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.bundle import MANIFEST, Precision, default_bundle, read_bundle
from exporter.providers import RUNS

Peca = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(default_bundle(), tmp_path / "bundle"))


def test_a_whole_bundle_is_verified_with_what_is_present_and_what_is_absent(peca: Peca, bundle: Path) -> None:
    code, out, _ = peca("verify", bundle, "--json")
    assert code == 0
    told = json.loads(out)
    assert told["whole"]
    checks = {check["what"]: check for check in told["checks"]}
    manifest = read_bundle(bundle).manifest
    assert {MANIFEST, *(file.file for file in manifest.every_file())} <= checks.keys()
    assert checks["cpu int8"]["verdict"] == "passed"
    assert f"{manifest.dim} numbers a vector" in checks["cpu int8"]["found"]
    assert checks["cuda int8"]["verdict"] in ("passed", "absent")
    code, out, _ = peca("verify", bundle)
    assert code == 0
    assert "whole, and computes what was trained" in out


@pytest.mark.parametrize("name", ["encoder.int8.onnx", "probe.npz"])
def test_a_changed_file_fails_and_is_named(peca: Peca, bundle: Path, name: str) -> None:
    file = bundle / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    code, out, _ = peca("verify", bundle, "--json")
    assert code == 1
    failed = [check for check in json.loads(out)["checks"] if check["verdict"] == "failed"]
    assert [check["what"] for check in failed] == [name]
    assert f"{name} was changed after it was written" in failed[0]["found"]
    code, out, _ = peca("verify", bundle)
    assert code == 1
    assert "do not use it" in out


def test_an_edited_number_fails(peca: Peca, bundle: Path) -> None:
    path = bundle / MANIFEST
    content = json.loads(path.read_text())
    content["parity"]["int8"]["mean_ap"] = 0.99
    path.write_text(json.dumps(content))
    code, out, _ = peca("verify", bundle)
    assert code == 1
    assert "was changed after it was written" in " ".join(out.split())
    assert peca("verify", bundle / "nowhere")[0] == 1


def test_the_benchmark_times_what_is_present_and_names_what_is_missing(peca: Peca, bundle: Path) -> None:
    code, out, _ = peca("benchmark", "encoder", bundle, "--batch", "1,3", "--rounds", 2, "--json")
    assert code == 0
    told = json.loads(out)
    forms = read_bundle(bundle).manifest.files
    reference = "cpu fp32" if Precision.FP32 in forms else "cpu int8"
    assert told["reference"] == reference
    timings = {(one["way"], one["batch"]): one for one in told["timings"]}
    assert {batch for _, batch in timings} == {1, 3}
    assert timings[reference, 1]["speed"] == 1
    for one in timings.values():
        assert one["images_per_s"] == pytest.approx(1000 * one["batch"] / one["p50_ms"])
        assert one["cpu_ms_per_image"] > 0
    every = {f"{provider} {arithmetic}" for provider, table in RUNS.items() for arithmetic in table}
    assert {way for way, _ in timings} | told["absent"].keys() == every
    assert not {way for way, _ in timings} & told["absent"].keys()
    code, out, _ = peca("benchmark", "encoder", bundle, "--batch", 1, "--rounds", 1)
    assert code == 0
    assert "processor ms an image" in out
    assert "not measured: tensorrt fp16:" in out


def test_a_wrong_option_of_the_benchmark_is_named(peca: Peca, bundle: Path) -> None:
    for options, message in (
        (("--batch", "1,64"), "numbers from 1 to 32"),
        (("--untrained", "PECA"), "not both"),
    ):
        code, _, err = peca("benchmark", "encoder", bundle, *options)
        assert code == 2
        assert message in err
