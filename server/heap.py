"""How this process's memory is given back to the system, so that it stays flat for weeks."""

import ctypes

# Of glibc's malloc.h.
_MMAP_THRESHOLD = -3
_ARENA_MAX = -8
_LARGE_BYTES = 1 << 20
_ARENAS = 2


def give_memory_back() -> None:
    """Have what is large, such as decoded pictures and batches of vectors, leave memory as it is freed.

    glibc keeps it for later in heaps of its own, one for each of several threads, each as large as it
    ever had to be: a server with a hundred threads grows for hours. Call it before threads are started.
    It does nothing where the C library is another.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        library.mallopt(_ARENA_MAX, _ARENAS)
