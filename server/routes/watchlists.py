"""Watchlists."""

from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import Depends, File, Form, Path, Response, UploadFile
from pydantic import BaseModel, Field

from index.space import Modality
from server.access import Permission
from server.auth import TheCaller, keyed_router, needs
from server.parts import OpenParts
from server.routes.filters import ONCE, TheNumberedList, names_in
from server.routes.forms import only_fields
from server.schemas import BLANK_IS_ABSENT, Instant, Label, Name, Note, QueryModality
from server.services.query_images import MAX_QUERY_IMAGES
from server.services.watchlists import Wanted
from server.watchlists import Delivery, Ending
from server.watchlists import Watchlist as Stored

router = keyed_router("watchlists")

_SINGLE = (
    "query_modality",
    "gallery_modality",
    "name",
    "threshold",
    "case",
    "reason",
    "expires_at",
    "webhook_url",
)
_REQUIRED = "Needed where the setting `require_case` is on."
_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}


class WatchQuery(BaseModel):
    """A query image of a watchlist."""

    modality: Modality
    detected: bool = Field(description="Judged by its content.")
    sha256: str
    thumbnail_url: str | None = Field(description="Path on this server; null where it has expired.")


class Watchlist(BaseModel):
    """A stored query."""

    watchlist_id: str
    name: str
    made_by: str = Field(description="Holder of the key that made it.")
    created_at: datetime = Field(description="UTC.")
    expires_at: datetime = Field(description="UTC; then its images and its vector are erased.")
    expired: bool = Field(description="It is over: new images are compared with it no more.")
    ended_for: Ending | None = Field(
        description="Its `time` is over, its `maker` holds no key any more, or it has too many `hits`."
    )
    live: bool = Field(
        description="New images are compared with it: it has not expired, and is of the encoder in use."
    )
    gallery_modality: Modality = Field(description="Which images it is compared with.")
    camera_ids: list[str] | None = Field(description="Only images of these cameras; null for all.")
    threshold: float = Field(description="Least cosine of a hit.")
    case: str | None
    reason: str | None
    encoder: str = Field(description="Fingerprint of the encoder of its vector.")
    queries: list[WatchQuery]
    hits: int = Field(description="How many there are, on all cameras.")
    webhook_url: str | None
    webhooks: dict[Delivery, int] = Field(description="How many hits by the state of their webhook.")

    @classmethod
    def of(cls, stored: Stored, counts: dict[str, int], encoder: str) -> Self:
        """What is told of a stored watchlist."""
        return cls.model_validate(_told(stored, counts, encoder))


class WatchlistMade(Watchlist):
    """A watchlist just made; the secret of its webhook is shown this once."""

    webhook_secret: str | None = Field(description="Signs its webhooks; null without one.")


class WatchlistsAnswer(BaseModel):
    """Watchlists, newest first."""

    items: list[Watchlist]
    next_cursor: str | None = Field(description="Asks for the next ones; null where there are none.")


def wanted(
    name: Annotated[Name, Form(description="What you call it.")],
    threshold: Annotated[float, Form(ge=-1, le=1, description="Least cosine of a hit.")],
    query_modality: Annotated[
        QueryModality, Form(description="Of the images; `auto` judges each by its content.")
    ],
    gallery_modality: Annotated[
        Modality | None, Form(description="Images to compare with; the opposite where not given.")
    ] = None,
    camera_ids: Annotated[
        list[str] | None,
        Form(description="Only images of these cameras. Repeat the field or put commas between."),
    ] = None,
    case: Annotated[
        Label | None, BLANK_IS_ABSENT, Form(description=f"For the audit log. {_REQUIRED}")
    ] = None,
    reason: Annotated[
        Note | None, BLANK_IS_ABSENT, Form(description=f"For the audit log. {_REQUIRED}")
    ] = None,
    expires_at: Annotated[
        Instant | None,
        Form(description="ISO 8601 with zone; as late as `max_watchlist_days` lets it where not given."),
    ] = None,
    webhook_url: Annotated[
        str | None, Form(max_length=2000, description="Hits are sent there: `https://...`.")
    ] = None,
) -> Wanted:
    """The fields of a watchlist to be made."""
    return Wanted(
        name=name,
        threshold=threshold,
        query_modality=None if query_modality is QueryModality.AUTO else Modality(query_modality),
        gallery_modality=gallery_modality,
        camera_ids=names_in("camera_ids", camera_ids),
        case=case,
        reason=reason,
        expires_at=expires_at,
        webhook_url=webhook_url or None,
    )


