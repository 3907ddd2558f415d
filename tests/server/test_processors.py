"""The threads of a serving process."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import get_native_id

import pytest

from server.processors import step_back

_PROGRAM = """
import sys
import faiss
import numpy as np
from threadpoolctl import threadpool_info
from server.processors import share_processors

share_processors()
np.ones((200, 2000), np.float32) @ np.ones((2000, 200), np.float32)
blas = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
print(*blas, sys.getswitchinterval())
"""


def test_a_matrix_product_starts_no_threads_and_the_event_loop_gets_its_turn_soon() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    *threads, interval = done.stdout.split()
    assert threads
    assert set(threads) == {"1"}
    assert float(interval) < 0.005


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the niceness of a thread")
def test_a_thread_that_steps_back_does_so_alone() -> None:
    before = niceness()
    with ThreadPoolExecutor(1, initializer=step_back, initargs=(7,)) as pool:
        assert pool.submit(niceness).result(10) == 7
    assert niceness() == before
