"""What a watchlist is, and what it finds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from index.records import ImageRecord
from index.space import Modality
from server.routes.links import thumbnail_url


class Delivery(StrEnum):
    """How far the webhook of a hit came."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class Ending(StrEnum):
    """Why a watchlist is compared with nothing any more."""

    TIME = "time"
    MAKER = "maker"
    HITS = "hits"


@dataclass(frozen=True, slots=True)
class Watchlist:
    """A stored query.

    Attributes:
        watchlist_id: Names it.
        name: What its maker calls it.
        made_by: The holder whose key made it.
        key_id: Of that key.
        created_at: When, UTC.
        expires_at: From when on it is compared with nothing, UTC.
        modality: Which images it is compared with.
        camera_ids: Only images of these cameras; ``None`` for all.
        threshold: Least cosine of a hit.
        case: The case that it belongs to, where given.
        reason: Why it is kept, where given.
        encoder: Fingerprint of the encoder of its vector.
        queries: What is told of each query image: ``modality``, ``detected``, ``sha256``.
        webhook_url: Where hits are sent; ``None`` for nowhere.
        ended_at: When it ended, and its images and vector were erased, UTC; ``None`` while it lives.
        ended_for: Why; versions before this did not say.
    """

    watchlist_id: str
    name: str
    made_by: str
    key_id: str
    created_at: datetime
    expires_at: datetime
    modality: Modality
    camera_ids: tuple[str, ...] | None
    threshold: float
    case: str | None
    reason: str | None
    encoder: str
    queries: tuple[dict[str, Any], ...]
    webhook_url: str | None = None
    ended_at: datetime | None = None
    ended_for: Ending | None = None

    @property
    def ending(self) -> Ending | None:
        """Why it is over now; ``None`` while it lives."""
        if self.ended_for is not None:
            return self.ended_for
        if self.expires_at <= datetime.now(UTC):
            return Ending.TIME
        return None if self.ended_at is None else Ending.MAKER

    def watches(self, record: ImageRecord, now: datetime) -> bool:
        """Whether an image is compared with it at ``now``."""
        return (
            now < self.expires_at
            and record.modality is self.modality
            and (self.camera_ids is None or record.camera_id in self.camera_ids)
        )

    def as_json(self) -> dict[str, Any]:
        """Its facts as JSON values."""
        instants = ("created_at", "expires_at", "ended_at")
        told = {name: getattr(self, name) and getattr(self, name).isoformat() for name in instants}
        return {**asdict(self), **told}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Self:
        """Read what ``as_json`` made."""
        cameras, ended_at, ended_for = facts["camera_ids"], facts["ended_at"], facts.get("ended_for")
        return cls(
            **{
                **facts,
                "created_at": datetime.fromisoformat(facts["created_at"]),
                "expires_at": datetime.fromisoformat(facts["expires_at"]),
                "ended_at": None if ended_at is None else datetime.fromisoformat(ended_at),
                "ended_for": None if ended_for is None else Ending(ended_for),
                "modality": Modality(facts["modality"]),
                "camera_ids": None if cameras is None else tuple(cameras),
                "queries": tuple(facts["queries"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Match:
    """An image that passes the threshold of a watchlist."""

    watchlist_id: str
    image_id: str
    camera_id: str
    captured_at: datetime
    modality: Modality
    score: float

    @classmethod
    def of(cls, watchlist: Watchlist, record: ImageRecord, score: float) -> Self:
        """That of an image's record."""
        return cls(
            watchlist.watchlist_id,
            record.image_id,
            record.camera_id,
            record.captured_at,
            record.modality,
            round(score, 6),
        )

    @classmethod
    def read(cls, row: Sequence[Any]) -> Self:
        """That of a row of the file."""
        watchlist_id, image_id, camera_id, captured_at, modality, score = row
        moment = datetime.fromisoformat(captured_at)
        return cls(watchlist_id, image_id, camera_id, moment, Modality(modality), score)

    def row(self) -> tuple[Any, ...]:
        """That of the file."""
        told = (self.watchlist_id, self.image_id, self.camera_id)
        return (*told, self.captured_at.isoformat(), self.modality, self.score)

    def is_of(self, record: ImageRecord | None) -> bool:
        """Whether the gallery's record of the image's id is still of this image."""
        own = (self.camera_id, self.captured_at, self.modality)
        return record is not None and own == (record.camera_id, record.captured_at, record.modality)


@dataclass(frozen=True, slots=True)
class HitVerdict:
    """What a person found on looking at a hit.

    Attributes:
        verdict: ``confirmed``, ``rejected`` or ``unsure``.
        note: Why, where given.
        key: Whose verdict it is.
        at: When, UTC.
    """

    verdict: str
    note: str | None
    key: str
    at: datetime


@dataclass(frozen=True, slots=True)
class WatchHit:
    """A match that is stored: numbered for good in the order of storing, with its webhook's state.

    Attributes:
        event_id: Its number.
        match: What was found.
        watchlist: Of which.
        delivery: How far its webhook came; ``None`` without one.
        attempts: How often that was called.
        error: Of the last attempt.
        verdicts: What people found of it, oldest first.
    """

    event_id: int
    match: Match
    watchlist: Watchlist
    delivery: Delivery | None
    attempts: int
    error: str | None
    verdicts: tuple[HitVerdict, ...] = ()

    def as_event(self) -> dict[str, Any]:
        """What a listener is told of it, as JSON values."""
        match = self.match
        return {
            "event_id": self.event_id,
            "watchlist_id": match.watchlist_id,
            "name": self.watchlist.name,
            "image_id": match.image_id,
            "camera_id": match.camera_id,
            "captured_at": match.captured_at.isoformat().replace("+00:00", "Z"),
            "modality": match.modality.value,
            "score": match.score,
            "thumbnail_url": thumbnail_url(match.image_id),
        }
