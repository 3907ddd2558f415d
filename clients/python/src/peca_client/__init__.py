"""Search people across visible and infrared cameras: the client of a PECA server."""

from peca_client.aclient import AsyncPecaClient
from peca_client.client import PecaClient
from peca_client.errors import (
    AuthenticationError,
    ConnectionFailed,
    InvalidArgument,
    InvalidRequest,
    NotFound,
    PecaClientError,
    ProblemError,
    RateLimited,
    ServerError,
    TooLarge,
    UnexpectedAnswer,
)
from peca_client.models import (
    Camera,
    Hit,
    Image,
    ImageUpload,
    IngestItem,
    IngestReport,
    IngestStatus,
    Modality,
    Readiness,
    SearchResult,
    Version,
)

__all__ = [
    "AsyncPecaClient",
    "AuthenticationError",
    "Camera",
    "ConnectionFailed",
    "Hit",
    "Image",
    "ImageUpload",
    "IngestItem",
    "IngestReport",
    "IngestStatus",
    "InvalidArgument",
    "InvalidRequest",
    "Modality",
    "NotFound",
    "PecaClient",
    "PecaClientError",
    "ProblemError",
    "RateLimited",
    "Readiness",
    "SearchResult",
    "ServerError",
    "TooLarge",
    "UnexpectedAnswer",
    "Version",
]
