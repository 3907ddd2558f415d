"""Reading the audit log."""

from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from index.errors import InvalidInput
from server.access import Permission
from server.audit import Action
from server.auth import TheCaller, keyed_router, needs
from server.parts import OpenParts
from server.schemas import CURSOR_PATTERN, AuditAnswer, AuditRecord, ChainHead, Instant
from server.trail import AuditFilter

router = keyed_router("audit")


class AuditQuery(BaseModel):
    """Which records are wanted; a name that is not here is refused, since it would be passed over."""

    model_config = ConfigDict(extra="forbid")

    after: Instant | None = Field(None, description="Ended then or later; ISO 8601 with zone.")
    before: Instant | None = Field(None, description="Ended earlier; ISO 8601 with zone.")
    key: str | None = Field(None, description="Of the holder of this name.")
    case: str | None = Field(None, description="Of this case.")
    action: Action | None = Field(None, description="Of this action.")
    limit: int = Field(100, ge=1, le=200, description="Most records.")
    cursor: str | None = Field(
        None, pattern=CURSOR_PATTERN, description="The `next_cursor` of the page before."
    )


async def _check_once(request: Request) -> None:
    """Refuse what FastAPI would pass over: of a repeated name only the last would count."""
    names = [name for name, _ in request.query_params.multi_items()]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(f"expected one value each of {', '.join(repeated)}, got several")


@router.get(
    "/audit",
    summary="Read the audit log",
    dependencies=[Depends(_check_once)],
    response_model_exclude_unset=True,
    openapi_extra=needs(Permission.AUDIT),
)
def read_audit(parts: OpenParts, caller: TheCaller, query: Annotated[AuditQuery, Query()]) -> AuditAnswer:
    """Records, newest first; the reading is itself recorded, before anything is read."""
    wanted = AuditFilter(query.after, query.before, query.key, query.case, query.action)
    cursor = None if query.cursor is None else int(query.cursor)
    records, next_cursor, head = parts.review.page(wanted, cursor, query.limit, caller)
    return AuditAnswer(
        items=[AuditRecord(**record) for record in records],
        next_cursor=None if next_cursor is None else str(next_cursor),
        head=ChainHead(sequence=head.sequence, sha256=head.sha256),
    )
