"""A device that fails while a gallery is searched, and systems that say little of their processors."""

import logging
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_ann import EXACT, SPEC, TINY, HalfFlat, filled, names, people

from index.embedded.ann import Limits
from index.embedded.device import Accelerator
from index.embedded.engine import EmbeddedGallery
from index.records import Where


class Failing(HalfFlat):
    """A GPU that gives a few answers, then none, as after an error of CUDA's."""

    left = 3

    def search(
        self, queries: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if Failing.left <= 0:
            raise RuntimeError("CUDA error 700: an illegal memory access\nStack trace: ...")
        Failing.left -= 1
        return super().search(queries, count)


@pytest.mark.parametrize("limits", [TINY, EXACT], ids=["compressed", "exact"])
def test_a_device_that_fails_is_used_no_more_and_the_processor_answers(
    tmp_path: Path, limits: Limits, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Failing, "left", 3)
    filled(tmp_path, 2000).close()
    device = Accelerator("cuda (a stand-in)", Failing, most=200)
    with (
        closing(EmbeddedGallery(tmp_path, SPEC, read_only=True, limits=limits)) as expected,
        closing(EmbeddedGallery(tmp_path, SPEC, read_only=True, limits=limits, device=device)) as gallery,
        caplog.at_level(logging.ERROR, "index.embedded.device"),
    ):
        assert (gallery.device, gallery.device_reason) == ("cuda (a stand-in)", None)
        queries = people(range(5000, 5010))[1]
        for where in (Where(), Where(camera_ids=["cam1", "cam2"])):
            for query in queries:
                for exact in (False, True):
                    found = gallery.search(query[np.newaxis], 10, where, exact=exact)[0]
                    assert names(found) == names(
                        expected.search(query[np.newaxis], 10, where, exact=exact)[0]
                    )
        assert Failing.left == 0, "the device was asked at first"
        assert gallery.device == "cpu"
        reason = "cuda (a stand-in) failed: CUDA error 700: an illegal memory access"
        assert gallery.device_reason == reason
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == f"{reason}; the processor searches from now on, until the server is started again"


def test_a_system_that_says_nothing_of_its_processors_searches_too(tmp_path: Path) -> None:
    script = """
import os, sys
del os.sched_getaffinity, os.sched_setaffinity
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_ann import filled, people
gallery = filled(Path(sys.argv[2]), 2000)
print(len(gallery.search(people(range(5000, 5001))[1], 10)[0]))
gallery.close()
"""
    command = [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.stdout, done.returncode) == ("10\n", 0), done.stderr
