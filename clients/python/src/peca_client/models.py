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


AUTO = "auto"
"""In place of a query's modality: the server judges each image by its content."""


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
        group_size: Where one result a track was asked, how many images of its track the filters let
            through; else 1.
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
    group_size: int = 1

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read one element of a search's ``items``."""
        return cls(
            rank=int(value["rank"]),
            score=float(value["score"]),
            thumbnail_url=str(value["thumbnail_url"]),
            track_id=value.get("track_id"),
            group_size=int(value["group_size"]),
            **_sighting(value),
        )


@dataclass(frozen=True, slots=True)
class QueryLight:
    """By which light a query image was taken.

    Attributes:
        modality: The light.
        detected: The server judged it by the content, since ``auto`` was asked.
        confidence: Of the judgement, 0.5 to 1; ``None`` where the light was said.
    """

    modality: Modality
    detected: bool
    confidence: float | None

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read one element of a search's ``query_modalities``."""
        confidence = value["confidence"]
        return cls(
            modality=Modality(value["modality"]),
            detected=bool(value["detected"]),
            confidence=None if confidence is None else float(confidence),
        )


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to a search.

    Attributes:
        items: The images found, best first.
        search_id: Names this search in the server's audit log.
        encoder: The fingerprint of the encoder that compared.
        query_modalities: The light of each query image, in their order.
        gallery_modality: Which images were searched.
        reranked: The first are in the order of the neighbours that they share with the query, so that
            scores need not descend.
        timings_ms: Milliseconds by step, as the server measured them.
    """

    items: tuple[Hit, ...]
    search_id: str
    encoder: str
    query_modalities: tuple[QueryLight, ...]
    gallery_modality: Modality
    reranked: bool
    timings_ms: Mapping[str, float]

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read the answer of ``POST /search``."""
        return cls(
            items=tuple(Hit.from_json(item) for item in value["items"]),
            search_id=str(value["search_id"]),
            encoder=str(value["encoder"]),
            query_modalities=tuple(map(QueryLight.from_json, value["query_modalities"])),
            gallery_modality=Modality(value["gallery_modality"]),
            reranked=bool(value["reranked"]),
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
class ImagePage:
    """Images of the gallery, newest first.

    Attributes:
        items: The images.
        next_cursor: Asks for the images before; ``None`` where there are none.
    """

    items: tuple[Image, ...]
    next_cursor: str | None

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read the answer of ``GET /images``."""
        return cls(tuple(map(Image.from_json, value["items"])), value["next_cursor"])


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


@dataclass(frozen=True, slots=True)
class Removal:
    """What was removed, or would be.

    Attributes:
        count: How many images.
        dry_run: Nothing was removed.
        cameras: The same images by camera and modality.
    """

    count: int
    dry_run: bool
    cameras: tuple[Camera, ...]

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read the answer of ``DELETE /images``."""
        cameras = tuple(map(Camera.from_json, value["cameras"]))
        return cls(int(value["count"]), bool(value["dry_run"]), cameras)


@dataclass(frozen=True, slots=True)
class Stats:
    """What the gallery holds within the limits of the key, and what serves it.

    Attributes:
        images: How many images.
        cameras: The same by camera and modality.
        hours: By the instant at which an hour began (UTC), how many images were captured in it; the last 24.
        disk_free_bytes: Of the disk that holds the data folder.
        disk_total_bytes: Its size.
        gallery: The gallery's engine.
        encoder: The fingerprint of the encoder.
        provider: What runs the encoder.
        dim: Numbers of an image's vector.
    """

    images: int
    cameras: tuple[Camera, ...]
    hours: Mapping[datetime, int]
    disk_free_bytes: int
    disk_total_bytes: int
    gallery: str
    encoder: str
    provider: str
    dim: int

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read the answer of ``GET /stats``."""
        return cls(
            cameras=tuple(map(Camera.from_json, value["cameras"])),
            hours={moment(one["hour"]): int(one["images"]) for one in value["hours"]},
            images=int(value["images"]),
            disk_free_bytes=int(value["disk_free_bytes"]),
            disk_total_bytes=int(value["disk_total_bytes"]),
            gallery=str(value["gallery"]),
            encoder=str(value["encoder"]),
            provider=str(value["provider"]),
            dim=int(value["dim"]),
        )


@dataclass(frozen=True, slots=True)
class Direction:
    """How well the labelled images of one modality find their people in the other; rates are in [0, 1].

    Attributes:
        query_modality: Whose images asked.
        gallery_modality: Whose images were ranked.
        queries: How many asked.
        valid_queries: Those with an image of the same person to find; only they count.
        gallery: How many images were ranked.
        mean_ap: Mean average precision.
        mean_inp: Mean inverse negative penalty.
        chance_rank1: The rank-1 rate to expect of a ranking at random.
        cmc: ``cmc[k - 1]`` is the rank-k rate.
    """

    query_modality: Modality
    gallery_modality: Modality
    queries: int
    valid_queries: int
    gallery: int
    mean_ap: float
    mean_inp: float
    chance_rank1: float
    cmc: tuple[float, ...]

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read one element of a quality's ``directions``."""
        return cls(
            query_modality=Modality(value["query_modality"]),
            gallery_modality=Modality(value["gallery_modality"]),
            queries=int(value["queries"]),
            valid_queries=int(value["valid_queries"]),
            gallery=int(value["gallery"]),
            mean_ap=float(value["mean_ap"]),
            mean_inp=float(value["mean_inp"]),
            chance_rank1=float(value["chance_rank1"]),
            cmc=tuple(map(float, value["cmc"])),
        )


@dataclass(frozen=True, slots=True)
class Quality:
    """An evaluation of the labelled images within the limits of the key.

    Attributes:
        encoder: The fingerprint of the encoder.
        people: How many people's images were compared.
        images: How many images were compared, by modality.
        labelled: How many images are labelled; of many, those of some people are compared.
        directions: Searches by visible images, and by infrared ones.
        cosines: Histograms of the cosine of one person's pairs and of two people's, by ``across``,
            ``visible`` and ``infrared``, as the API gives them.
    """

    encoder: str
    people: int
    images: Mapping[Modality, int]
    labelled: int
    directions: tuple[Direction, ...]
    cosines: JsonObject

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read the answer of ``GET /quality``."""
        return cls(
            encoder=str(value["encoder"]),
            people=int(value["people"]),
            images={Modality(name): int(count) for name, count in value["images"].items()},
            labelled=int(value["labelled"]),
            directions=tuple(map(Direction.from_json, value["directions"])),
            cosines=dict(value["cosines"]),
        )


class Verdict(StrEnum):
    """What a person found on looking at a result."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class VerdictRecord:
    """A verdict on one result of a search, or on a hit of a watchlist.

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
        camera_id: Of its camera; ``None`` where the server did not record it then.
        captured_at: When it was captured; ``None`` where the server did not record it then.
    """

    rank: int
    image_id: str
    score: float
    verdicts: tuple[VerdictRecord, ...]
    camera_id: str | None = None
    captured_at: datetime | None = None

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read one element of a search record's ``results``."""
        return cls(
            rank=int(value["rank"]),
            image_id=str(value["image_id"]),
            score=float(value["score"]),
            verdicts=tuple(map(VerdictRecord.from_json, value["verdicts"])),
            camera_id=value.get("camera_id"),
            captured_at=moment(value["captured_at"]) if value.get("captured_at") else None,
        )


@dataclass(frozen=True, slots=True)
class SearchRecord:
    """A search, as it stands in the server's audit log.

    Attributes:
        search_id: As in ``SearchResult``.
        key: The holder of the key that asked.
        case: The case that it belongs to, where given.
        reason: Why it was made, where given.
        query_sha256: SHA-256 of each query image, none of which the server keeps; ``None`` for a stored
            image whose file was missing.
        filters: What the search was narrowed to.
        encoder: The fingerprint of the encoder that compared.
        results: What was shown, best first.
    """

    search_id: str
    key: str | None
    case: str | None
    reason: str | None
    query_sha256: tuple[str | None, ...]
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
            query_sha256=tuple(query["sha256"] for query in value["queries"]),
            filters=dict(value["filters"]),
            encoder=str(value["encoder"]),
            results=tuple(map(ResultShown.from_json, value["results"])),
        )


