"""What a gallery says of an image, how a search narrows the gallery, and what it finds."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from index.errors import InvalidInput
from index.space import Modality


def as_utc(moment: datetime, name: str) -> datetime:
    """Return ``moment`` in UTC.

    Raises:
        InvalidInput: ``moment`` carries no time zone, so it names no instant, or its instant lies
            outside the years 1 to 9999 in UTC.
    """
    if moment.tzinfo is UTC:
        return moment
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise InvalidInput(f"{name} must carry a time zone (for example ...Z), got {moment.isoformat()}")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(f"{name} must lie in the years 1 to 9999 UTC, got {moment.isoformat()}") from None


def check_text(text: str, name: str) -> None:
    """Refuse text that a gallery cannot store and give back unchanged.

    Raises:
        InvalidInput: ``text`` holds a NUL character or a lone surrogate.
    """
    if "\0" in text:
        raise InvalidInput(f"{name} must not contain a NUL character, got {text!r}")
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{name} must be text that UTF-8 can carry, got {text!r}") from None


_TEXTS = ("image_id", "camera_id", "person_id", "track_id", "source")


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of one person by one camera, as a gallery knows it.

    Attributes:
        image_id: Unique in its gallery; adding it again changes nothing.
        modality: The light of the camera.
        camera_id: The site's name of the camera.
        captured_at: The instant of capture, time zone required, kept in UTC.
        person_id: The identity, where a person has labelled it.
        track_id: The camera's track that the crop was taken from.
        source: Where the image came from, for people; for a data set, the path inside its tree.

    Raises:
        InvalidInput: An empty id, text with NUL or a lone surrogate, an unknown modality, or a
            ``captured_at`` without a time zone.
    """

    image_id: str
    modality: Modality
    camera_id: str
    captured_at: datetime
    person_id: str | None = None
    track_id: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        # A search makes twenty of these, so nothing is set again that is as it should be.
        if not self.image_id or not self.camera_id:
            raise InvalidInput(f"{'camera_id' if self.image_id else 'image_id'} must not be empty")
        texts = (self.image_id, self.camera_id, self.person_id, self.track_id, self.source)
        joined = "".join([text for text in texts if text is not None])
        if "\0" in joined or not joined.isascii():
            for name, text in zip(_TEXTS, texts, strict=True):
                if text is not None:
                    check_text(text, name)
        if type(self.modality) is not Modality:
            try:
                object.__setattr__(self, "modality", Modality(self.modality))
            except ValueError:
                allowed = ", ".join(Modality)
                raise InvalidInput(f"modality must be one of {allowed}; got {self.modality!r}") from None
        captured_at = as_utc(self.captured_at, "captured_at")
        if captured_at is not self.captured_at:
            object.__setattr__(self, "captured_at", captured_at)


@dataclass(frozen=True, slots=True)
class Where:
    """A filter over a gallery; every condition given must hold.

    ``None`` asks nothing; an empty collection matches nothing (and excludes nothing).

    Attributes:
        modality: Only images of this modality.
        camera_ids: Only images of these cameras.
        exclude_camera_ids: No image of these cameras.
        after: Captured at this instant or later.
        before: Captured before this instant.
        person_ids: Only images labelled with these identities.
        track_ids: Only images of these tracks.
        image_ids: Only these images.

    Raises:
        InvalidInput: ``after`` or ``before`` without a time zone, one string in place of a collection,
            or text that no record can hold.
    """

    modality: Modality | None = None
    camera_ids: Collection[str] | None = None
    exclude_camera_ids: Collection[str] | None = None
    after: datetime | None = None
    before: datetime | None = None
    person_ids: Collection[str] | None = None
    track_ids: Collection[str] | None = None
    image_ids: Collection[str] | None = None

    def __post_init__(self) -> None:
        for name in ("camera_ids", "exclude_camera_ids", "person_ids", "track_ids", "image_ids"):
            values = getattr(self, name)
            if isinstance(values, str):
                raise InvalidInput(f"{name} must be a collection of strings, got the string {values!r}")
            if values is not None:
                object.__setattr__(self, name, frozenset(values))
                for value in getattr(self, name):
                    check_text(value, name)
        for name in ("after", "before"):
            moment = getattr(self, name)
            if moment is not None:
                object.__setattr__(self, name, as_utc(moment, name))

    def matches(self, record: ImageRecord) -> bool:
        """Whether ``record`` passes every condition."""
        return (
            (self.modality is None or record.modality == self.modality)
            and (self.camera_ids is None or record.camera_id in self.camera_ids)
            and (self.exclude_camera_ids is None or record.camera_id not in self.exclude_camera_ids)
            and (self.after is None or record.captured_at >= self.after)
            and (self.before is None or record.captured_at < self.before)
            and (self.person_ids is None or record.person_id in self.person_ids)
            and (self.track_ids is None or record.track_id in self.track_ids)
            and (self.image_ids is None or record.image_id in self.image_ids)
        )


ANY = Where()


@dataclass(frozen=True, slots=True)
class Hit:
    """One image that a search found.

    Attributes:
        record: The image.
        score: Cosine similarity to the query, in [-1, 1], higher is better.
    """

    record: ImageRecord
    score: float


@dataclass(frozen=True, slots=True)
class CameraSummary:
    """What a gallery holds of one camera in one modality.

    Attributes:
        camera_id: The site's name of the camera.
        modality: The light it saw by.
        count: How many images, at least 1.
        first_captured_at: The earliest instant of capture, UTC.
        last_captured_at: The latest instant of capture, UTC.
    """

    camera_id: str
    modality: Modality
    count: int
    first_captured_at: datetime
    last_captured_at: datetime
