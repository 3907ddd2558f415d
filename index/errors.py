"""The errors of PECA, one small tree.

::

    PecaError                     anything this project refuses or cannot do
    ├── InvalidInput              what the caller handed in is wrong (also a ValueError)
    │   ├── UnknownCamera         a filter names cameras that the gallery has never seen
    │   ├── DeviceUnfit           the device that shall search a gallery is not here, or cannot be used
    │   ├── ImageRefused          an image cannot be used (exporter.errors draws the reasons)
    │   └── DatasetInvalid        a data set tree is not what its layout says (training.datasets)
    ├── EncoderMismatch           vectors of one encoder offered to a gallery of another
    ├── GalleryUnavailable        the gallery cannot be opened, read or written now
    │   ├── GalleryUnreachable    its server does not answer; the same call may be made again
    │   └── IndexFileUnusable     its index file is damaged, or of another state of the gallery
    ├── SnapshotInvalid           a snapshot of a gallery is incomplete or damaged
    ├── BundleInvalid             an encoder artefact is damaged or not understood
    ├── (server.errors draws what the server refuses of its own accord)
    └── MissingExtra              a package of an optional extra is not installed

A message says what was expected, what came, and what to do.
"""


class PecaError(Exception):
    """Anything this project refuses or cannot do."""


class InvalidInput(PecaError, ValueError):
    """What the caller handed in is wrong; handing it in again will not help."""


class UnknownCamera(InvalidInput):
    """A filter names cameras that the gallery has never seen."""


class DeviceUnfit(InvalidInput):
    """The device that was asked to search a gallery is not here, or cannot be used."""


class EncoderMismatch(PecaError):
    """Vectors of one encoder were offered to a gallery of another."""


class GalleryUnavailable(PecaError):
    """The gallery cannot be opened, read or written now."""


class GalleryUnreachable(GalleryUnavailable):
    """The server of a gallery does not answer now; the same call may be made again."""

    retry_after_s = 2


class IndexFileUnusable(GalleryUnavailable):
    """The index file of a gallery is damaged, or of another state of it; it can be made anew."""


class SnapshotInvalid(PecaError):
    """A snapshot of a gallery is incomplete or damaged."""


class MissingExtra(PecaError):
    """A package of an optional extra is not installed; the message names the command."""
