"""What is sent and what comes back, as typed values; each reads itself from the server's JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from os import PathLike
from typing import Any, BinaryIO, Self

ImageSource = bytes | str | PathLike[str] | BinaryIO
"""An image file: its bytes, its path, or an open binary file."""

JsonObject = Mapping[str, Any]


class Modality(StrEnum):
    """Which light a camera saw by: visible (day) or infrared (night)."""

    VISIBLE = "visible"
    INFRARED = "infrared"


@dataclass(frozen=True, slots=True)
class ImageUpload:
    """One image to store, with what is known of it.

    Attributes:
        image: The image file.
        camera_id: The site's name of the camera.
        modality: The light of the camera.
        captured_at: The instant of capture; must carry a time zone.
        image_id: Unique in the gallery; made by the server from the content where not given.
        person_id: The identity, where a person has labelled it.
        track_id: The camera's track that the crop was taken from.
        source: Where the image came from, for people.
        filename: What a report calls the image; the name of the file where not given.
    """

    image: ImageSource
    camera_id: str
    modality: str
    captured_at: datetime
    image_id: str | None = None
    person_id: str | None = None
    track_id: str | None = None
    source: str | None = None
    filename: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One image that a search found.

    Attributes:
        rank: Its place, from 1.
        image_id: Its name in the gallery.
        score: Cosine similarity to the query, in [-1, 1], higher is better.
        camera_id: The camera that saw it.
        captured_at: When, UTC.
        modality: By which light.
        person_id: The identity, where labelled.
        track_id: The camera's track, where known.
        thumbnail_url: Path of its thumbnail on the server; ``PecaClient.thumbnail`` fetches it.
    """

    rank: int
    image_id: str
    score: float
    camera_id: str
    captured_at: datetime
    modality: Modality
    person_id: str | None
    track_id: str | None
    thumbnail_url: str

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read one element of a search's ``items``."""
        return cls(
            rank=int(value["rank"]),
            score=float(value["score"]),
            thumbnail_url=str(value["thumbnail_url"]),
            track_id=value.get("track_id"),
            **_sighting(value),
        )


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to a search.

    Attributes:
        items: The images found, best first.
        search_id: Names this search in the server's audit log.
        encoder: The fingerprint of the encoder that compared.
        timings_ms: Milliseconds by step, as the server measured them.
    """

    items: tuple[Hit, ...]
    search_id: str
    encoder: str
    timings_ms: Mapping[str, float]

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read the answer of ``POST /search``."""
        return cls(
            items=tuple(Hit.from_json(item) for item in value["items"]),
            search_id=str(value["search_id"]),
            encoder=str(value["encoder"]),
            timings_ms={str(name): float(number) for name, number in value["timings_ms"].items()},
        )


class IngestStatus(StrEnum):
    """What became of one image of a batch."""

    STORED = "stored"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class IngestItem:
    """What became of one image.

    Attributes:
        filename: What the upload was called.
        status: ``stored`` now; ``unchanged``: was there already; ``conflict``: its id is taken by
            another image, which was kept; ``refused``: the image cannot be used.
        image_id: Its name in the gallery; ``None`` where it was refused before it had one.
        problem: Why (RFC 9457), where it was refused or is in conflict.
    """

    filename: str
    status: IngestStatus
    image_id: str | None = None
    problem: JsonObject | None = None

    @property
    def reason(self) -> str:
        """Why, in one line; empty where the image is in the gallery."""
        if self.problem is None:
            return ""
        return str(self.problem.get("detail") or self.problem.get("title") or "")


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of each image, in the order sent."""

    items: tuple[IngestItem, ...] = ()

    @classmethod
    def joined(cls, reports: Sequence["IngestReport"]) -> Self:
        """One report of several, in their order."""
        return cls(tuple(item for report in reports for item in report.items))

    def count(self, status: IngestStatus) -> int:
        """How many images ended with this status."""
        return sum(item.status is status for item in self.items)

    @property
    def stored(self) -> int:
        """How many are new in the gallery."""
        return self.count(IngestStatus.STORED)

    @property
    def unchanged(self) -> int:
        """How many were there already."""
        return self.count(IngestStatus.UNCHANGED)

    @property
    def conflict(self) -> int:
        """How many have an id that another image holds."""
        return self.count(IngestStatus.CONFLICT)

    @property
    def refused(self) -> int:
        """How many cannot be used."""
        return self.count(IngestStatus.REFUSED)


@dataclass(frozen=True, slots=True)
class Image:
    """What the gallery knows of one image; the attributes are those of ``Hit``."""

    image_id: str
    modality: Modality
    camera_id: str
    captured_at: datetime
    person_id: str | None
    track_id: str | None
    source: str | None

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read the answer of ``GET /images/{image_id}``."""
        return cls(track_id=value.get("track_id"), source=value.get("source"), **_sighting(value))


