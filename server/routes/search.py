"""Searching."""

from typing import Annotated

from fastapi import Depends, File, Form, Request, UploadFile

from index.errors import InvalidInput
from index.records import Hit, Where
from index.space import Modality
from server.access import Permission
from server.auth import TheCaller, keyed_router, needs
from server.parts import OpenParts
from server.routes.links import thumbnail_url
from server.schemas import Found, Instant, SearchAnswer, Timings
from server.services.search import Query

router = keyed_router("search")

_SINGLE = (
    "image",
    "query_modality",
    "gallery_modality",
    "limit",
    "after",
    "before",
    "score_threshold",
    "case",
    "reason",
)
_REPEATABLE = ("camera_ids", "exclude_camera_ids")
_REQUIRED = "Needed where the setting `require_case` is on."
_CAMERAS = "Repeat the field or put commas between; each must be a camera that the gallery has seen."


async def _check_fields(request: Request) -> None:
    """Refuse what FastAPI would ignore: a mistyped filter must not search everything."""
    names = [name for name, _ in (await request.form()).multi_items()]
    if unknown := sorted(set(names) - {*_SINGLE, *_REPEATABLE}):
        known = ", ".join((*_SINGLE, *_REPEATABLE))
        raise InvalidInput(f"expected the fields {known}; got also {', '.join(unknown)}")
    if repeated := sorted(name for name in _SINGLE if names.count(name) > 1):
        raise InvalidInput(f"expected one value each of {', '.join(repeated)}, got several")


@router.post(
    "/search",
    summary="Find a person",
    dependencies=[Depends(_check_fields)],
    openapi_extra=needs(Permission.SEARCH),
)
def search(
    parts: OpenParts,
    caller: TheCaller,
    image: Annotated[UploadFile, File(description="JPEG, PNG, WebP, BMP or TIFF, one person.")],
    query_modality: Annotated[Modality, Form(description="Of the image.")],
    gallery_modality: Annotated[
        Modality | None, Form(description="Where to search; the opposite where not given.")
    ] = None,
    limit: Annotated[int, Form(ge=1, description="Most results.")] = 20,
    camera_ids: Annotated[list[str] | None, Form(description=f"Only these cameras. {_CAMERAS}")] = None,
    exclude_camera_ids: Annotated[list[str] | None, Form(description=f"No such camera. {_CAMERAS}")] = None,
    after: Annotated[Instant | None, Form(description="Captured then or later; ISO 8601 with zone.")] = None,
    before: Annotated[Instant | None, Form(description="Captured earlier; ISO 8601 with zone.")] = None,
    score_threshold: Annotated[
        float | None, Form(ge=-1, le=1, description="No result of a lower cosine.")
    ] = None,
    case: Annotated[str | None, Form(max_length=200, description=f"For the audit log. {_REQUIRED}")] = None,
    reason: Annotated[
        str | None, Form(max_length=1000, description=f"For the audit log. {_REQUIRED}")
    ] = None,
) -> SearchAnswer:
    """Rank the gallery's images of one modality by how similar their person is to that of the image."""
    where = Where(
        modality=gallery_modality or query_modality.other,
        camera_ids=_split(camera_ids),
        exclude_camera_ids=_split(exclude_camera_ids),
        after=after,
        before=before,
    )
    result = parts.search.run(
        Query(
            image=image.file.read(),
            modality=query_modality,
            where=where,
            limit=limit,
            score_threshold=score_threshold,
            caller=caller,
            case=case,
            reason=reason,
        )
    )
    return SearchAnswer(
        search_id=result.search_id,
        encoder=parts.search.encoder,
        items=[_found(rank, hit) for rank, hit in enumerate(result.hits, start=1)],
        timings_ms=Timings(**result.timings_ms),
    )


def _split(values: list[str] | None) -> list[str] | None:
    """The names in repeated, comma-separated fields; ``None`` where there is none, as in an empty field."""
    names = [name.strip() for value in values or () for name in value.split(",")]
    return [name for name in names if name] or None


def _found(rank: int, hit: Hit) -> Found:
    record = hit.record
    return Found(
        rank=rank,
        image_id=record.image_id,
        score=hit.score,
        camera_id=record.camera_id,
        captured_at=record.captured_at,
        modality=record.modality,
        person_id=record.person_id,
        track_id=record.track_id,
        thumbnail_url=thumbnail_url(record.image_id),
    )
