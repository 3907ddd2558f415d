"""What the server refuses of its own accord; server.problems gives each its problem type and status.

::

    InvalidInput
    ├── MetadataMismatch          the metadata of a batch do not describe exactly its files
    ├── BatchTooLarge             a batch holds more images than one request may
    ├── ImageConflict             an image_id is taken by another image or another record
    ├── CaseMissing               a search names no case or no reason, and this server asks for both
    └── ImageRefused
        └── ImageBytesExceeded    an image file has more bytes than allowed
    PecaError
    ├── KeyMissing, KeyRefused    a request carries no API key, or an unknown one
    ├── RoleRefused               the key's role does not permit the request
    ├── CameraRefused             the key is not for the camera that the request names
    ├── RateExceeded              the key asks more often than it may
    ├── ImageUnknown              the gallery holds no such image
    ├── SearchUnknown             the audit log holds no such search
    ├── ResultUnknown             the search did not show the image
    ├── ImageFileMissing          the gallery knows the image, and its file is not in the store
    ├── EncoderBusy               more images wait for the encoder than allowed
    ├── ServerStopping            the server is about to end, or was not started
    ├── StorageUnavailable        the data folder cannot be read or written now
    ├── RecordBroken              a line of the audit log was changed (server.chain)
    └── InstallationInvalid       what is installed cannot work together
"""

from exporter.errors import ImageRefused
from index.errors import InvalidInput, PecaError


class KeyMissing(PecaError):
    """A request carries no API key."""


class KeyRefused(PecaError):
    """A request carries an API key that this server does not know, or no longer takes."""


class RoleRefused(PecaError):
    """The role of the request's key does not permit it."""


class CameraRefused(PecaError):
    """The request's key is not for the camera that it names."""


class RateExceeded(PecaError):
    """A key asks more often than it may.

    Attributes:
        retry_after_s: When to try again, in whole seconds.
    """

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class MetadataMismatch(InvalidInput):
    """The metadata of a batch do not describe exactly its files."""


class BatchTooLarge(InvalidInput):
    """A batch holds more images than one request may."""


class ImageBytesExceeded(ImageRefused):
    """An image file has more bytes than allowed."""


class ImageConflict(InvalidInput):
    """An ``image_id`` is taken by another image or another record; the stored one was kept."""


class CaseMissing(InvalidInput):
    """A search names no case or no reason, and this server asks for both."""


class SearchUnknown(PecaError):
    """The audit log holds no search of this ``search_id``."""


class ResultUnknown(PecaError):
    """The search did not show this image."""


class ImageUnknown(PecaError):
    """The gallery holds no image of this ``image_id``."""


class ImageFileMissing(PecaError):
    """The gallery knows the image, and its file is not in the store."""


class EncoderBusy(PecaError):
    """More images wait for the encoder than allowed; the same request may succeed soon.

    Attributes:
        retry_after_s: When to try again, in whole seconds.
    """

    retry_after_s = 1


class ServerStopping(PecaError):
    """The server takes no work: it is about to end, or was not started."""


class StorageUnavailable(PecaError):
    """The data folder cannot be read or written now."""


class InstallationInvalid(PecaError):
    """What is installed cannot work together."""