@router.post(
    "/watchlists",
    summary="Watch for a person",
    status_code=201,
    dependencies=[Depends(only_fields(_SINGLE, ("camera_ids",), files="image"))],
    openapi_extra=needs(Permission.WATCH),
)
def make_watchlist(
    parts: OpenParts,
    caller: TheCaller,
    fields: Annotated[Wanted, Depends(wanted)],
    image: Annotated[
        list[UploadFile],
        File(
            min_length=1,
            max_length=MAX_QUERY_IMAGES,
            description="JPEG, PNG, WebP, BMP or TIFF, of one person.",
        ),
    ],
) -> WatchlistMade:
    """Compare each image that is acknowledged from now on with a person, until the watchlist expires."""
    files = [one.file.read() for one in image]
    stored, secret = parts.watchlists.create(files, fields, caller)
    told = _told(stored, {}, parts.watchlists.encoder)
    return WatchlistMade.model_validate({**told, "webhook_secret": secret})


@router.get(
    "/watchlists",
    summary="List the watchlists",
    dependencies=[ONCE],
    openapi_extra=needs(Permission.WATCH),
)
def list_watchlists(parts: OpenParts, caller: TheCaller, page: TheNumberedList) -> WatchlistsAnswer:
    """Your own; an admin's key lists all. Those that have expired stay until they are removed."""
    shown, following = parts.watchlists.page(page.last, page.limit, caller)
    counts = parts.watchlists.counts(shown)
    return WatchlistsAnswer(
        items=[
            Watchlist.of(one, counts.get(one.watchlist_id, {}), parts.watchlists.encoder) for one in shown
        ],
        next_cursor=None if following is None else str(following),
    )


@router.get("/watchlists/{watchlist_id}", summary="Read a watchlist", openapi_extra=needs(Permission.WATCH))
def read_watchlist(parts: OpenParts, caller: TheCaller, watchlist_id: str) -> Watchlist:
    """What is watched for, and how many hits there are."""
    stored = parts.watchlists.view(watchlist_id, caller)
    counts = parts.watchlists.counts([stored]).get(watchlist_id, {})
    return Watchlist.of(stored, counts, parts.watchlists.encoder)


@router.get(
    "/watchlists/{watchlist_id}/images/{number}",
    summary="See a query image",
    response_class=Response,
    responses=_JPEG,
    openapi_extra=needs(Permission.WATCH),
)
def read_query_image(
    parts: OpenParts,
    caller: TheCaller,
    watchlist_id: str,
    number: Annotated[int, Path(ge=0, lt=MAX_QUERY_IMAGES)],
) -> Response:
    """A JPEG at most 256 pixels high; the first image has the number 0."""
    return Response(parts.watchlists.query_image(watchlist_id, number, caller), media_type="image/jpeg")


@router.delete(
    "/watchlists/{watchlist_id}",
    summary="Remove a watchlist",
    status_code=204,
    response_class=Response,
    openapi_extra=needs(Permission.WATCH),
)
def remove_watchlist(parts: OpenParts, caller: TheCaller, watchlist_id: str) -> None:
    """Erase a watchlist with its query images, its vector and its hits, durably."""
    parts.watchlists.remove(watchlist_id, caller)


def _told(stored: Stored, counts: dict[str, int], encoder: str) -> dict[str, object]:
    expired = stored.ending is not None
    return {
        **stored.as_json(),
        "expired": expired,
        "ended_for": stored.ending,
        "live": not expired and stored.encoder == encoder,
        "gallery_modality": stored.modality,
        "queries": [
            {**query, "thumbnail_url": f"/watchlists/{stored.watchlist_id}/images/{number}"}
            if stored.ended_at is None
            else {**query, "thumbnail_url": None}
            for number, query in enumerate(stored.queries)
        ],
        "hits": sum(counts.values()),
        "webhooks": {state: counts[state] for state in Delivery if state in counts},
    }
