"""A product code of a segment's images, as FAISS scans it.

FAISS compares 32 codes at once, and from 1.15 on passes over those of which a filter lets none through. So
the images of a segment lie by modality and camera, which most filters ask for.
"""

from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.embedded.codec import Tier
from index.embedded.optional_faiss import faiss

_BITS_AT_ONCE = 32
_UNPACKING = Lock()


class Scan:
    """The codes of one tier of a segment.

    Args:
        tier: What made them.
        codes: (n, B) of them.
    """

    def __init__(self, tier: Tier, codes: NDArray[np.uint8]) -> None:
        quantiser = tier.quantiser
        self._everywhere = faiss.IndexFlatIP(quantiser.d)  # FAISS does not keep it
        self._everywhere.add(np.zeros((1, quantiser.d), np.float32))
        # Of a single inverted list, since FAISS's plain form takes no selector.
        plain = faiss.IndexIVFPQ(
            self._everywhere, quantiser.d, 1, quantiser.M, quantiser.nbits, faiss.METRIC_INNER_PRODUCT
        )
        plain.by_residual = False
        plain.pq = quantiser
        plain.is_trained = True
        rows = np.arange(len(codes))
        plain.invlists.add_entries(0, len(rows), faiss.swig_ptr(rows), faiss.swig_ptr(codes))
        plain.ntotal = len(rows)
        self._packed = faiss.IndexIVFPQFastScan(plain, _BITS_AT_ONCE)

    @property
    def codes(self) -> NDArray[np.uint8]:
        """(n, B) of them, unpacked."""
        packed = self._packed
        lists = faiss.ArrayInvertedLists(1, packed.code_size)
        with _UNPACKING:
            packed.orig_invlists = lists
            packed.reconstruct_orig_invlists()
            packed.orig_invlists = None
        lists.this.own(True)  # the assignment gave it away, and nothing else would free it
        unpacked = faiss.rev_swig_ptr(lists.get_codes(0), packed.ntotal * packed.code_size)
        codes: NDArray[np.uint8] = unpacked.reshape(packed.ntotal, packed.code_size).copy()
        return codes

    def search(
        self, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The rows of the ``count`` highest estimates for (D,) ``query``, descending, and these.

        Of those ``allowed`` (n,) alone, where these are told; fewer only where fewer are.
        """
        search = faiss.SearchParametersIVF(nprobe=1, sel=None if allowed is None else selector(allowed))
        estimates, rows = self._packed.search(query[np.newaxis], count, params=search)
        found = rows[0] >= 0
        return rows[0][found], estimates[0][found]


def selector(chosen: NDArray[np.bool_]) -> Any:
    """The rows where ``chosen`` (n,) is true, as FAISS takes them."""
    return faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))
