"""The short form of benchmarks/kills.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_a_kill_at_any_moment_loses_nothing_and_halves_nothing(kills: int) -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/kills.py", "--kills", str(kills)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "no acknowledged change lost, none half-applied" in done.stdout