@dataclass(frozen=True, slots=True)
class SearchSummary:
    """A search of the server's audit log, in a list.

    Attributes:
        search_id: As in ``SearchResult``.
        key: The holder of the key that asked.
        began_at: When, UTC; ``None`` in logs of early versions.
        case: The case that it belongs to, where given.
        reason: Why it was made, where given.
        query_modality: Of its first query image.
        query_images: How many images it was made with.
        results: How many results it showed.
    """

    search_id: str
    key: str | None
    began_at: datetime | None
    case: str | None
    reason: str | None
    query_modality: Modality
    query_images: int
    results: int

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read one element of the answer of ``GET /searches``."""
        return cls(
            search_id=str(value["search_id"]),
            began_at=None if value["began_at"] is None else moment(value["began_at"]),
            query_modality=Modality(value["query_modality"]),
            query_images=int(value["query_images"]),
            results=int(value["results"]),
            **{name: value[name] for name in ("key", "case", "reason")},
        )


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Searches of the server's audit log.

    Attributes:
        items: The searches, newest first; there may be fewer than asked for, and more pages.
        next_cursor: Asks for the searches before; ``None`` where there are none.
        broken: What is wrong with each record that was changed after it was written, and so is not among
            ``items``.
    """

    items: tuple[SearchSummary, ...]
    next_cursor: str | None
    broken: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read the answer of ``GET /searches``."""
        items = tuple(map(SearchSummary.from_json, value["items"]))
        return cls(items, value["next_cursor"], tuple(value.get("broken", ())))


@dataclass(frozen=True, slots=True)
class EncoderInUse:
    """What the server encodes with.

    Attributes:
        encoder: The fingerprint of the encoder.
        provider: What runs it.
    """

    encoder: str
    provider: str

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Read the answer of ``POST /encoder/reload``."""
        return cls(str(value["encoder"]), str(value["provider"]))


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Records of the server's audit log.

    Attributes:
        items: The records as they stand in the log, newest first; of one that was changed after it was
            written only ``broken``, why it is so, and ``line``, its text.
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
