"""Where errors meet HTTP: each kind of error with its problem type and status (RFC 9457)."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from exporter.errors import ImageAnimated, ImageEmpty, ImageRefused, ImageTooLarge, ImageTruncated, NotAnImage
from index.errors import GalleryUnavailable, InvalidInput, PecaError, UnknownCamera
from server.errors import (
    BatchTooLarge,
    CameraRefused,
    CaseMissing,
    EncoderBusy,
    ImageBytesExceeded,
    ImageConflict,
    ImageFileMissing,
    ImageUnknown,
    KeyMissing,
    KeyRefused,
    MetadataMismatch,
    RateExceeded,
    ResultUnknown,
    RoleRefused,
    SearchUnknown,
    ServerStopping,
    StorageUnavailable,
)
from server.schemas import Problem, validation_errors

MEDIA_TYPE = "application/problem+json"
_URN = "urn:peca:problem:"
_TOLD = 5


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
INVALID_REQUEST = Kind("invalid-request", 422, "The request is not as the API asks")
INVALID_METADATA = Kind("invalid-metadata", 422, "The metadata are not as the API asks")
UNKNOWN_MODALITY = Kind("unknown-modality", 422, "There is no such modality")

# The nearest class of an error's line of ancestors decides.
KINDS: dict[type[PecaError], Kind] = {
    ImageEmpty: Kind("image-empty", 422, "The image file is empty"),
    NotAnImage: Kind("not-an-image", 415, "The file is not an image of a format that is read here"),
    ImageTruncated: Kind("image-truncated", 422, "The image is cut short or damaged"),
    ImageTooLarge: Kind("image-too-many-pixels", 413, "The image has too many pixels"),
    ImageBytesExceeded: Kind("image-too-many-bytes", 413, "The image file is too large"),
    ImageAnimated: Kind("image-animated", 422, "The file holds more than one picture"),
    ImageRefused: Kind("image-refused", 422, "The image cannot be used"),
    ImageConflict: Kind("image-conflict", 409, "The image id is taken by another image"),
    ImageUnknown: Kind("image-unknown", 404, "There is no such image"),
    ImageFileMissing: Kind("image-file-missing", 404, "The image's file is not stored"),
    UnknownCamera: Kind("unknown-camera", 422, "There is no such camera"),
    MetadataMismatch: Kind("metadata-mismatch", 422, "The metadata do not match the files"),
    CaseMissing: Kind("case-missing", 422, "A case and a reason are needed"),
    SearchUnknown: Kind("search-unknown", 404, "There is no such search"),
    ResultUnknown: Kind("result-unknown", 404, "The search did not show this image"),
    BatchTooLarge: Kind("batch-too-large", 413, "The batch holds too many images"),
    InvalidInput: INVALID_REQUEST,
    KeyMissing: Kind("key-missing", 401, "An API key is needed"),
    KeyRefused: Kind("key-refused", 401, "The API key is not known"),
    RoleRefused: Kind("role-refused", 403, "The key's role does not permit this"),
    CameraRefused: Kind("camera-refused", 403, "The key is not for this camera"),
    RateExceeded: Kind("rate-exceeded", 429, "The key asks too often"),
    EncoderBusy: Kind("encoder-busy", 429, "Too many images wait for the encoder"),
    ServerStopping: Kind("server-stopping", 503, "The server is stopping"),
    StorageUnavailable: Kind("storage-unavailable", 503, "The data folder cannot be used now"),
    GalleryUnavailable: Kind("gallery-unavailable", 503, "The gallery cannot be used now"),
    PecaError: INTERNAL,
}

HTTP_KINDS: dict[int, Kind] = {
    400: Kind("malformed-body", 400, "The request body cannot be read"),
    404: Kind("route-unknown", 404, "There is no such route"),
    405: Kind("method-not-allowed", 405, "The route does not take this method"),
    413: BODY_TOO_LARGE,
}

_CHALLENGES: dict[type[PecaError], str] = {
    KeyMissing: "Bearer",
    KeyRefused: 'Bearer error="invalid_token"',
    RoleRefused: 'Bearer error="insufficient_scope"',
}


def problem_of(error: PecaError) -> Problem:
    """The problem that tells a client of ``error``."""
    kind = next(KINDS[ancestor] for ancestor in type(error).__mro__ if ancestor in KINDS)
    # An error that no one foresaw here may name paths or addresses of this machine.
    return kind.problem(INTERNAL.title if kind is INTERNAL else str(error))


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer that carries ``problem``."""
    content = problem.model_dump(mode="json")
    return JSONResponse(content, problem.status, headers, media_type=MEDIA_TYPE)


def add_problem_handlers(app: FastAPI) -> None:
    """Make every error that a route lets through a problem."""
    app.exception_handler(PecaError)(_on_peca_error)
    app.exception_handler(RequestValidationError)(_on_validation_error)
    app.exception_handler(HTTPException)(_on_http_exception)
    app.exception_handler(Exception)(_on_failure)


async def _on_peca_error(_: Request, error: PecaError) -> JSONResponse:
    return problem_response(problem_of(error), _headers(error))


def _headers(error: PecaError) -> dict[str, str]:
    """What else a client needs to act on ``error``."""
    if isinstance(error, EncoderBusy | RateExceeded):
        return {"Retry-After": str(error.retry_after_s)}
    challenge = _CHALLENGES.get(type(error))
    return {} if challenge is None else {"WWW-Authenticate": challenge}


async def _on_validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
    errors = validation_errors(list(error.errors()))
    told = [f"{one['at']}: {one['message']}" for one in errors[:_TOLD]]
    detail = "; ".join(told) + (f"; and {len(errors) - _TOLD} more" if len(errors) > _TOLD else "")
    return problem_response(_validation_kind(error).problem(detail, errors=errors))


def _validation_kind(error: RequestValidationError) -> Kind:
    """The fields of modalities are named so; ``metadata`` is the only JSON in a form."""
    if any(one["type"] == "enum" and str(one["loc"][-1]).endswith("modality") for one in error.errors()):
        return UNKNOWN_MODALITY
    if all(tuple(one["loc"][:2]) == ("body", "metadata") for one in error.errors()):
        return INVALID_METADATA
    return INVALID_REQUEST


async def _on_http_exception(request: Request, error: HTTPException) -> JSONResponse:
    status = error.status_code
    kind = HTTP_KINDS.get(status) or Kind(f"http-{status}", status, HTTPStatus(status).phrase)
    said_nothing = error.detail == HTTPStatus(status).phrase
    detail = (
        f"got {request.method} {request.url.path}; see the API's routes" if said_nothing else error.detail
    )
    return problem_response(kind.problem(detail), dict(error.headers or {}))


async def _on_failure(_: Request, __: Exception) -> JSONResponse:
    """Starlette raises the error again after this answer: the log has its trace, and the connection ends."""
    problem = INTERNAL.problem("the server failed in a way that was not foreseen; see its log")
    return problem_response(problem, {"Connection": "close"})
