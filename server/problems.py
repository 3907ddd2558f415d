"""Where errors meet HTTP: each kind of error with its problem type and status (RFC 9457)."""

import logging
import re
from dataclasses import dataclass
from http import HTTPStatus
from tempfile import gettempdir
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from exporter.errors import (
    BundleInvalid,
    ImageAnimated,
    ImageEmpty,
    ImageRefused,
    ImageTooLarge,
    ImageTooManyParts,
    ImageTruncated,
    NotAnImage,
    ProviderUnfit,
)
from index.errors import (
    EncoderMismatch,
    GalleryUnavailable,
    GalleryUnreachable,
    InvalidInput,
    PecaError,
    UnknownCamera,
)
from server.chain import RecordBroken
from server.errors import (
    BatchTooLarge,
    CameraRefused,
    CaseMissing,
    ClientLeft,
    CsrfRefused,
    DeadlinePassed,
    EncoderBusy,
    EncoderFails,
    GalleryRefused,
    HitUnknown,
    ImageBytesExceeded,
    ImageConflict,
    ImageFileMissing,
    ImageUnknown,
    KeyMissing,
    KeyNameTaken,
    KeyRefused,
    KeyUnknown,
    LastAdminKey,
    MetadataMismatch,
    NotLabelled,
    RateExceeded,
    ResultUnknown,
    RoleRefused,
    SearchUnknown,
    ServerStopping,
    SessionEnded,
    SessionMissing,
    StorageUnavailable,
    StreamsExceeded,
    TurnsExceeded,
    WatchlistsExceeded,
    WatchlistUnknown,
    WebhookRefused,
)
from server.methods import allowed_methods
from server.metrics import PROBLEMS
from server.schemas import Problem, validation_errors

