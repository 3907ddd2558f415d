"""What a search showed, and what people found of it."""

from server.access import Permission
from server.auth import TheCaller, keyed_router, needs
from server.chain import Record
from server.parts import OpenParts
from server.routes.links import thumbnail_url
from server.schemas import ResultShown, SearchRecord, VerdictGiven, VerdictRecord
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
    "encoder",
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
        key=record.get("key"),
        began_at=record.get("began_at"),
        ended_at=record.get("ended_at") or record.get("at"),
        results=[
            ResultShown(
                rank=rank,
                image_id=result["image_id"],
                score=result["score"],
                thumbnail_url=thumbnail_url(result["image_id"]),
                verdicts=[one for one in told if one.image_id == result["image_id"]],
            )
            for rank, result in enumerate(record["results"], start=1)
        ],
    )


@router.post(
    "/searches/{search_id}/verdicts",
    summary="Say what a person found of a result",
    status_code=201,
    openapi_extra=needs(Permission.VERDICT),
)
def give_verdict(parts: OpenParts, caller: TheCaller, search_id: str, given: VerdictGiven) -> VerdictRecord:
    """Record a verdict on one result; a later one of the same holder supersedes it, and both stay."""
    return _verdict(parts.review.judge(search_id, given, caller), old=False)


def _verdict(record: Record, old: bool) -> VerdictRecord:
    return VerdictRecord(
        image_id=record["image_id"],
        verdict=record["verdict"],
        note=record.get("note"),
        key=record.get("key"),
        at=record["ended_at"],
        superseded=old,
    )
