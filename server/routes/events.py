"""Hits as they come."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from anyio import CancelScope, to_thread
from fastapi import Header, Query, Request
from fastapi.responses import StreamingResponse

from index.errors import PecaError
from server.access import Caller, Permission
from server.audit import Action
from server.auth import TheCaller, admitted, keyed_router, needs
from server.events import HEARTBEAT, OPENING, server_sent
from server.parts import OpenParts, Parts
from server.routes.streams import Stream
from server.services.hits import sees

router = keyed_router("watchlists")

_MOST = 2**53
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "The stream.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


@router.get(
    "/events",
    summary="Listen to hits",
    response_class=StreamingResponse,
    responses=_STREAM,
    openapi_extra=needs(Permission.WATCH),
)
def listen(
    parts: OpenParts,
    caller: TheCaller,
    request: Request,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=_MOST, description="Begin after this hit; browsers send it themselves.")
    ] = None,
    after: Annotated[
        int | None,
        Query(ge=0, le=_MOST, description="The same for a first connection; the header goes before."),
    ] = None,
) -> StreamingResponse:
    """Server-sent events of the type `hit`, as they are stored; without an id from now on.

    The stream says so every 15 seconds where there is nothing to say, and ends with the key, the session
    or the server.
    """
    give_back = parts.events.seats.take(caller.holder.key_id)
    try:
        start = parts.events.start(last_event_id if last_event_id is not None else after)
        parts.audit.append(Action.READ, caller, stream="events", after=start)
    except BaseException:
        give_back()
        raise
    lines = _lines(parts, caller, request, start)
    return Stream(lines, give_back, "text/event-stream", {"X-Accel-Buffering": "no"})


async def _lines(parts: Parts, caller: Caller, request: Request, start: int) -> AsyncIterator[bytes]:
    shown, last = 0, start
    yield OPENING
    try:
        async for hit in parts.events.stream(
            start, lambda hit: sees(caller.holder, hit), lambda: admitted(request, parts, used=False)
        ):
            if hit is None:
                yield HEARTBEAT
            else:
                shown, last = shown + 1, hit.event_id
                yield server_sent("hit", hit.event_id, hit.as_event())
    except PecaError:
        return  # the listener may not go on; it asks anew, and is told why
    finally:
        told = {"stream": "events", "ended": True, "shown": shown, "last": last}
        with CancelScope(shield=True):  # the record is written though the listener is gone
            await to_thread.run_sync(lambda: parts.audit.append(Action.READ, caller, **told))
