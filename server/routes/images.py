"""Adding, reading and removing images."""

from collections import Counter
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import File, Form, Response, UploadFile
from pydantic import Json

from server.access import Permission
from server.auth import TheCaller, keyed_router, needs
from server.parts import OpenParts
from server.problems import problem_of, problem_response
from server.routes.links import thumbnail_url
from server.schemas import Counts, Image, ImageMetadata, IngestAnswer, Ingested, Status
from server.services.ingest import Outcome, Upload

router = keyed_router("images")

_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.post(
    "/images",
    summary="Add images",
    status_code=201,
    response_model=IngestAnswer,
    responses={200: {"model": IngestAnswer, "description": "Nothing new was stored."}},
    openapi_extra=needs(Permission.INGEST),
)
def add_images(
    parts: OpenParts,
    caller: TheCaller,
    response: Response,
    images: Annotated[list[UploadFile], File(description="The image files; their names must be unique.")],
    metadata: Annotated[
        Json[list[ImageMetadata]], Form(description="A JSON array with one object a file, in any order.")
    ],
) -> IngestAnswer | Response:
    """Add a batch; a good file is stored even where another is refused.

    What is answered as stored survives a power cut, and sending a batch again adds nothing. A batch
    of which every file was refused is answered with the problem of the first, and all ``items``.
    """
    uploads = [Upload(image.filename or "", image.file.read()) for image in images]
    outcomes = parts.ingest.run(uploads, metadata, caller.holder)
    items = [_ingested(outcome) for outcome in outcomes]
    if all(item.status is Status.REFUSED for item in items):
        return _all_refused(items)
    counts = Counter(item.status.value for item in items)
    response.status_code = 201 if counts[Status.STORED] else 200
    return IngestAnswer(items=items, counts=Counts(**{status.value: counts[status] for status in Status}))


@router.get(
    "/images/{image_id}", summary="Read what is known of an image", openapi_extra=needs(Permission.VIEW)
)
def read_image(parts: OpenParts, caller: TheCaller, image_id: str) -> Image:
    """The record of an image."""
    record = parts.catalogue.get(image_id, caller.holder)
    return Image(**asdict(record), thumbnail_url=thumbnail_url(image_id))


@router.get(
    "/images/{image_id}/thumbnail",
    summary="See an image",
    response_class=Response,
    responses=_JPEG,
    openapi_extra=needs(Permission.VIEW),
)
def read_thumbnail(parts: OpenParts, caller: TheCaller, image_id: str) -> Response:
    """A JPEG at most 256 pixels high, upright, without metadata."""
    return Response(parts.catalogue.thumbnail(image_id, caller.holder), media_type="image/jpeg")


@router.delete(
    "/images/{image_id}",
    summary="Remove an image",
    status_code=204,
    openapi_extra=needs(Permission.REMOVE),
)
def remove_image(parts: OpenParts, caller: TheCaller, image_id: str) -> None:
    """Remove an image, its file and its vector, durably."""
    parts.removal.run(image_id, caller)


def _ingested(outcome: Outcome) -> Ingested:
    problem = None if outcome.error is None else problem_of(outcome.error)
    return Ingested(
        filename=outcome.filename, image_id=outcome.image_id, status=outcome.status, problem=problem
    )


def _all_refused(items: list[Ingested]) -> Response:
    first = next(item.problem for item in items if item.problem is not None)
    first = first.model_copy(update={"items": [item.model_dump(mode="json") for item in items]})
    return problem_response(first)