MEDIA_TYPE = "application/problem+json"
_URN = "urn:peca:problem:"
_LOGGER = logging.getLogger(__name__)
_RETRY_AFTER_S = 5
"""Where an error says nothing of when it may be over: a disk that is full, a server that stops."""
# Of absolute paths, in quotes and without; not of addresses.
_FOLDERS = re.compile(r"(?<=')/(?:[^'/]*/)*|(?<![\w./])/(?!/)(?:[^\s'\",;:()/]+/)*")
_TOLD = 5
_LISTED = 100


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem.

    Attributes:
        slug: The last part of its type.
        status: Its HTTP status.
        title: The kind in words.
    """

    slug: str
    status: int
    title: str

    def problem(self, detail: str, **members: Any) -> Problem:
        """One occurrence, with the members that the kind adds."""
        return Problem(type=_URN + self.slug, title=self.title, status=self.status, detail=detail, **members)


INTERNAL = Kind("internal-error", 500, "The server failed")
BODY_TOO_LARGE = Kind("body-too-large", 413, "The request body is too large")
SERVER_BUSY = Kind("server-busy", 429, "The server has too much to do")
BODY_TOO_SLOW = Kind("body-too-slow", 408, "The request body comes in too slowly")
MALFORMED = Kind("malformed-body", 400, "The request cannot be read")
INVALID_REQUEST = Kind("invalid-request", 422, "The request is not as the API asks")
INVALID_METADATA = Kind("invalid-metadata", 422, "The metadata are not as the API asks")
UNKNOWN_MODALITY = Kind("unknown-modality", 422, "There is no such modality")
ENCODER_INVALID = Kind("encoder-invalid", 503, "The encoder cannot be opened")

# The nearest class of an error's line of ancestors decides.
KINDS: dict[type[PecaError], Kind] = {
    ImageEmpty: Kind("image-empty", 422, "The image file is empty"),
    NotAnImage: Kind("not-an-image", 415, "The file is not an image of a format that is read here"),
    ImageTruncated: Kind("image-truncated", 422, "The image is cut short or damaged"),
    ImageTooLarge: Kind("image-too-many-pixels", 413, "The image has too many pixels"),
    ImageTooManyParts: Kind("image-too-many-parts", 413, "The image is made of too many parts"),
    ImageBytesExceeded: Kind("image-too-many-bytes", 413, "The image file is too large"),
    ImageAnimated: Kind("image-animated", 422, "The file holds more than one picture"),
    ImageRefused: Kind("image-refused", 422, "The image cannot be used"),
    ImageConflict: Kind("image-conflict", 409, "The image id is taken by another image"),
    ImageUnknown: Kind("image-unknown", 404, "There is no such image"),
    ImageFileMissing: Kind("image-file-missing", 404, "The image's file is not stored"),
    UnknownCamera: Kind("unknown-camera", 422, "There is no such camera"),
    MetadataMismatch: Kind("metadata-mismatch", 422, "The metadata do not match the files"),
    CaseMissing: Kind("case-missing", 422, "A case and a reason are needed"),
    NotLabelled: Kind("not-labelled", 409, "The gallery's images are not labelled for this"),
    BundleInvalid: ENCODER_INVALID,
    ProviderUnfit: ENCODER_INVALID,
    EncoderMismatch: Kind("encoder-mismatch", 409, "The encoder is not the gallery's"),
    SearchUnknown: Kind("search-unknown", 404, "There is no such search"),
    RecordBroken: Kind("record-broken", 500, "A record of the audit log was changed"),
    ResultUnknown: Kind("result-unknown", 404, "The search did not show this image"),
    WatchlistUnknown: Kind("watchlist-unknown", 404, "There is no such watchlist"),
    HitUnknown: Kind("hit-unknown", 404, "There is no such hit"),
    WatchlistsExceeded: Kind("watchlists-exceeded", 409, "There are too many watchlists"),
    WebhookRefused: Kind("webhook-refused", 422, "The webhook's address is refused"),
    StreamsExceeded: Kind("streams-exceeded", 429, "Too many event streams are open"),
    BatchTooLarge: Kind("batch-too-large", 413, "The batch holds too many images"),
    InvalidInput: INVALID_REQUEST,
    KeyMissing: Kind("key-missing", 401, "An API key is needed"),
    KeyRefused: Kind("key-refused", 401, "The API key is not known"),
    RoleRefused: Kind("role-refused", 403, "The key's role does not permit this"),
    CameraRefused: Kind("camera-refused", 403, "The key is not for this camera"),
    GalleryRefused: Kind("gallery-refused", 403, "The key is not for this gallery"),
    SessionEnded: Kind("session-ended", 401, "The session has ended"),
    SessionMissing: Kind("session-missing", 404, "There is no session"),
    CsrfRefused: Kind("csrf-refused", 403, "The CSRF token is missing or wrong"),
    KeyUnknown: Kind("key-unknown", 404, "There is no such key"),
    KeyNameTaken: Kind("key-name-taken", 409, "The name is taken"),
    LastAdminKey: Kind("last-admin-key", 409, "It is the last admin key"),
    RateExceeded: Kind("rate-exceeded", 429, "The key asks too often"),
    TurnsExceeded: SERVER_BUSY,
    EncoderBusy: Kind("encoder-busy", 429, "Too many images wait for the encoder"),
    EncoderFails: Kind("encoder-fails", 503, "The encoder fails"),
    DeadlinePassed: Kind("deadline-passed", 503, "The request took too long"),
    ClientLeft: Kind("client-left", 499, "The client left"),
    ServerStopping: Kind("server-stopping", 503, "The server is stopping"),
    StorageUnavailable: Kind("storage-unavailable", 503, "The data folder cannot be used now"),
    GalleryUnreachable: Kind("gallery-unreachable", 503, "The gallery's server does not answer"),
    GalleryUnavailable: Kind("gallery-unavailable", 503, "The gallery cannot be used now"),
    PecaError: INTERNAL,
}

HTTP_KINDS: dict[int, Kind] = {
    400: MALFORMED,
    404: Kind("route-unknown", 404, "There is no such route"),
    405: Kind("method-not-allowed", 405, "The route does not take this method"),
    408: BODY_TOO_SLOW,
    413: BODY_TOO_LARGE,
    429: SERVER_BUSY,
}

_CHALLENGES: dict[type[PecaError], str] = {
    KeyMissing: "Bearer",
    KeyRefused: 'Bearer error="invalid_token"',
    SessionEnded: "Bearer",
    RoleRefused: 'Bearer error="insufficient_scope"',
}


def problem_of(error: PecaError) -> Problem:
    """The problem that tells a client of ``error``; where files lie on this machine is not its business."""
    kind = _kind_of(error)
    # An error that no one foresaw here may name addresses of this machine too.
    return kind.problem(INTERNAL.title if kind is INTERNAL else _told(kind, error))


def _kind_of(error: PecaError) -> Kind:
    return next(KINDS[ancestor] for ancestor in type(error).__mro__ if ancestor in KINDS)


def _told(kind: Kind, error: PecaError) -> str:
    """What is said of an error, of the server's own without the folders that it names."""
    return str(error) if kind.status < HTTPStatus.INTERNAL_SERVER_ERROR else _FOLDERS.sub("", str(error))


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer that carries ``problem``."""
    PROBLEMS.labels(problem.type.removeprefix(_URN)).inc()
    content = problem.model_dump(mode="json")
    return JSONResponse(content, problem.status, headers, media_type=MEDIA_TYPE)


def add_problem_handlers(app: FastAPI) -> None:
    """Make every error that a route lets through a problem."""
    app.exception_handler(PecaError)(_on_peca_error)
    app.exception_handler(RequestValidationError)(_on_validation_error)
    app.exception_handler(HTTPException)(_on_http_exception)
    app.exception_handler(Exception)(_on_failure)


async def _on_peca_error(_: Request, error: PecaError) -> JSONResponse:
    if _kind_of(error).status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _LOGGER.warning("%s: %s", type(error).__name__, error)
    return problem_response(problem_of(error), _headers(error))


def _headers(error: PecaError) -> dict[str, str]:
    """What else a client needs to act on ``error``."""
    if _kind_of(error).status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return {"Retry-After": str(getattr(error, "retry_after_s", _RETRY_AFTER_S))}
    challenge = _CHALLENGES.get(type(error))
    return {} if challenge is None else {"WWW-Authenticate": challenge}


async def _on_validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
    found = list(error.errors())
    errors = validation_errors(found[:_LISTED])
    told = [f"{one['at']}: {one['message']}" for one in errors[:_TOLD]]
    detail = "; ".join(told) + (f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else "")
    return problem_response(_validation_kind(error).problem(detail, errors=errors))


def _validation_kind(error: RequestValidationError) -> Kind:
    """The fields of modalities are named so; ``metadata`` is the only JSON in a form."""
    places = [place for one in error.errors() if one["type"] == "enum" for place in one["loc"]]
    if any(str(place).endswith("modality") for place in places):
        return UNKNOWN_MODALITY
    if all(tuple(one["loc"][:2]) == ("body", "metadata") for one in error.errors()):
        return INVALID_METADATA
    return INVALID_REQUEST


async def _on_http_exception(request: Request, error: HTTPException) -> JSONResponse:
    if isinstance(cause := error.__cause__, OSError):  # while a form was read: it is not the client's fault
        told = f"a request's files cannot be kept while it is read, in {gettempdir()}: {cause.strerror}"
        return await _on_peca_error(request, StorageUnavailable(told))
    status = error.status_code
    kind = HTTP_KINDS.get(status) or Kind(f"http-{status}", status, HTTPStatus(status).phrase)
    said_nothing = error.detail == HTTPStatus(status).phrase
    detail = (
        f"got {request.method} {request.url.path}; see the API's routes" if said_nothing else error.detail
    )
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(allowed_methods(request.app.routes, request.scope))
    return problem_response(kind.problem(detail), headers)


async def _on_failure(_: Request, __: Exception) -> JSONResponse:
    """Starlette raises the error again after this answer: the log of requests has its trace."""
    problem = INTERNAL.problem("the server failed in a way that was not foreseen; see its log")
    return problem_response(problem, {"Connection": "close"})
