"""What goes over the wire: the bodies of requests and answers."""

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from index.space import Modality

_ISO = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", re.ASCII)
IMAGE_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:@=+-]{0,199}$"
# No comma, since filters name several cameras with commas between; no blank at either end.
CAMERA_ID_PATTERN = r"^[^\s,\x00-\x1f\x7f]([^,\x00-\x1f\x7f]{0,198}[^\s,\x00-\x1f\x7f])?$"
CURSOR_PATTERN = r"^[0-9]{1,18}$"
LINE_PATTERN = r"^[^\x00-\x1f\x7f]+$"
NAME_PATTERN = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
_PATTERNS_IN_WORDS = {
    IMAGE_ID_PATTERN: "expected 1 to 200 letters, digits and ._:@=+-, a letter or a digit first",
    CAMERA_ID_PATTERN: "expected 1 to 200 characters without commas and line breaks, no blank at either end",
    LINE_PATTERN: "expected one line of text, not empty, without control characters",
    NAME_PATTERN: "expected a name of one line, not of blanks alone, without control characters",
    CURSOR_PATTERN: "expected the next_cursor of the page before",
}

_KINDS_IN_WORDS = {
    "missing": "is needed",
    "extra_forbidden": "is not known here; leave it out",
    "json_invalid": "expected JSON: {error}",
    "list_type": "expected a list",
    "model_type": "expected a JSON object",
    "model_attributes_type": "expected a JSON object",
    "string_type": "expected text",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "enum": "expected {expected}",
    "greater_than_equal": "expected {ge} or more",
    "less_than_equal": "expected {le} or less",
    "string_too_long": "expected at most {max_length:,} characters",
    "too_short": "expected at least {min_length}, got {actual_length}",
    "too_long": "expected at most {max_length:,}, got {actual_length}",
}


def _iso(given: object) -> object:
    """Pydantic would read a number as seconds since 1970: a mistyped year must not be a filter."""
    if isinstance(given, datetime) or (isinstance(given, str) and _ISO.match(given)):
        return given
    raise ValueError("expected an instant in ISO 8601 with its time zone, such as 2026-05-01T18:00:00Z")


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("expected an instant between the years 1 and 9999 of UTC") from None


Instant = Annotated[AwareDatetime, BeforeValidator(_iso), AfterValidator(_in_utc)]
ImageId = Annotated[str, Field(pattern=IMAGE_ID_PATTERN)]
CameraId = Annotated[str, Field(pattern=CAMERA_ID_PATTERN)]
# A name or a note of one line; a control character in it could only mislead who reads a list.
Label = Annotated[str, Field(max_length=200, pattern=LINE_PATTERN)]
Name = Annotated[str, Field(max_length=200, pattern=NAME_PATTERN)]
Note = Annotated[str, Field(max_length=1000, pattern=LINE_PATTERN)]
BLANK_IS_ABSENT = AfterValidator(lambda text: text if text and text.strip() else None)
"""Of an optional text: one of blanks alone says nothing, and is taken as not given."""


class Problem(BaseModel):
    """An error (RFC 9457), sent as ``application/problem+json``; some kinds carry further members."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Names the kind of problem.", examples=["urn:peca:problem:image-truncated"])
    title: str = Field(description="The kind of problem in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What was expected, what came, and what to do.")


class ImageMetadata(BaseModel):
    """What a client says of one image file that it sends."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filename: str = Field(min_length=1, description="Of the part that it describes.")
    camera_id: CameraId
    modality: Modality
    captured_at: Instant = Field(description="ISO 8601 with its time zone.")
    image_id: ImageId | None = Field(
        default=None, description="Made from the content, the camera and the instant where not given."
    )
    person_id: Label | None = None
    track_id: Label | None = None
    source: Note | None = None


class QueryModality(StrEnum):
    """By which light query images were taken, or that each is judged by its content."""

    VISIBLE = "visible"
    INFRARED = "infrared"
    AUTO = "auto"


class GroupBy(StrEnum):
    """What a search shows one result of."""

    TRACK = "track_id"


class Image(BaseModel):
    """One image of the gallery."""

    image_id: str
    modality: Modality
    camera_id: str
    captured_at: datetime = Field(description="UTC.")
    person_id: str | None
    track_id: str | None
    source: str | None
    thumbnail_url: str = Field(description="Path on this server.")


