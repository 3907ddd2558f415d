"""One image in, the same person in the other modality out."""

import hashlib
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime

from exporter.preprocess import load_image
from index.errors import InvalidInput
from index.records import Hit, Where
from index.space import Modality
from server.access import Caller
from server.audit import Action, AuditLog
from server.batching import EncodingQueue, Lane
from server.errors import CaseMissing, ImageBytesExceeded
from server.services.catalogue import Catalogue
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for, where, and by whom.

    Attributes:
        image: The bytes of an image file.
        modality: Of the image.
        where: Which part of the gallery is searched.
        limit: Most results.
        score_threshold: Cosine below which nothing is shown; ``None`` shows all.
        caller: Who asks.
        case: The operator's case, for the audit log.
        reason: Why it is searched, for the audit log.
    """

    image: bytes
    modality: Modality
    where: Where
    limit: int
    score_threshold: float | None
    caller: Caller
    case: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a search found, best first, and where its time went, in milliseconds."""

    search_id: str
    hits: list[Hit]
    timings_ms: dict[str, float]


class Search:
    """Searches the catalogue, and writes each search to the audit log before its result is shown."""

    def __init__(
        self, catalogue: Catalogue, encoding: EncodingQueue, audit: AuditLog, settings: Settings, encoder: str
    ) -> None:
        self._catalogue = catalogue
        self._encoding = encoding
        self._audit = audit
        self._settings = settings
        self.encoder = encoder

    def run(self, query: Query) -> Result:
        """Find the images most similar to the query's.

        Raises:
            ImageRefused: The image cannot be used.
            CaseMissing: This server asks for a case and a reason, and one is missing.
            UnknownCamera: A filter names a camera that the gallery has never seen.
            InvalidInput: ``limit`` is beyond what this server shows.
            EncoderBusy: Too many searches wait.
            StorageUnavailable: The audit log cannot be written.
        """
        self._check(query)
        where = self._catalogue.narrowed(query.where, query.caller.holder)
        clock = _Clock()
        pixels = load_image(query.image, self._encoding.image_hw, max_pixels=self._settings.max_image_pixels)
        clock.lap("decode")
        vector = self._encoding.encode(pixels[None], [query.modality], Lane.SEARCH)[0]
        clock.lap("encode")
        hits = self._catalogue.search(vector, query.limit, where)
        if query.score_threshold is not None:
            hits = [hit for hit in hits if hit.score >= query.score_threshold]
        clock.lap("search")
        search_id = str(uuid.uuid4())
        self._record(search_id, query, where, hits)
        return Result(search_id, hits, clock.laps_ms())

    def _check(self, query: Query) -> None:
        most = self._settings.max_search_limit
        if not 1 <= query.limit <= most:
            raise InvalidInput(f"limit must be from 1 to {most}, got {query.limit}")
        if self._settings.require_case:
            _check_case(query)
        check_image_bytes(query.image, self._settings)

    def _record(self, search_id: str, query: Query, where: Where, hits: list[Hit]) -> None:
        self._audit.append(
            Action.SEARCH,
            query.caller,
            search_id=search_id,
            case=query.case,
            reason=query.reason,
            query_sha256=hashlib.sha256(query.image).hexdigest(),
            query_modality=query.modality,
            filters={name: _plain(value) for name, value in asdict(where).items() if value is not None},
            limit=query.limit,
            score_threshold=query.score_threshold,
            gallery=self._settings.gallery,
            encoder=self.encoder,
            results=[_shown(hit) for hit in hits],
        )


def check_image_bytes(data: bytes, settings: Settings) -> None:
    """Refuse an image file that is too large.

    Raises:
        ImageBytesExceeded: It is.
    """
    if len(data) > settings.max_image_bytes:
        raise ImageBytesExceeded(f"expected at most {settings.max_image_bytes:,} bytes, got {len(data):,}")


def _check_case(query: Query) -> None:
    told = {"case": query.case, "reason": query.reason}
    if missing := [name for name, text in told.items() if not (text or "").strip()]:
        raise CaseMissing(
            f"this server asks each search for its case and its reason; {' and '.join(missing)} missing"
        )


def _shown(hit: Hit) -> dict[str, object]:
    """A result as the audit log keeps it."""
    record = hit.record
    return {"image_id": record.image_id, "score": round(hit.score, 6), "camera_id": record.camera_id}


def _plain(value: object) -> object:
    """A filter's value as JSON."""
    if isinstance(value, datetime):
        return value.isoformat()
    return sorted(value) if isinstance(value, frozenset) else value


class _Clock:
    """Laps from its making on."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name] = round((now - self._last) * 1000, 3)
        self._last = now

    def laps_ms(self) -> dict[str, float]:
        return {**self._laps, "total": round((time.perf_counter() - self._start) * 1000, 3)}
