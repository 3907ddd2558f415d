"""FAISS, or the command that installs it."""

from typing import Any

from index.errors import MissingExtra

try:
    import faiss as _faiss
except ImportError as error:
    raise MissingExtra(
        "an embedded gallery needs FAISS; install it: pip install '.[cpu]' (or '.[gpu]') in PECA's checkout"
    ) from error
except RuntimeError as error:
    # FAISS for GPUs does not load without CUDA's own packages, with or without a device.
    raise MissingExtra(f"FAISS is installed and does not load: {error}") from error

faiss: Any = _faiss
"""Its type stubs describe its C++ layer and not the Python layer over it, so its types are not checked."""
