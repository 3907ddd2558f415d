"""What the server refuses of its own accord; server.problems gives each its problem type and status.

::

    InvalidInput
    ├── MetadataMismatch          the metadata of a batch do not describe exactly its files
    ├── BatchTooLarge             a batch holds more images than one request may
    ├── ImageConflict             an image_id is taken by another image or another record
    ├── CaseMissing               a search names no case or no reason, and this server asks for both
    ├── WebhookRefused            a webhook's address is not one that the server calls
    ├── WatchlistsExceeded        there are as many watchlists as the server takes
    ├── KeyNameTaken              a key of this name was made before
    └── ImageRefused
        └── ImageBytesExceeded    an image file has more bytes than allowed
    PecaError
    ├── KeyMissing, KeyRefused    a request carries no API key, or an unknown one
    ├── RoleRefused               the key's role does not permit the request
    ├── CameraRefused             the key is not for the camera that the request names
    ├── GalleryRefused            the key is not for the gallery of this server
    ├── SessionEnded              the request's cookie is of no session, or not any more
    ├── SessionMissing            the request has no session of its own
    ├── CsrfRefused               a request by cookie lacks the session's CSRF token
    ├── KeyUnknown                this server has no such key in use
    ├── LastAdminKey              without this key nobody could do what asks for an admin
    ├── RateExceeded              the key asks more often than it may
    ├── ImageUnknown              the gallery holds no such image
    ├── NotLabelled               the gallery's images lack the labels that an evaluation needs
    ├── SearchUnknown             the audit log holds no such search
    ├── ResultUnknown             the search did not show the image
    ├── WatchlistUnknown          there is no such watchlist, or none that the key may know of
    ├── HitUnknown                the watchlist has no such hit, or none that the key may know of
    ├── StreamsExceeded           as many event streams are open as the server takes
    ├── ImageFileMissing          the gallery knows the image, and its file is not in the store
    ├── TurnsExceeded             more requests of one kind wait for their turn than may
    ├── EncoderBusy               more images wait for the encoder than allowed
    ├── EncoderFails              the encoder fails on every batch
    ├── DeadlinePassed            a request took longer than it may
    ├── ClientLeft                a client closed its connection, so its work is dropped
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


class GalleryRefused(PecaError):
    """The request's key is not for the gallery of this server."""


class SessionEnded(PecaError):
    """The cookie of a request is of no session, or of one that has ended."""


class SessionMissing(PecaError):
    """A request asks for its session, and came without one."""


class CsrfRefused(PecaError):
    """A request by cookie, which may change something, does not carry the session's CSRF token."""


class KeyUnknown(PecaError):
    """This server has no such key, or none that is in use."""


class LastAdminKey(PecaError):
    """Without this key no admin key could be used."""


class KeyNameTaken(InvalidInput):
    """A key of this name was made before; names are never given again."""


class RateExceeded(PecaError):
    """A key, or an address without one, asks more often than it may; or wrong keys come too often.

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


class NotLabelled(PecaError):
    """The gallery's images lack the labels that an evaluation needs."""


class ResultUnknown(PecaError):
    """The search did not show this image."""


class WatchlistUnknown(PecaError):
    """There is no such watchlist, or none that the request's key may know of."""


class HitUnknown(PecaError):
    """The watchlist has no such hit, or none that the request's key may know of."""


class WatchlistsExceeded(InvalidInput):
    """There are as many watchlists as the server takes."""


class WebhookRefused(InvalidInput):
    """The address of a webhook is not one that the server calls."""


class StreamsExceeded(PecaError):
    """As many event streams are open as the server takes, of a key or in all; one may end soon.

    Attributes:
        retry_after_s: When to try again, in whole seconds.
    """

    retry_after_s = 10


class ImageUnknown(PecaError):
    """The gallery holds no image of this ``image_id``."""


class ImageFileMissing(PecaError):
    """The gallery knows the image, and its file is not in the store."""


class TurnsExceeded(PecaError):
    """More requests of one kind wait for their turn than may; the same request may succeed soon.

    Attributes:
        retry_after_s: When to try again, in whole seconds.
    """

    retry_after_s = 5


class EncoderBusy(PecaError):
    """More images wait for the encoder than allowed; the same request may succeed soon.

    Attributes:
        retry_after_s: When to try again, in whole seconds.
    """

    retry_after_s = 1


class DeadlinePassed(PecaError):
    """A request took longer than it may; nothing was done for it that is not said.

    Attributes:
        retry_after_s: When to try again, in whole seconds.
    """

    retry_after_s = 1


class ClientLeft(PecaError):
    """A client closed its connection before its answer was ready; only logs and metrics tell of it."""


class ServerStopping(PecaError):
    """The server takes no work: it is about to end, or was not started."""


class EncoderFails(PecaError):
    """The encoder fails on every batch."""


class StorageUnavailable(PecaError):
    """The data folder cannot be read or written now."""


class InstallationInvalid(PecaError):
    """What is installed cannot work together."""
