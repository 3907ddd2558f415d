"""Watchlists and their hits: what the server tells of them, and the calls."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, cast
from urllib.parse import quote

import httpx

from peca_client.batches import read_image
from peca_client.calls import Call, listed, refused, verdict_body
from peca_client.errors import ConnectionFailed, InvalidArgument, UnexpectedAnswer
from peca_client.models import ImageSource, Modality, VerdictRecord, moment
from peca_client.pages import Part
from peca_client.retry import Again

EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Watchlist:
    """A stored query that new images are compared with.

    Attributes:
        watchlist_id: Names it.
        name: What its maker calls it.
        made_by: The holder of the key that made it.
        expires_at: When it ends, UTC.
        live: New images are compared with it.
        gallery_modality: Which images are.
        camera_ids: Of which cameras; ``None`` for all.
        threshold: Least cosine of a hit.
        case: The case that it belongs to, where given.
        hits: How many there are.
        webhook_url: Where hits are sent, where given.
        webhook_secret: Signs what is sent; only in the answer to making it.
        ended_for: Why it is over: its ``time``, its ``maker`` holds no key any more, or it has too many
            ``hits``; ``None`` while it lives.
    """

    watchlist_id: str
    name: str
    made_by: str
    expires_at: datetime
    live: bool
    gallery_modality: Modality
    camera_ids: tuple[str, ...] | None
    threshold: float
    case: str | None
    hits: int
    webhook_url: str | None
    webhook_secret: str | None = None
    ended_for: str | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the answer of ``GET /watchlists/{watchlist_id}``."""
        cameras = value["camera_ids"]
        return cls(
            watchlist_id=str(value["watchlist_id"]),
            name=str(value["name"]),
            made_by=str(value["made_by"]),
            expires_at=moment(value["expires_at"]),
            live=bool(value["live"]),
            gallery_modality=Modality(value["gallery_modality"]),
            camera_ids=None if cameras is None else tuple(cameras),
            threshold=float(value["threshold"]),
            case=value["case"],
            hits=int(value["hits"]),
            webhook_url=value["webhook_url"],
            webhook_secret=value.get("webhook_secret"),
            ended_for=value.get("ended_for"),
        )


@dataclass(frozen=True, slots=True)
class WatchHit:
    """An image that passed the threshold of a watchlist.

    Attributes:
        event_id: Grows; a stream is resumed after it.
        watchlist_id: Of the watchlist.
        name: What its maker calls it.
        image_id: Of the image.
        camera_id: Which saw it.
        captured_at: When, UTC.
        modality: By which light.
        score: Cosine similarity, higher is better.
        verdicts: What people found of it, oldest first; of a hit as it comes there is none.
        webhook: How far its webhook came, ``pending``, ``delivered`` or ``dead``; ``None`` without one, and
            of a hit as it comes.
    """

    event_id: int
    watchlist_id: str
    name: str
    image_id: str
    camera_id: str
    captured_at: datetime
    modality: Modality
    score: float
    verdicts: tuple[VerdictRecord, ...] = ()
    webhook: str | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the data of an event, or one of a watchlist's hits."""
        webhook = value.get("webhook")
        return cls(
            event_id=int(value["event_id"]),
            watchlist_id=str(value["watchlist_id"]),
            name=str(value["name"]),
            image_id=str(value["image_id"]),
            camera_id=str(value["camera_id"]),
            captured_at=moment(value["captured_at"]),
            modality=Modality(value["modality"]),
            score=float(value["score"]),
            verdicts=tuple(map(VerdictRecord.from_json, value.get("verdicts", ()))),
            webhook=None if webhook is None else str(webhook["status"]),
        )


@dataclass(frozen=True, slots=True)
class HitPage:
    """Hits, newest first; ``next_cursor`` asks for those before."""

    items: tuple[WatchHit, ...]
    next_cursor: str | None


def watch(
    images: ImageSource | Sequence[ImageSource],
    query_modality: str,
    name: str,
    threshold: float,
    options: Mapping[str, Any],
) -> Call[Watchlist]:
    """``POST /watchlists``; ``options`` are its other fields, as strings, instants or lists."""
    several = list(images) if isinstance(images, list | tuple) else [cast(ImageSource, images)]
    read = [read_image(one) for one in several]
    given = {key: _field(key, value) for key, value in options.items() if value is not None}
    return Call(
        "POST",
        "/watchlists",
        lambda response: Watchlist.from_json(response.json()),
        form={
            "query_modality": str(query_modality),
            "name": name,
            "threshold": repr(float(threshold)),
            **given,
        },
        files=[("image", (filename or "image", data)) for filename, data in read],
        again=Again.UNDONE,
    )


