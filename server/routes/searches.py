"""What searches showed, and what people found of it."""

from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from server.access import Permission
from server.auth import TheCaller, keyed_router, needs
from server.chain import Record
from server.parts import OpenParts
from server.routes.filters import ONCE
from server.routes.links import file_name, thumbnail_url
from server.routes.streams import Stream
from server.schemas import (
    CURSOR_PATTERN,
    QueryRecord,
    ResultShown,
    SearchesAnswer,
    SearchRecord,
    SearchSummary,
    VerdictGiven,
    VerdictRecord,
)
from server.services.review import superseded

router = keyed_router("search")

_SAME = (
    "search_id",
    "case",
    "reason",
    "query_sha256",
    "query_modality",
    "filters",
    "limit",
    "score_threshold",
    "group_by",
    "encoder",
)
_ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}
MOST_EXPORTED = 100


class SearchesQuery(BaseModel):
    """Which searches are wanted; a name that is not here is refused, since it would be passed over."""

    model_config = ConfigDict(extra="forbid")

    case: str | None = Field(None, description="Of this case.")
    limit: int = Field(100, ge=1, le=200, description="Most searches.")
    cursor: str | None = Field(
        None, pattern=CURSOR_PATTERN, description="The `next_cursor` of the page before."
    )


class ExportQuery(BaseModel):
    """What is packed beside the search."""

    model_config = ConfigDict(extra="forbid")

    also: list[str] = Field(
        [], max_length=MOST_EXPORTED, description="Other searches for the same person; repeat the parameter."
    )


@router.get(
    "/searches", summary="List searches", dependencies=[ONCE], openapi_extra=needs(Permission.SEARCH_RECORD)
)
def list_searches(
    parts: OpenParts, caller: TheCaller, query: Annotated[SearchesQuery, Query()]
) -> SearchesAnswer:
    """Searches, newest first: an operator's own, everyone's for who reads the audit log.

    The reading is itself recorded. A page may be short without being the last. A record that was changed
    after it was written is not listed; `broken` tells of it.
    """
    cursor = None if query.cursor is None else int(query.cursor)
    records, broken, next_cursor = parts.review.searches(query.case, cursor, query.limit, caller)
    return SearchesAnswer(
        items=[_summary(record) for record in records],
        broken=broken,
        next_cursor=None if next_cursor is None else str(next_cursor),
    )


@router.get(
    "/searches/{search_id}",
    summary="Read a search and its verdicts",
    openapi_extra=needs(Permission.SEARCH_RECORD),
)
def read_search(parts: OpenParts, caller: TheCaller, search_id: str) -> SearchRecord:
    """What was searched and shown, and every verdict; the reading is itself recorded."""
    record, verdicts = parts.review.search(search_id, caller)
    told = [_verdict(one, old) for one, old in zip(verdicts, superseded(verdicts), strict=True)]
    return SearchRecord(
        **{name: record.get(name) for name in _SAME},
        queries=_queries(record),
        rerank=record.get("rerank", False),
        exact=record.get("exact", False),
        key=record.get("key"),
        began_at=record.get("began_at"),
        ended_at=record.get("ended_at") or record.get("at"),
        results=[
            ResultShown(
                rank=rank,
                image_id=result["image_id"],
                score=result["score"],
                camera_id=result.get("camera_id"),
                captured_at=result.get("captured_at"),
                group_size=result.get("group_size", 1),
                thumbnail_url=thumbnail_url(result["image_id"]),
                verdicts=[one for one in told if one.image_id == result["image_id"]],
            )
            for rank, result in enumerate(record["results"], start=1)
        ],
    )


@router.get(
    "/searches/{search_id}/export",
    summary="Take a search out, with its pictures",
    response_class=StreamingResponse,
    responses=_ZIP,
    openapi_extra=needs(Permission.EXPORT),
)
def export_search(
    parts: OpenParts, caller: TheCaller, search_id: str, query: Annotated[ExportQuery, Query()]
) -> StreamingResponse:
    """A zip file: `report.html` for people, `record.json` for programs, and the pictures of the results."""
    give_back = parts.export.seats.take(caller.holder.key_id)
    try:
        packed = parts.export.run([search_id, *query.also], caller)
    except BaseException:
        give_back()
        raise
    headers = {"Content-Disposition": f'attachment; filename="search-{file_name(search_id)}.zip"'}
    return Stream(packed, give_back, "application/zip", headers)


@router.post(
    "/searches/{search_id}/verdicts",
    summary="Say what a person found of a result",
    status_code=201,
    openapi_extra=needs(Permission.VERDICT),
)
def give_verdict(parts: OpenParts, caller: TheCaller, search_id: str, given: VerdictGiven) -> VerdictRecord:
    """Record a verdict on one result; a later one of the same holder supersedes it, and both stay."""
    return _verdict(parts.review.judge(search_id, given, caller), old=False)


def _summary(record: Record) -> SearchSummary:
    return SearchSummary(
        **{name: record.get(name) for name in ("search_id", "key", "began_at", "case", "reason")},
        query_modality=record["query_modality"],
        query_images=len(_queries(record)),
        results=len(record["results"]),
    )


def _queries(record: Record) -> list[QueryRecord]:
    """The query images; records of earlier versions have one."""
    told = record.get("queries") or [{"sha256": record["query_sha256"], "modality": record["query_modality"]}]
    return [QueryRecord(**one) for one in told]


def _verdict(record: Record, old: bool) -> VerdictRecord:
    return VerdictRecord(
        image_id=record["image_id"],
        verdict=record["verdict"],
        note=record.get("note"),
        key=record.get("key"),
        at=record["ended_at"],
        superseded=old,
    )
