"""Adding, reading and removing images."""

from collections import Counter
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Depends, File, Form, Response, UploadFile
from pydantic import Field, Json

from index.records import ImageRecord
from server.access import Permission
from server.auth import TheCaller, keyed_router, needs
from server.images import MEDIA_TYPES, suffix
from server.parts import OpenParts
from server.problems import problem_of, problem_response
from server.routes.filters import ONCE, ThePage, TheRemoval, cursor_after, read_cursor
from server.routes.forms import only_fields
from server.routes.links import file_name, thumbnail_url
from server.schemas import (
    Camera,
    Counts,
    Image,
    ImageMetadata,
    ImagesAnswer,
    IngestAnswer,
    Ingested,
    RemovalAnswer,
    Status,
)
from server.services.ingest import Outcome, Upload
from server.settings import MOST_BATCH_IMAGES

router = keyed_router("images")

_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}

_ANY_IMAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES.values()}
    }
}


@router.post(
    "/images",
    summary="Add images",
    status_code=201,
    response_model=IngestAnswer,
    responses={200: {"model": IngestAnswer, "description": "Nothing new was stored."}},
    dependencies=[Depends(only_fields(("metadata",), files="images"))],
    openapi_extra=needs(Permission.INGEST),
)
def add_images(
    parts: OpenParts,
    caller: TheCaller,
    response: Response,
    images: Annotated[
        list[UploadFile], File(min_length=1, description="The image files; their names must be unique.")
    ],
    metadata: Annotated[
        Json[Annotated[list[ImageMetadata], Field(max_length=MOST_BATCH_IMAGES)]],
        Form(description="A JSON array with one object a file, in any order."),
    ],
) -> IngestAnswer | Response:
    """Add a batch; a good file is stored even where another is refused.

    What is answered as stored survives a power cut, and sending a batch again adds nothing. A batch
    of which every file was refused is answered with the problem of the first, and all ``items``.
    """
    uploads = [Upload(image.filename or "", image.file.read()) for image in images]
    outcomes = parts.ingest.run(uploads, metadata, caller)
    items = [_ingested(outcome) for outcome in outcomes]
    if all(item.status is Status.REFUSED for item in items):
        return _all_refused(items)
    counts = Counter(item.status.value for item in items)
    response.status_code = 201 if counts[Status.STORED] else 200
    return IngestAnswer(items=items, counts=Counts(**{status.value: counts[status] for status in Status}))


@router.get("/images", summary="List images", dependencies=[ONCE], openapi_extra=needs(Permission.VIEW))
def list_images(parts: OpenParts, caller: TheCaller, page: ThePage) -> ImagesAnswer:
    """Images, newest first; adding and removing between two pages repeats and skips no other image.

    A list that names people or tracks finds a person as a search does: it is recorded before it is shown.
    """
    where = parts.catalogue.narrowed(page.where(), caller.holder)
    if page.person_ids or page.track_ids:
        parts.review.listing(where, page.case, page.reason, caller)
    found = parts.catalogue.page(where, page.limit + 1, read_cursor(page.cursor))
    shown = found[: page.limit]
    return ImagesAnswer(
        items=[_image(record) for record in shown],
        next_cursor=cursor_after(shown[-1]) if len(found) > page.limit else None,
    )


@router.delete(
    "/images",
    summary="Remove images by a filter",
    dependencies=[ONCE],
    openapi_extra=needs(Permission.REMOVE),
)
def remove_images(parts: OpenParts, caller: TheCaller, removal: TheRemoval) -> RemovalAnswer:
    """Count the images that pass a filter; with `dry_run=false`, remove them, durably."""
    count, cameras = parts.removal.run_filter(removal.where(), removal.dry_run, caller)
    told = [Camera(**asdict(camera)) for camera in cameras]
    return RemovalAnswer(count=count, dry_run=removal.dry_run, cameras=told)


@router.get(
    "/images/{image_id}", summary="Read what is known of an image", openapi_extra=needs(Permission.VIEW)
)
def read_image(parts: OpenParts, caller: TheCaller, image_id: str) -> Image:
    """The record of an image."""
    return _image(parts.catalogue.get(image_id, caller.holder))


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


@router.get(
    "/images/{image_id}/file",
    summary="Take the file of an image",
    response_class=Response,
    responses=_ANY_IMAGE,
    openapi_extra=needs(Permission.VIEW),
)
def read_file(parts: OpenParts, caller: TheCaller, image_id: str) -> Response:
    """The file as it is stored: the whole picture, without metadata but for how to turn it."""
    data = parts.catalogue.clean_file(image_id, caller.holder)
    kind = suffix(data)
    headers = {"Content-Disposition": f'inline; filename="{file_name(image_id)}.{kind}"'}
    return Response(data, media_type=MEDIA_TYPES[kind], headers=headers)


@router.delete(
    "/images/{image_id}",
    summary="Remove an image",
    status_code=204,
    response_class=Response,
    openapi_extra=needs(Permission.REMOVE),
)
def remove_image(parts: OpenParts, caller: TheCaller, image_id: str) -> None:
    """Remove an image, its file and its vector, durably."""
    parts.removal.run(image_id, caller)


def _image(record: ImageRecord) -> Image:
    return Image(**asdict(record), thumbnail_url=thumbnail_url(record.image_id))


def _ingested(outcome: Outcome) -> Ingested:
    problem = None if outcome.error is None else problem_of(outcome.error)
    return Ingested(
        filename=outcome.filename, image_id=outcome.image_id, status=outcome.status, problem=problem
    )


def _all_refused(items: list[Ingested]) -> Response:
    first = next(item.problem for item in items if item.problem is not None)
    first = first.model_copy(update={"items": [item.model_dump(mode="json") for item in items]})
    return problem_response(first)
