"""Images of one person in, the same person in the other modality out."""

import hashlib
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from index.errors import InvalidInput
from index.gallery import shown_address
from index.records import Where
from index.rerank import Ranked
from index.space import Modality
from server.access import Caller
from server.audit import Action, AuditLog
from server.batching import EncodingQueue
from server.errors import CaseMissing
from server.metrics import Stage, observe
from server.patience import patience
from server.services.catalogue import Catalogue
from server.services.query_images import QueryImage, QueryImages
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class Query:
    """Where is searched, how the answer is ranked, and who asks; what is searched for stands beside it.

    Attributes:
        where: Which part of the gallery; without a modality, the one that the query is not of.
        limit: Most results.
        caller: Who asks.
        score_threshold: Cosine below which nothing is shown; ``None`` shows all.
        by_track: Of each track only its best image.
        rerank: Order the first candidates by their neighbours.
        exact: Compare with every image, whatever index the gallery has.
        case: The operator's case, for the audit log.
        reason: Why it is searched, for the audit log.
    """

    where: Where
    limit: int
    caller: Caller
    score_threshold: float | None = None
    by_track: bool = False
    rerank: bool = False
    exact: bool = False
    case: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a search found, best first.

    Attributes:
        search_id: Stands in the audit log.
        encoder: Fingerprint of the encoder that was used.
        images: What was searched with.
        gallery_modality: Where was searched.
        ranked: What was found.
        timings_ms: Where the time went, in milliseconds.
    """

    search_id: str
    encoder: str
    images: tuple[QueryImage, ...]
    gallery_modality: Modality
    ranked: list[Ranked]
    timings_ms: dict[str, float]


class Search:
    """Searches the catalogue, and writes each search to the audit log before its result is shown."""

    def __init__(
        self, catalogue: Catalogue, encoding: EncodingQueue, audit: AuditLog, settings: Settings, encoder: str
    ) -> None:
        self._catalogue = catalogue
        self._images = QueryImages(encoding, settings)
        self._audit = audit
        self._settings = settings
        self.encoder = encoder

    def run(self, files: list[bytes], lights: Sequence[Modality | None], query: Query) -> Result:
        """Find the images most similar to the person of some image files.

        Args:
            files: Image files of one person.
            lights: Of each its modality; ``None`` judges by its content.
            query: Where and how.

        Raises:
            ImageRefused: An image cannot be used.
            CaseMissing: This server asks for a case and a reason, and one is missing.
            UnknownCamera: A filter names a camera that the gallery has never seen.
            InvalidInput: ``limit`` is beyond what this server shows, there are too many images, or they
                are of both modalities and the filter does not say where to search.
            EncoderBusy: Too many searches wait.
            StorageUnavailable: The audit log cannot be written.
        """
        where = self._checked(query)
        clock = _Clock()
        decoded = self._images.decode(files, lights)
        clock.lap("decode")
        where = replace(where, modality=_searched(where, decoded.images))
        vector = self._images.encode(decoded)
        clock.lap("encode")
        return self._answer(query, where, vector, decoded.images, clock)

    def run_stored(self, image_id: str, query: Query) -> Result:
        """Find the images most similar to the person of a stored image, which is not among them.

        Raises:
            ImageUnknown: There is no such image within the limits of the caller.
            PecaError: As of ``run``.
        """
        where = self._checked(query)
        clock = _Clock()
        record = self._catalogue.get(image_id, query.caller.holder)
        data = self._catalogue.file(image_id)
        digest = None if data is None else hashlib.sha256(data).hexdigest()
        image = QueryImage(record.modality, sha256=digest, image_id=image_id)
        clock.lap("decode")
        vector = self._catalogue.vector(image_id)
        clock.lap("encode")
        return self._answer(query, where, vector, (image,), clock, without={image_id})

    def _checked(self, query: Query) -> Where:
        """Where is searched, once the query may be made."""
        most = self._settings.max_search_limit
        if not 1 <= query.limit <= most:
            raise InvalidInput(f"limit must be from 1 to {most}, got {query.limit}")
        if self._settings.require_case:
            _check_case(query)
        return self._catalogue.narrowed(query.where, query.caller.holder)

    def _answer(
        self,
        query: Query,
        where: Where,
        vector: NDArray[np.float32],
        images: tuple[QueryImage, ...],
        clock: "_Clock",
        without: Collection[str] = (),
    ) -> Result:
        where = replace(where, modality=_searched(where, images))
        ranked = self._catalogue.find(
            vector,
            query.limit,
            where,
            threshold=query.score_threshold,
            rerank=query.rerank,
            by_track=query.by_track,
            exact=query.exact,
            without=without,
        )
        clock.lap("search")
        patience().check()  # what nobody sees any more is no search that was answered
        search_id = str(uuid.uuid4())
        self._record(search_id, query, where, images, ranked)
        return Result(search_id, self.encoder, images, _searched(where, images), ranked, clock.laps_ms())

    def _record(
        self, search_id: str, query: Query, where: Where, images: tuple[QueryImage, ...], ranked: list[Ranked]
    ) -> None:
        self._audit.append(
            Action.SEARCH,
            query.caller,
            search_id=search_id,
            case=query.case,
            reason=query.reason,
            query_sha256=images[0].sha256,
            query_modality=images[0].modality,
            queries=[_facts(image) for image in images],
            filters=filters_json(where),
            limit=query.limit,
            score_threshold=query.score_threshold,
            group_by="track_id" if query.by_track else None,
            rerank=query.rerank,
            exact=query.exact,
            gallery=shown_address(self._settings.gallery),
            gallery_name=self._settings.gallery_name,
            encoder=self.encoder,
            results=[_shown(one) for one in ranked],
        )


def filters_json(where: Where) -> dict[str, object]:
    """The conditions of a filter as the audit log keeps them."""
    return {name: _plain(value) for name, value in _facts(where).items() if value is not None}


def _searched(where: Where, images: tuple[QueryImage, ...]) -> Modality:
    """The modality that is searched: the one asked for, else the one that the query is not of.

    Raises:
        InvalidInput: None is asked for, and the query is of both.
    """
    if where.modality is not None:
        return where.modality
    told = {image.modality for image in images}
    if len(told) > 1:
        raise InvalidInput("the query images are of both modalities; say which to search: gallery_modality")
    return images[0].modality.other


def _check_case(query: Query) -> None:
    told = {"case": query.case, "reason": query.reason}
    if missing := [name for name, text in told.items() if not (text or "").strip()]:
        raise CaseMissing(
            f"this server asks each search for its case and its reason; {' and '.join(missing)} missing"
        )


def _shown(one: Ranked) -> dict[str, object]:
    """A result as the audit log keeps it."""
    record = one.hit.record
    told: dict[str, object] = {
        "image_id": record.image_id,
        "score": round(one.hit.score, 6),
        "camera_id": record.camera_id,
        "captured_at": record.captured_at.isoformat(),
    }
    return told if one.group_size == 1 else {**told, "group_size": one.group_size}


def _facts(one: QueryImage | Where) -> dict[str, object]:
    """The attributes by name; ``dataclasses.asdict`` would copy each value, at ten times the time."""
    return {name: getattr(one, name) for name in one.__slots__}


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
        if name != Stage.ENCODE:  # which the queue times by itself, without the wait
            observe(Stage(name), now - self._last)
        self._last = now

    def laps_ms(self) -> dict[str, float]:
        return {**self._laps, "total": round((time.perf_counter() - self._start) * 1000, 3)}
