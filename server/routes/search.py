"""Searching."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field, WithJsonSchema

from index.errors import InvalidInput
from index.records import Where
from index.rerank import Ranked
from index.space import Modality
from server.access import Caller, Permission
from server.auth import caller_of, keyed_router, needs
from server.parts import Parts, parts_of
from server.routes.filters import names_in
from server.routes.forms import described, form_of
from server.routes.links import thumbnail_url
from server.schemas import (
    BLANK_IS_ABSENT,
    Found,
    GroupBy,
    Instant,
    Label,
    Note,
    QueryLight,
    QueryModality,
    SearchAnswer,
    Timings,
)
from server.services.query_images import MAX_QUERY_IMAGES
from server.services.search import Query, Result

router = keyed_router("search")

ImageFile = Annotated[
    bytes, WithJsonSchema({"type": "string", "contentMediaType": "application/octet-stream"})
]
_REQUIRED = "Needed where the setting `require_case` is on."
_CAMERAS = "Repeat the field or put commas between; each must be a camera that the gallery has seen."


class SearchFields(BaseModel):
    """The fields that every search has."""

    gallery_modality: Modality | None = Field(
        None, description="Where to search; the opposite of the query where not given."
    )
    limit: int = Field(20, ge=1, description="Most results.")
    camera_ids: list[str] | None = Field(None, description=f"Only these cameras. {_CAMERAS}")
    exclude_camera_ids: list[str] | None = Field(None, description=f"No such camera. {_CAMERAS}")
    after: Instant | None = Field(None, description="Captured then or later; ISO 8601 with zone.")
    before: Instant | None = Field(None, description="Captured earlier; ISO 8601 with zone.")
    score_threshold: float | None = Field(None, ge=-1, le=1, description="No result of a lower cosine.")
    group_by: GroupBy | None = Field(
        None, description="`track_id`: of each camera's track only the best image."
    )
    rerank: bool = Field(
        False, description="Order the best 200 by the neighbours that they share with the query."
    )
    exact: bool = Field(False, description="Compare with every image, whatever index there is.")
    case: Annotated[Label | None, BLANK_IS_ABSENT] = Field(
        None, description=f"For the audit log. {_REQUIRED}"
    )
    reason: Annotated[Note | None, BLANK_IS_ABSENT] = Field(
        None, description=f"For the audit log. {_REQUIRED}"
    )

    def query(self, caller: Caller) -> Query:
        """What is asked of the search.

        Raises:
            InvalidInput: A list holds an empty name.
        """
        where = Where(
            modality=self.gallery_modality,
            camera_ids=names_in("camera_ids", self.camera_ids),
            exclude_camera_ids=names_in("exclude_camera_ids", self.exclude_camera_ids),
            after=self.after,
            before=self.before,
        )
        return Query(
            where=where,
            limit=self.limit,
            caller=caller,
            score_threshold=self.score_threshold,
            by_track=self.group_by is GroupBy.TRACK,
            rerank=self.rerank,
            exact=self.exact,
            case=self.case,
            reason=self.reason,
        )


class SearchForm(SearchFields):
    """A search by images that are sent."""

    image: list[ImageFile] = Field(
        min_length=1,
        max_length=MAX_QUERY_IMAGES,
        description="JPEG, PNG, WebP, BMP or TIFF, one person; up to "
        f"{MAX_QUERY_IMAGES} images of the same person are searched as one.",
    )
    query_modality: list[QueryModality] = Field(
        min_length=1,
        max_length=MAX_QUERY_IMAGES,
        description="Of all images or, repeated, of each in their order; `auto` judges by the content.",
    )

    def lights(self) -> list[Modality | None]:
        """Of each image what is said of it; ``None`` where its content judges.

        Raises:
            InvalidInput: Several lights are said, and not as many as there are images.
        """
        said, images = self.query_modality, len(self.image)
        if len(said) not in (1, images):
            raise InvalidInput(
                f"query_modality: expected one, or one of each of {images} images, got {len(said)}"
            )
        told = [None if one is QueryModality.AUTO else Modality(one) for one in said]
        return told if len(told) == images else told * images


_search_form = form_of(SearchForm, files="image")
_stored_search_form = form_of(SearchFields)


@router.post(
    "/search",
    summary="Find a person",
    response_model=SearchAnswer,
    openapi_extra=needs(Permission.SEARCH) | described(SearchForm, "multipart/form-data"),
)
async def search(request: Request) -> Response:
    """Rank the gallery's images of one modality by how similar their person is to that of the images."""
    form = await _search_form(request)
    lights = form.lights()
    return await _answered(request, form, lambda parts, query: parts.search.run(form.image, lights, query))


@router.post(
    "/images/{image_id}/search",
    summary="Find the person of a stored image",
    response_model=SearchAnswer,
    openapi_extra=needs(Permission.SEARCH) | described(SearchFields, "application/x-www-form-urlencoded"),
)
async def search_by_image(request: Request, image_id: str) -> Response:
    """The same with a stored image in place of one sent; it is not among its own results."""
    form = await _stored_search_form(request)
    return await _answered(request, form, lambda parts, query: parts.search.run_stored(image_id, query))


async def _answered(request: Request, form: SearchFields, find: Callable[[Parts, Query], Result]) -> Response:
    """Search in a thread, without FastAPI's own way there through its dependencies, which is felt."""
    parts, query = await parts_of(request), form.query(await caller_of(request))
    return await run_in_threadpool(lambda: _answer(find(parts, query), query))


def _answer(result: Result, query: Query) -> Response:
    # Written here: FastAPI would check and write it in one more thread, whose turn the answer waits for.
    answer = SearchAnswer(
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
    return Response(answer.model_dump_json(), media_type="application/json")


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