@dataclass(frozen=True, slots=True)
class Camera:
    """What the gallery holds of one camera in one modality.

    Attributes:
        camera_id: The site's name of the camera.
        modality: The light it saw by.
        count: How many images.
        first_captured_at: The earliest instant of capture, UTC.
        last_captured_at: The latest instant of capture, UTC.
    """

    camera_id: str
    modality: Modality
    count: int
    first_captured_at: datetime
    last_captured_at: datetime

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read one element of the answer of ``GET /cameras``."""
        return cls(
            camera_id=str(value["camera_id"]),
            modality=Modality(value["modality"]),
            count=int(value["count"]),
            first_captured_at=moment(value["first_captured_at"]),
            last_captured_at=moment(value["last_captured_at"]),
        )


class Verdict(StrEnum):
    """What a person found on looking at a result."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class VerdictRecord:
    """A verdict on one result of a search.

    Attributes:
        image_id: The result.
        verdict: What was found.
        note: Why, where the person said so.
        key: The holder of the key that gave it.
        at: When, UTC.
        superseded: The same holder gave a later one on this image.
    """

    image_id: str
    verdict: Verdict
    note: str | None
    key: str | None
    at: datetime
    superseded: bool

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read the answer of ``POST /searches/{search_id}/verdicts``."""
        return cls(
            image_id=str(value["image_id"]),
            verdict=Verdict(value["verdict"]),
            note=value["note"],
            key=value["key"],
            at=moment(value["at"]),
            superseded=bool(value["superseded"]),
        )


@dataclass(frozen=True, slots=True)
class ResultShown:
    """A result that a search showed.

    Attributes:
        rank: Its place, from 1.
        image_id: Its name in the gallery.
        score: Cosine similarity to the query.
        verdicts: What people found of it, oldest first.
    """

    rank: int
    image_id: str
    score: float
    verdicts: tuple[VerdictRecord, ...]

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read one element of a search record's ``results``."""
        return cls(
            rank=int(value["rank"]),
            image_id=str(value["image_id"]),
            score=float(value["score"]),
            verdicts=tuple(map(VerdictRecord.from_json, value["verdicts"])),
        )


@dataclass(frozen=True, slots=True)
class SearchRecord:
    """A search, as it stands in the server's audit log.

    Attributes:
        search_id: As in ``SearchResult``.
        key: The holder of the key that asked.
        case: The case that it belongs to, where given.
        reason: Why it was made, where given.
        query_sha256: SHA-256 of the query image, which the server does not keep.
        filters: What the search was narrowed to.
        encoder: The fingerprint of the encoder that compared.
        results: What was shown, best first.
    """

    search_id: str
    key: str | None
    case: str | None
    reason: str | None
    query_sha256: str
    filters: JsonObject
    encoder: str
    results: tuple[ResultShown, ...]

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read the answer of ``GET /searches/{search_id}``."""
        return cls(
            search_id=str(value["search_id"]),
            key=value["key"],
            case=value["case"],
            reason=value["reason"],
            query_sha256=str(value["query_sha256"]),
            filters=dict(value["filters"]),
            encoder=str(value["encoder"]),
            results=tuple(map(ResultShown.from_json, value["results"])),
        )


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Records of the server's audit log.

    Attributes:
        items: The records as they stand in the log, newest first.
        next_cursor: Asks for the records before; ``None`` where there are none.
        head: Where the chain stood, ``N:SHA256`` as ``peca audit verify --head`` takes it.
    """

    items: tuple[JsonObject, ...]
    next_cursor: str | None
    head: str

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read the answer of ``GET /audit``."""
        return cls(
            items=tuple(dict(item) for item in value["items"]),
            next_cursor=value["next_cursor"],
            head=f"{int(value['head']['sequence'])}:{value['head']['sha256']}",
        )


@dataclass(frozen=True, slots=True)
class Version:
    """Which server answers.

    Attributes:
        version: Of the server's software.
        encoder: The fingerprint of the encoder that it searches with.
        provider: What runs the encoder, e.g. ``cpu``.
        gallery: The gallery's engine, e.g. ``embedded``.
    """

    version: str
    encoder: str
    provider: str
    gallery: str

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read the answer of ``GET /version``."""
        return cls(**{name: str(value[name]) for name in ("version", "encoder", "provider", "gallery")})


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the server can search now.

    Attributes:
        ready: It can.
        detail: Why not; empty where it can.
    """

    ready: bool
    detail: str = ""


def moment(text: str) -> datetime:
    """An instant from its RFC 3339 form."""
    return datetime.fromisoformat(text)


def _sighting(value: JsonObject) -> dict[str, Any]:
    """The members that a hit and an image share."""
    return {
        "image_id": str(value["image_id"]),
        "camera_id": str(value["camera_id"]),
        "captured_at": moment(value["captured_at"]),
        "modality": Modality(value["modality"]),
        "person_id": value.get("person_id"),
    }
