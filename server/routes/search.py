"""Searching."""

from typing import Annotated

from fastapi import Depends, File, Form, UploadFile

from index.records import Where
from index.rerank import Ranked
from index.space import Modality
from server.access import Permission
from server.auth import TheCaller, keyed_router, needs
from server.parts import OpenParts
from server.routes.filters import names_in
from server.routes.forms import only_fields
from server.routes.links import thumbnail_url
from server.schemas import Found, GroupBy, Instant, QueryLight, QueryModality, SearchAnswer, Timings
from server.services.query_images import MAX_QUERY_IMAGES
from server.services.search import Query, Result

router = keyed_router("search")

_REQUIRED = "Needed where the setting `require_case` is on."
_CAMERAS = "Repeat the field or put commas between; each must be a camera that the gallery has seen."


async def search_options(
    caller: TheCaller,
    gallery_modality: Annotated[
        Modality | None, Form(description="Where to search; the opposite of the query where not given.")
    ] = None,
    limit: Annotated[int, Form(ge=1, description="Most results.")] = 20,
    camera_ids: Annotated[list[str] | None, Form(description=f"Only these cameras. {_CAMERAS}")] = None,
    exclude_camera_ids: Annotated[list[str] | None, Form(description=f"No such camera. {_CAMERAS}")] = None,
    after: Annotated[Instant | None, Form(description="Captured then or later; ISO 8601 with zone.")] = None,
    before: Annotated[Instant | None, Form(description="Captured earlier; ISO 8601 with zone.")] = None,
    score_threshold: Annotated[
        float | None, Form(ge=-1, le=1, description="No result of a lower cosine.")
    ] = None,
    group_by: Annotated[
        GroupBy | None, Form(description="`track_id`: of each camera's track only the best image.")
    ] = None,
    rerank: Annotated[
        bool, Form(description="Order the best 200 by the neighbours that they share with the query.")
    ] = False,
    exact: Annotated[bool, Form(description="Compare with every image, whatever index there is.")] = False,
    case: Annotated[str | None, Form(max_length=200, description=f"For the audit log. {_REQUIRED}")] = None,
    reason: Annotated[
        str | None, Form(max_length=1000, description=f"For the audit log. {_REQUIRED}")
    ] = None,
) -> Query:
    """The fields that every search has."""
    where = Where(
        modality=gallery_modality,
        camera_ids=names_in("camera_ids", camera_ids),
        exclude_camera_ids=names_in("exclude_camera_ids", exclude_camera_ids),
        after=after,
        before=before,
    )
    return Query(
        where=where,
        limit=limit,
        caller=caller,
        score_threshold=score_threshold,
        by_track=group_by is GroupBy.TRACK,
        rerank=rerank,
        exact=exact,
        case=case,
        reason=reason,
    )


Options = Annotated[Query, Depends(search_options)]
_REPEATABLE = ("camera_ids", "exclude_camera_ids")
_SINGLE = (
    "gallery_modality",
    "limit",
    "after",
    "before",
    "score_threshold",
    "group_by",
    "rerank",
    "exact",
    "case",
    "reason",
)


@router.post(
    "/search",
    summary="Find a person",
    dependencies=[Depends(only_fields(("query_modality", *_SINGLE), _REPEATABLE, files="image"))],
    openapi_extra=needs(Permission.SEARCH),
)
def search(
    parts: OpenParts,
    query: Options,
    image: Annotated[
        list[UploadFile],
        File(
            min_length=1,
            max_length=MAX_QUERY_IMAGES,
            description="JPEG, PNG, WebP, BMP or TIFF, one person; up to "
            f"{MAX_QUERY_IMAGES} images of the same person are searched as one.",
        ),
    ],
    query_modality: Annotated[
        QueryModality, Form(description="Of the images; `auto` judges each by its content.")
    ],
) -> SearchAnswer:
    """Rank the gallery's images of one modality by how similar their person is to that of the images."""
    modality = None if query_modality is QueryModality.AUTO else Modality(query_modality)
    return _answer(parts.search.run([one.file.read() for one in image], modality, query), query)


@router.post(
    "/images/{image_id}/search",
    summary="Find the person of a stored image",
    dependencies=[Depends(only_fields(_SINGLE, _REPEATABLE))],
    openapi_extra=needs(Permission.SEARCH),
)
def search_by_image(parts: OpenParts, query: Options, image_id: str) -> SearchAnswer:
    """The same with a stored image in place of one sent; it is not among its own results."""
    return _answer(parts.search.run_stored(image_id, query), query)


def _answer(result: Result, query: Query) -> SearchAnswer:
    return SearchAnswer(
        search_id=result.search_id,
        encoder=result.encoder,
        query_modalities=[
            QueryLight(modality=one.modality, detected=one.detected, confidence=one.confidence)
            for one in result.images
        ],
        gallery_modality=result.gallery_modality,
        reranked=query.rerank,
        items=[_found(rank, one) for rank, one in enumerate(result.ranked, start=1)],
        timings_ms=Timings(**result.timings_ms),
    )


def _found(rank: int, one: Ranked) -> Found:
    record = one.hit.record
    return Found(
        rank=rank,
        image_id=record.image_id,
        score=one.hit.score,
        camera_id=record.camera_id,
        captured_at=record.captured_at,
        modality=record.modality,
        person_id=record.person_id,
        track_id=record.track_id,
        group_size=one.group_size,
        thumbnail_url=thumbnail_url(record.image_id),
    )
