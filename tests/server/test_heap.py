"""The memory of a serving process."""

import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import mmap, threading
from pathlib import Path
import numpy as np
from server.heap import give_memory_back

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE / 1e6

def work(seed, kept):
    sizes = np.random.default_rng(seed).integers(1 << 19, 6 << 20, 60)
    for size in sizes:
        large = np.ones(int(size), np.uint8)
        kept.append(bytearray(2000))
        del large

give_memory_back()
before, kept = resident_mb(), []
threads = [threading.Thread(target=work, args=(seed, kept)) for seed in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resident_mb() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory in its own way")
def test_what_many_threads_freed_leaves_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert float(done.stdout) < 40  # about 11, and 90 to 150 without