def watchlists(cursor: str | None) -> Call[Part[Watchlist]]:
    """``GET /watchlists``."""
    return listed("/watchlists", Watchlist.from_json, cursor)


def watchlist(watchlist_id: str) -> Call[Watchlist]:
    """``GET /watchlists/{watchlist_id}``."""
    return Call("GET", _path(watchlist_id), lambda response: Watchlist.from_json(response.json()))


def hits(watchlist_id: str | None, limit: int, cursor: str | None, webhook: str | None) -> Call[HitPage]:
    """``GET /watchlists/{watchlist_id}/hits``; without a watchlist ``GET /hits``."""
    given = {"limit": str(limit), "cursor": cursor, "webhook": webhook}
    query = {name: value for name, value in given.items() if value is not None}
    path = "/hits" if watchlist_id is None else f"{_path(watchlist_id)}/hits"
    return Call("GET", path, _read_hits, query=query)


def resend(watchlist_id: str, event_ids: Sequence[int] | None) -> Call[int]:
    """``POST /watchlists/{watchlist_id}/resend``."""
    body = {} if event_ids is None else {"event_ids": list(event_ids)}
    path = f"{_path(watchlist_id)}/resend"
    return Call("POST", path, lambda response: int(response.json()["count"]), body=body)


def judge_hit(watchlist_id: str, event_id: int, verdict: str, note: str | None) -> Call[VerdictRecord]:
    """``POST /watchlists/{watchlist_id}/hits/{event_id}/verdicts``."""
    path = f"{_path(watchlist_id)}/hits/{event_id:d}/verdicts"
    body = verdict_body(verdict, note)
    return Call("POST", path, lambda response: VerdictRecord.from_json(response.json()), body=body)


def remove_watchlist(watchlist_id: str) -> Call[None]:
    """``DELETE /watchlists/{watchlist_id}``."""
    return Call("DELETE", _path(watchlist_id), _read_nothing)


def check_stream(response: httpx.Response) -> None:
    """See that an answer is the stream of hits; any other was read already.

    Raises:
        PecaClientError: The server refused, or is not PECA's.
    """
    if response.status_code >= 400:
        raise refused(response)
    kind = response.headers.get("content-type", "")
    if not (response.is_success and kind.startswith(EVENT_STREAM)):
        raise UnexpectedAnswer(
            f"{response.request.url} answered {response.status_code} with {kind or 'no content type'}, "
            f"and not with {EVENT_STREAM}; check the address"
        )


def heard(line: str) -> WatchHit | None:
    """The hit that a line of the stream tells, where it tells one.

    Raises:
        UnexpectedAnswer: It tells something else as if it were a hit.
    """
    if not line.startswith("data: "):
        return None
    try:
        return WatchHit.from_json(json.loads(line.removeprefix("data: ")))
    except (KeyError, TypeError, ValueError) as error:
        raise UnexpectedAnswer(f"the stream of hits told what is none: {line[:200]}") from error


def stream_ended() -> ConnectionFailed:
    """The error of a stream that the server ended in good order, as when it stops."""
    return ConnectionFailed("the server ended the stream of hits")


def _path(watchlist_id: str) -> str:
    if not watchlist_id or watchlist_id in (".", ".."):
        raise InvalidArgument(f"watchlist_id must name a watchlist, got {watchlist_id!r}")
    return f"/watchlists/{quote(watchlist_id, safe='')}"


def _field(name: str, value: Any) -> str | list[str]:
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise InvalidArgument(f"{name} must carry a time zone (for example UTC), got {value.isoformat()}")
        return value.isoformat()
    return str(value) if isinstance(value, str) else [str(one) for one in value]


def _read_hits(response: httpx.Response) -> HitPage:
    value = response.json()
    return HitPage(tuple(map(WatchHit.from_json, value["items"])), value["next_cursor"])


def _read_nothing(response: httpx.Response) -> None:
    if not response.is_success:
        raise ValueError("expected a success")
