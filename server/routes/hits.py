"""What watchlists found, and what people found of that."""

from datetime import datetime
from typing import Annotated

from fastapi import Body, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from index.space import Modality
from server.access import Permission
from server.auth import TheCaller, keyed_router, needs
from server.parts import OpenParts
from server.routes.filters import ONCE
from server.schemas import CURSOR_PATTERN, HitVerdictGiven, Verdict, VerdictRecord
from server.watchlists import Delivery, HitVerdict, WatchHit

router = keyed_router("watchlists")

_MOST = 2**53
EventId = Annotated[int, Path(ge=1, le=_MOST, description="The number of the hit.")]


class HitsQuery(BaseModel):
    """Which hits are wanted; a name that is not here is refused, since it would be passed over."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(100, ge=1, le=200, description="Most hits.")
    cursor: str | None = Field(
        None, pattern=CURSOR_PATTERN, description="The `next_cursor` of the page before."
    )
    webhook: Delivery | None = Field(None, description="Only hits whose webhook is in this state, as `dead`.")

    @property
    def below(self) -> int | None:
        """The event id that the page before ended with."""
        return None if self.cursor is None else int(self.cursor)


class WebhookState(BaseModel):
    """How far the webhook of a hit came."""

    status: Delivery
    attempts: int
    error: str | None = Field(description="Of the last attempt; null where it succeeded or is to come.")


class WatchlistHit(BaseModel):
    """An image that passed the threshold."""

    event_id: int = Field(description="Grows; the `id` of its event.")
    watchlist_id: str
    name: str = Field(description="Of the watchlist.")
    image_id: str
    camera_id: str
    captured_at: datetime = Field(description="UTC.")
    modality: Modality
    score: float = Field(description="Cosine similarity, higher is better.")
    thumbnail_url: str = Field(description="Path on this server.")
    webhook: WebhookState | None = Field(description="Null where the watchlist has no webhook.")
    verdicts: list[VerdictRecord] = Field(description="What people found of it, oldest first.")


class HitsAnswer(BaseModel):
    """Hits, newest first."""

    items: list[WatchlistHit]
    next_cursor: str | None = Field(description="Asks for the hits before; null where there are none.")


class Resend(BaseModel):
    """Which webhooks are called again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_ids: list[Annotated[int, Field(ge=1, le=_MOST)]] | None = Field(
        None, min_length=1, max_length=1000, description="Only of these hits; of all that were given up else."
    )


class ResendAnswer(BaseModel):
    """What is sent again."""

    count: int = Field(description="How many hits; those whose webhook was not given up are passed over.")


@router.get(
    "/hits",
    summary="List the newest hits",
    dependencies=[ONCE],
    openapi_extra=needs(Permission.WATCH),
)
def list_newest(parts: OpenParts, caller: TheCaller, query: Annotated[HitsQuery, Query()]) -> HitsAnswer:
    """Hits of all your watchlists, newest first; an admin's key lists all. The reading is recorded first."""
    return _answer(*parts.hits.newest(query.below, query.limit, query.webhook, caller))


@router.get(
    "/watchlists/{watchlist_id}/hits",
    summary="List the hits of a watchlist",
    dependencies=[ONCE],
    openapi_extra=needs(Permission.WATCH),
)
def list_hits(
    parts: OpenParts, caller: TheCaller, watchlist_id: str, query: Annotated[HitsQuery, Query()]
) -> HitsAnswer:
    """Hits, newest first; the reading is itself recorded, before anything is read."""
    return _answer(*parts.hits.of(watchlist_id, query.below, query.limit, query.webhook, caller))


@router.post(
    "/watchlists/{watchlist_id}/hits/{event_id}/verdicts",
    summary="Say what a person found of a hit",
    status_code=201,
    openapi_extra=needs(Permission.VERDICT),
)
def judge_hit(
    parts: OpenParts, caller: TheCaller, watchlist_id: str, event_id: EventId, given: HitVerdictGiven
) -> VerdictRecord:
    """Record a verdict on one hit; a later one of the same holder supersedes it, and both stay."""
    return _verdict(*parts.hits.judge(watchlist_id, event_id, given, caller), old=False)


@router.post(
    "/watchlists/{watchlist_id}/resend",
    summary="Send hits again whose webhook was given up",
    openapi_extra=needs(Permission.WATCH),
)
def resend_hits(
    parts: OpenParts,
    caller: TheCaller,
    watchlist_id: str,
    resend: Annotated[Resend, Body(default_factory=Resend)],
) -> ResendAnswer:
    """Call the webhooks of dead hits again, as often as of new ones; recorded before it is done."""
    return ResendAnswer(count=parts.hits.resend(watchlist_id, resend.event_ids, caller))


def _answer(hits: list[WatchHit], following: int | None) -> HitsAnswer:
    return HitsAnswer(
        items=[_hit(hit) for hit in hits], next_cursor=None if following is None else str(following)
    )


def _hit(hit: WatchHit) -> WatchlistHit:
    state = (
        None
        if hit.delivery is None
        else WebhookState(status=hit.delivery, attempts=hit.attempts, error=hit.error)
    )
    latest = {one.key: one for one in hit.verdicts}
    verdicts = [_verdict(hit, one, old=latest[one.key] is not one) for one in hit.verdicts]
    return WatchlistHit(**hit.as_event(), webhook=state, verdicts=verdicts)


def _verdict(hit: WatchHit, given: HitVerdict, *, old: bool) -> VerdictRecord:
    return VerdictRecord(
        image_id=hit.match.image_id,
        verdict=Verdict(given.verdict),
        note=given.note,
        key=given.key,
        at=given.at,
        superseded=old,
    )
