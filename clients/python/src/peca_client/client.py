"""The client that blocks."""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import count
from types import TracebackType
from typing import Self, TypeVar

import httpx

from peca_client import calls
from peca_client.batches import Batch, batches, refusal
from peca_client.calls import Call
from peca_client.desk import DeskMethods
from peca_client.errors import TooLarge
from peca_client.models import (
    AuditPage,
    Camera,
    EncoderInUse,
    Image,
    ImagePage,
    ImageSource,
    ImageUpload,
    IngestReport,
    Quality,
    Readiness,
    Removal,
    SearchPage,
    SearchRecord,
    SearchResult,
    Stats,
    VerdictRecord,
    Version,
)
from peca_client.pages import each
from peca_client.retry import RetryPolicy

_T = TypeVar("_T")


class PecaClient(DeskMethods):
    """A PECA server, over HTTP; safe to call from several threads. Use it in a ``with`` statement.

    A call that meets no answer, 429 or 503 is tried again after a growing wait, or after the
    ``Retry-After`` that the server asks for, since it may safely be sent twice. ``watch``, ``create_key``
    and ``rotate_key`` may not: they are tried again where nothing was done, on 429, on 503 and without a
    connection, and not where the answer was lost.

    Args:
        base_url: Where the server listens, e.g. ``http://127.0.0.1:8000``.
        api_key: Sent as ``Authorization: Bearer``; only ``health`` and ``ready`` do without.
        timeout_s: Longest wait for each of connection, sending and answer.
        retries: How many times a failed call is tried again.
        transport: What carries the requests; httpx's own where not given.

    Raises:
        InvalidArgument: The address or the key cannot be one.

    Every method raises ``PecaClientError``; ``peca_client.errors`` draws the tree.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._policy = RetryPolicy(retries)
        address, headers = calls.checked_base_url(base_url), calls.headers(api_key)
        with calls.trusted_authorities():
            self._http = httpx.Client(
                base_url=address, headers=headers, timeout=timeout_s, transport=transport
            )

    def search(
        self,
        image: ImageSource | Sequence[ImageSource],
        query_modality: str | Sequence[str],
        *,
        gallery_modality: str | None = None,
        limit: int = 20,
        camera_ids: Sequence[str] | None = None,
        exclude_camera_ids: Sequence[str] | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        score_threshold: float | None = None,
        group_by: str | None = None,
        rerank: bool = False,
        exact: bool = False,
        case: str | None = None,
        reason: str | None = None,
    ) -> SearchResult:
        """Find the person of ``image`` in the gallery, ranked by cosine similarity.

        Args:
            image: The query, a crop of one person: bytes, path or open binary file; or a list of several
                of the same person, which are searched as one.
            query_modality: The light of the query, ``visible`` or ``infrared``; ``auto`` has the server
                judge each image by its content. One for all, or a list of one for each image.
            gallery_modality: Which images to look in; the other modality where not given. Needed where the
                images are of both.
            limit: Most results.
            camera_ids: Only images of these cameras.
            exclude_camera_ids: No image of these cameras.
            after: Captured at this instant or later; must carry a time zone.
            before: Captured before this instant; must carry a time zone.
            score_threshold: Only images with at least this cosine similarity.
            group_by: ``track_id`` shows of each camera's track only the best image.
            rerank: Order the best 200 by the neighbours that they share with the query.
            exact: Compare with every image, whatever index the gallery has.
            case: The case that this search belongs to, for the audit log.
            reason: Why it is made, for the audit log.
        """
        options = calls.SearchOptions(
            gallery_modality=gallery_modality,
            limit=limit,
            camera_ids=camera_ids,
            exclude_camera_ids=exclude_camera_ids,
            after=after,
            before=before,
            score_threshold=score_threshold,
            group_by=group_by,
            rerank=rerank,
            exact=exact,
            case=case,
            reason=reason,
        )
        return self._send(calls.search(image, query_modality, options))

    def search_by_image(
        self,
        image_id: str,
        *,
        gallery_modality: str | None = None,
        limit: int = 20,
        camera_ids: Sequence[str] | None = None,
        exclude_camera_ids: Sequence[str] | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        score_threshold: float | None = None,
        group_by: str | None = None,
        rerank: bool = False,
        exact: bool = False,
        case: str | None = None,
        reason: str | None = None,
    ) -> SearchResult:
        """Find the person of a stored image, which is not among the results; else as ``search``.

        Args:
            image_id: Of the stored image.
            gallery_modality: As the rest: see ``search``.
            limit: See there.
            camera_ids: See there.
            exclude_camera_ids: See there.
            after: See there.
            before: See there.
            score_threshold: See there.
            group_by: See there.
            rerank: See there.
            exact: See there.
            case: See there.
            reason: See there.
        """
        options = calls.SearchOptions(
            gallery_modality=gallery_modality,
            limit=limit,
            camera_ids=camera_ids,
            exclude_camera_ids=exclude_camera_ids,
            after=after,
            before=before,
            score_threshold=score_threshold,
            group_by=group_by,
            rerank=rerank,
            exact=exact,
            case=case,
            reason=reason,
        )
        return self._send(calls.search_by_image(image_id, options))

    def add_images(self, items: Sequence[ImageUpload]) -> IngestReport:
        """Store images in one request; bad ones are refused one by one, the good ones are stored.

        Images that are stored already stay as they are, so the same call may be made again.
        """
        return self._send(calls.add_images(Batch.read(items)))

    def ingest(
        self,
        items: Iterable[ImageUpload],
        batch_size: int = 32,
        on_progress: Callable[[IngestReport], None] | None = None,
    ) -> IngestReport:
        """Store any number of images, batch by batch; only one batch is held in memory.

        Args:
            items: The images; read as they are needed.
            batch_size: Most images of one request; large files make smaller batches.
            on_progress: Called with each batch's own report.

        Returns:
            What became of every image; one of which the file cannot be read is refused with the reason.

        Raises:
            PecaClientError: A batch was not answered, after all retries. ``on_progress`` heard of those
                before it, which are stored: the same call may be made again.
        """
        reports = []
        for batch in batches(items, batch_size):
            reports.append(batch if isinstance(batch, IngestReport) else self._ingest_batch(batch))
            if on_progress is not None:
                on_progress(reports[-1])
        return IngestReport.joined(reports)

    def _ingest_batch(self, batch: Batch) -> IngestReport:
        try:
            return self._send(calls.add_images(batch))
        except TooLarge as error:
            if len(batch) == 1:
                return refusal(batch, error)
            return IngestReport.joined([self._ingest_batch(half) for half in batch.halves()])

    def image(self, image_id: str) -> Image:
        """What the gallery knows of one image."""
        return self._send(calls.image(image_id))

    def thumbnail(self, image_id: str) -> bytes:
        """A small JPEG of one image."""
        return self._send(calls.thumbnail(image_id))

    def image_file(self, image_id: str) -> bytes:
        """The file of one image as it is stored: the whole picture, without what else its file told."""
        return self._send(calls.image_file(image_id))

    def delete_image(self, image_id: str) -> None:
        """Remove one image for good; ``NotFound`` where there is none (any more)."""
        self._send(calls.delete_image(image_id))

    def images(
        self,
        *,
        modality: str | None = None,
        camera_ids: Sequence[str] | None = None,
        exclude_camera_ids: Sequence[str] | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        person_ids: Sequence[str] | None = None,
        track_ids: Sequence[str] | None = None,
        case: str | None = None,
        reason: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> ImagePage:
        """Images of the gallery, newest first; what is added or removed meanwhile disturbs no other.

        Args:
            modality: Only ``visible`` or ``infrared`` images.
            camera_ids: Only images of these cameras.
            exclude_camera_ids: No image of these cameras.
            after: Captured at this instant or later; must carry a time zone.
            before: Captured before this instant; must carry a time zone.
            person_ids: Only images labelled so.
            track_ids: Only images of these tracks. Lists of people or tracks are recorded, as searches are.
            case: Of whoever is looked for; a server may ask for it with ``person_ids`` or ``track_ids``.
            reason: Why; as ``case``.
            limit: Most images, at most 500.
            cursor: ``next_cursor`` of the page before.
        """
        return self._send(
            calls.images(
                modality=modality,
                camera_ids=camera_ids,
                exclude_camera_ids=exclude_camera_ids,
                after=after,
                before=before,
                person_ids=person_ids,
                track_ids=track_ids,
                case=case,
                reason=reason,
                limit=limit,
                cursor=cursor,
            )
        )

    def delete_images(
        self,
        *,
        dry_run: bool = True,
        modality: str | None = None,
        camera_ids: Sequence[str] | None = None,
        exclude_camera_ids: Sequence[str] | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        person_ids: Sequence[str] | None = None,
        track_ids: Sequence[str] | None = None,
    ) -> Removal:
        """Count the images that pass a filter; with ``dry_run=False``, remove them for good.

        Args:
            dry_run: Remove nothing.
            modality: As the rest of the filter, of which something must be given: see ``images``.
            camera_ids: See there.
            exclude_camera_ids: See there.
            after: See there.
            before: See there.
            person_ids: See there.
            track_ids: See there.
        """
        return self._send(
            calls.delete_images(
                dry_run=dry_run,
                modality=modality,
                camera_ids=camera_ids,
                exclude_camera_ids=exclude_camera_ids,
                after=after,
                before=before,
                person_ids=person_ids,
                track_ids=track_ids,
            )
        )

    def stats(self) -> Stats:
        """What the gallery holds, how it grows, and what room is left."""
        return self._send(calls.stats())

    def quality(self) -> Quality:
        """How well the encoder finds the labelled people of this very gallery."""
        return self._send(calls.quality())

    def reload_encoder(self) -> EncoderInUse:
        """Have the server open its encoder again, without a restart; needs an admin key."""
        return self._send(calls.reload_encoder())

    def searches(self, *, case: str | None = None, limit: int = 100, cursor: str | None = None) -> SearchPage:
        """Searches, newest first: one's own, or everyone's for an auditor or admin; it is recorded.

        Args:
            case: Only of this case.
            limit: Most searches, at most 200.
            cursor: ``next_cursor`` of the page before.
        """
        return self._send(calls.searches(case, limit, cursor))

    def export_search(self, search_id: str, also: Sequence[str] = ()) -> bytes:
        """A zip file of a search: a report, its records, and the pictures of its results; it is recorded.

        Args:
            search_id: Of the search.
            also: Other searches for the same person, told of in the same report.
        """
        return self._send(calls.export_search(search_id, also))

    def search_record(self, search_id: str) -> SearchRecord:
        """What a search showed, and people's verdicts on it; that you read it is recorded."""
        return self._send(calls.search_record(search_id))

    def give_verdict(
        self, search_id: str, image_id: str, verdict: str, note: str | None = None
    ) -> VerdictRecord:
        """Say what you found of a result; a later verdict of yours supersedes it, and both stay.

        Args:
            search_id: Of the search.
            image_id: The result; one that the search showed.
            verdict: ``confirmed``, ``rejected`` or ``unsure``.
            note: Why, for whoever reads the audit log.
        """
        return self._send(calls.give_verdict(search_id, image_id, verdict, note))

    def audit(
        self,
        *,
        after: datetime | None = None,
        before: datetime | None = None,
        key: str | None = None,
        case: str | None = None,
        action: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> AuditPage:
        """Records of the audit log, newest first; that you read it is recorded.

        Args:
            after: Records that ended at this instant or later; must carry a time zone.
            before: Records that ended before this instant; must carry a time zone.
            key: Only of the holder of this name.
            case: Only of this case.
            action: Only of this action, e.g. ``search``.
            limit: Most records, at most 200.
            cursor: ``next_cursor`` of the page before.
        """
        return self._send(
            calls.audit(
                after=after,
                before=before,
                key=key,
                case=case,
                action=action,
                limit=limit,
                cursor=cursor,
            )
        )

    def cameras(self) -> tuple[Camera, ...]:
        """The cameras of the gallery."""
        return tuple(each(lambda cursor: self._send(calls.cameras(cursor))))

    def version(self) -> Version:
        """Which server this is, and which encoder it searches with."""
        return self._send(calls.version())

    def check_key(self) -> None:
        """Raise ``AuthenticationError`` where the server does not take the key; any role's key will do."""
        self._send(calls.check_key())

    def health(self) -> bool:
        """Whether the server's process answers; asked once, without retries."""
        return self._send(calls.health())

    def ready(self) -> Readiness:
        """Whether the server can search now; asked once, without retries."""
        return self._send(calls.ready())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, call: Call[_T]) -> _T:
        for attempt in count():
            try:
                outcome: httpx.Response | httpx.RequestError = self._http.send(call.request(self._http))
            except httpx.RequestError as error:
                outcome = error
            wait_s = call.wait_s(self._policy, attempt, outcome)
            if wait_s is None:
                break
            time.sleep(wait_s)
        return call.result(outcome)