class ImagesAnswer(BaseModel):
    """A page of the gallery's images, newest first."""

    items: list[Image]
    next_cursor: str | None = Field(description="Asks for the images before; null where there are none.")


class Found(BaseModel):
    """One image that a search found."""

    rank: int = Field(description="From 1.")
    image_id: str
    score: float = Field(description="Cosine similarity, higher is better.")
    camera_id: str
    captured_at: datetime = Field(description="UTC.")
    modality: Modality
    person_id: str | None
    track_id: str | None
    group_size: int = Field(
        description="With `group_by`, the images of its track that the filters let through; else 1."
    )
    thumbnail_url: str = Field(description="Path on this server.")


class Timings(BaseModel):
    """Where the time of a search went, in milliseconds."""

    decode: float
    encode: float = Field(description="Waiting for the encoder included.")
    search: float
    total: float


class QueryLight(BaseModel):
    """By which light a query image was taken."""

    modality: Modality
    detected: bool = Field(description="Judged by its content, and not said.")
    confidence: float | None = Field(description="Of the judgement, 0.5 to 1; null where it was said.")


class SearchAnswer(BaseModel):
    """The images that a search found, best first."""

    search_id: str = Field(description="Stands in the audit log.")
    encoder: str = Field(description="Fingerprint of the encoder that was used.")
    query_modalities: list[QueryLight] = Field(description="One a query image, in their order.")
    gallery_modality: Modality = Field(description="Which was searched.")
    reranked: bool = Field(
        description="The first are in the order of shared neighbours, so scores need not descend."
    )
    items: list[Found]
    timings_ms: Timings


class Verdict(StrEnum):
    """What a person found on looking at a result."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    UNSURE = "unsure"


class HitVerdictGiven(BaseModel):
    """A person's verdict on a hit of a watchlist."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    verdict: Verdict
    note: Annotated[Note | None, BLANK_IS_ABSENT] = Field(
        default=None, description="Why, for whoever reads the audit log."
    )


class VerdictGiven(HitVerdictGiven):
    """A person's verdict on one result of a search."""

    image_id: ImageId = Field(description="One that the search showed.")


class VerdictRecord(BaseModel):
    """A verdict, as it stands in the audit log."""

    image_id: str
    verdict: Verdict
    note: str | None
    key: str | None = Field(description="Whose verdict it is.")
    at: datetime = Field(description="UTC.")
    superseded: bool = Field(description="The same holder gave a later one on this image.")


class ResultShown(BaseModel):
    """A result that a search showed, and what people found of it, oldest verdict first."""

    rank: int = Field(description="From 1.")
    image_id: str
    score: float = Field(description="Cosine similarity, higher is better.")
    camera_id: str | None = Field(description="Null where an earlier version did not record it.")
    captured_at: datetime | None = Field(description="UTC; null where an earlier version did not record it.")
    group_size: int = Field(description="As the search showed it.")
    thumbnail_url: str = Field(description="Path on this server.")
    verdicts: list[VerdictRecord]


class QueryRecord(BaseModel):
    """A query image, as it stands in the audit log."""

    sha256: str | None = Field(description="Of its file; null where a stored image's file was missing.")
    modality: Modality
    detected: bool = Field(False, description="Judged by its content, and not said.")
    confidence: float | None = Field(None, description="Of the judgement, 0.5 to 1.")
    image_id: str | None = Field(None, description="Of a stored image; null for one that was sent.")


class SearchSummary(BaseModel):
    """A search of the audit log, in a list."""

    search_id: str
    key: str | None = Field(description="Whose search it was.")
    began_at: datetime | None = Field(description="UTC.")
    case: str | None
    reason: str | None
    query_modality: Modality = Field(description="Of the first query image.")
    query_images: int = Field(description="How many images were searched with.")
    results: int = Field(description="How many results were shown.")


class SearchesAnswer(BaseModel):
    """Searches of the audit log, newest first."""

    items: list[SearchSummary]
    broken: list[str] = Field(
        description="What is wrong with each record that was changed after it was written, and so not listed."
    )
    next_cursor: str | None = Field(description="Asks for the searches before; null where there are none.")


