"""A GPU that compares a gallery's coded images, where there is one.

It holds what their scalar codes stand for in half precision, 2 bytes a number, and looks at every image at
each search; the steps of the scalar codes are whole numbers up to 128, which half precision holds as they
are. Which images a filter lets pass is for the processor to say, since FAISS's GPU indexes take no
selector: the device gives more than is asked for.
"""

import logging
import subprocess
from collections.abc import Callable
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.embedded.codec import ZERO
from index.embedded.optional_faiss import faiss
from index.errors import DeviceUnfit
from index.gallery import Device

log = logging.getLogger(__name__)

ROUNDING = 2.0**-10
"""A cosine by the device is off by no more than this, from a query that it takes in half precision."""

_MOST = 2048
_AT_ONCE = 8192
_SCRATCH_BYTES = 256 << 20


class Held:
    """Images of one segment in the memory of a device, until nobody refers to them.

    Args:
        index: FAISS's index of them, by inner product.
        device: Where.
    """

    def __init__(self, index: Any, device: "Accelerator") -> None:
        self.device = device
        self._index = index

    def nearest(
        self, query: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
        """The ``count`` rows of the highest inner products with ``query``, and these in the code's steps.

        ``None`` where the device fails or has failed before: then the processor searches.
        """
        with self.device.turn:
            if self.device.failure is not None:
                return None
            try:
                products, rows = self._index.search(query[np.newaxis], count)
            except RuntimeError as error:
                self.device.give_up(error)
                return None
        return rows[0], products[0]

    def __del__(self) -> None:
        """Give the memory back when it is this thread's turn: FAISS's devices are of one thread at a time."""
        with self.device.turn:
            self._index = None


class Accelerator:
    """One device; safe to call from several threads, which it serves one after the other.

    Args:
        name: As it is told to people.
        empty: Makes FAISS's index of no vector of a length, by inner product, in half precision.
        most: Most rows that a search of it gives.

    Attributes:
        failure: Why it is used no more, once a search of it failed; ``None`` while it works.
    """

    def __init__(self, name: str, empty: Callable[[int], Any], most: int = _MOST) -> None:
        self.name = name
        self.most = most
        self.turn = RLock()
        self.failure: str | None = None
        self._empty = empty

    def give_up(self, error: Exception) -> None:
        """Use the device no more: what failed once on a GPU fails until the process ends."""
        # The first line says what; CUDA's stack of calls follows.
        self.failure = f"{self.name} failed: {(str(error).splitlines() or [type(error).__name__])[0]}"
        log.error("%s; the processor searches from now on, until the server is started again", self.failure)

    def hold(self, codes: NDArray[np.uint8]) -> Held | None:
        """Take in (n, D) scalar codes; ``None`` where the device has no room, which the log tells."""
        if self.failure is not None:
            return None
        try:
            with self.turn:
                index = self._empty(codes.shape[1])
                for start in range(0, len(codes), _AT_ONCE):
                    index.add(codes[start : start + _AT_ONCE].astype(np.float32) - ZERO)
        except RuntimeError as error:
            log.warning(
                "%s takes no further %d images, which the processor searches: %s",
                self.name,
                len(codes),
                error,
            )
            return None
        return Held(index, self)


def accelerator(asked: Device) -> Accelerator | None:
    """The device that was asked for; ``None`` is the processor, and the log says which it is, and why.

    Raises:
        DeviceUnfit: A GPU was asked for, and there is none that can be used.
    """
    reason = why_processor(asked)
    if asked is Device.CUDA and reason:
        raise DeviceUnfit(f"device 'cuda' cannot be used: {reason}")
    if reason:
        log.info("galleries are searched by the processor: %s", reason)
        return None
    name = f"cuda ({_name_of_gpu()})"
    log.info("galleries are searched by %s", name)
    return Accelerator(name, _cuda())


def why_processor(asked: Device) -> str | None:
    """Why galleries are searched by the processor; ``None`` where a GPU searches them."""
    if asked is Device.CPU:
        return "device 'cpu' was asked for"
    if not hasattr(faiss, "StandardGpuResources"):
        return "this FAISS is built for the processor; install the extra [gpu] in the place of [cpu]"
    if not faiss.get_num_gpus():
        return "FAISS finds no NVIDIA GPU; check nvidia-smi, and that a container was given the device"
    return None


def _cuda() -> Callable[[int], Any]:
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(_SCRATCH_BYTES)
    settings = faiss.GpuIndexFlatConfig()
    settings.useFloat16 = True
    return lambda dim: faiss.GpuIndexFlatIP(resources, dim, settings)


def _name_of_gpu() -> str:
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "GPU 0"
