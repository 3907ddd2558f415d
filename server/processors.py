"""Who gets the processors of a serving process: its many threads take turns, and none waits by spinning."""

import os
import sys
from threading import get_native_id

from threadpoolctl import threadpool_limits

_SWITCH_S = 0.001
"""The event loop gets its turn among busy threads after so long; Python's own 5 ms are felt."""


def share_processors() -> None:
    """Have the threads of this process leave the processors to each other.

    OpenBLAS spreads even a small product (an image's colours, a watchlist, a re-ranking) over threads of
    its own, which then wait by spinning for milliseconds, at the cost of the encoder's. Call it once NumPy
    and FAISS are loaded.
    """
    sys.setswitchinterval(_SWITCH_S)
    threadpool_limits(1, user_api="blas")


def step_back(steps: int) -> None:
    """Let this thread wait where others of the process want a processor: a search, or the event loop.

    Args:
        steps: Of niceness, which Linux keeps by thread; elsewhere nothing is done.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, get_native_id(), steps)