class SearchRecord(BaseModel):
    """A search, as it stands in the audit log."""

    search_id: str
    key: str | None = Field(description="Whose search it was.")
    began_at: datetime | None = Field(description="UTC.")
    ended_at: datetime | None = Field(description="UTC.")
    case: str | None
    reason: str | None
    query_sha256: str | None = Field(description="Of the first query image; no query image is kept.")
    query_modality: Modality = Field(description="Of the first query image.")
    queries: list[QueryRecord] = Field(description="Each query image.")
    filters: dict[str, Any] = Field(description="What the search was narrowed to.")
    limit: int
    score_threshold: float | None
    group_by: GroupBy | None
    rerank: bool
    exact: bool
    encoder: str = Field(description="Fingerprint of the encoder that was used.")
    results: list[ResultShown]


class AuditRecord(BaseModel):
    """A line of the audit log, as it stands there; its action decides what it has beyond these members.

    A line of a version without a chain has ``at`` in place of ``began_at`` and ``ended_at``, and no place
    in the chain. Of a line that was changed after it was written only ``broken`` and ``line`` are told.
    """

    model_config = ConfigDict(extra="allow")

    action: str | None = None
    sequence: int | None = Field(None, description="From 1.")
    key: str | None = Field(None, description="Whose key asked; null where the engine or its user did.")
    began_at: str | None = Field(None, description="ISO 8601, UTC.")
    ended_at: str | None = Field(None, description="ISO 8601, UTC.")
    previous_sha256: str | None = Field(None, description="Of the record before.")
    sha256: str | None = Field(None, description="Of this record without this member.")
    broken: str | None = Field(None, description="Why the line is not a record as it was written.")
    line: str | None = Field(None, description="The text of such a line, which proves nothing.")


class ChainHead(BaseModel):
    """Where the chain of the audit log stands; noted elsewhere, it proves later what stood by then."""

    sequence: int
    sha256: str


class AuditAnswer(BaseModel):
    """Records of the audit log, newest first."""

    items: list[AuditRecord]
    next_cursor: str | None = Field(description="Asks for the records before; null where there are none.")
    head: ChainHead


class Status(StrEnum):
    """What became of one file of a batch."""

    STORED = "stored"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    CONFLICT = "conflict"


class Ingested(BaseModel):
    """What became of one file of a batch, and why where it was not taken."""

    filename: str
    image_id: str | None = Field(description="Null where the file was refused and no id was given.")
    status: Status
    problem: Problem | None = None


class Counts(BaseModel):
    """How many files of a batch came to each status."""

    stored: int
    unchanged: int
    refused: int
    conflict: int


class IngestAnswer(BaseModel):
    """What became of each file of a batch, in the order of the files."""

    items: list[Ingested]
    counts: Counts


class Camera(BaseModel):
    """What the gallery holds of one camera in one modality."""

    camera_id: str
    modality: Modality
    count: int
    first_captured_at: datetime = Field(description="UTC.")
    last_captured_at: datetime = Field(description="UTC.")


class CamerasAnswer(BaseModel):
    """The cameras that the gallery has images of, by name and modality."""

    items: list[Camera]
    next_cursor: str | None = Field(description="Asks for the next ones; null where there are none.")


class RemovalAnswer(BaseModel):
    """What was removed, or would be."""

    count: int = Field(description="How many images.")
    dry_run: bool = Field(description="Nothing was removed.")
    cameras: list[Camera] = Field(description="The same images by camera and modality.")


class Health(BaseModel):
    """An answer to a probe."""

    status: str = Field(examples=["ok"])


class Version(BaseModel):
    """What runs here."""

    version: str = Field(description="Of the engine.")
    encoder: str = Field(description="Fingerprint of the encoder bundle.")
    provider: str = Field(description="What runs the encoder.")
    gallery: str = Field(description="The gallery's engine.")
    device: str | None = Field(description="What searches an embedded gallery: `cpu`, or a GPU by its name.")
    device_reason: str | None = Field(
        description="Why that is the processor: it was asked for, no GPU can be used, or the GPU failed."
    )


def validation_errors(errors: list[Any]) -> list[dict[str, str]]:
    """Pydantic's errors as a client may see them: where, and what; never the value that came."""
    return [{"at": ".".join(map(str, error["loc"])), "message": _in_words(error)} for error in errors]


def _in_words(error: Any) -> str:
    """What was expected; what has no words here is said in Pydantic's."""
    context = error.get("ctx", {})
    if words := _PATTERNS_IN_WORDS.get(str(context.get("pattern"))):
        return words
    if words := _KINDS_IN_WORDS.get(error["type"]):
        return words.format(**context)
    # Pydantic puts a prefix before what a check of ours says.
    return str(error["msg"]).removeprefix("Value error, ")
