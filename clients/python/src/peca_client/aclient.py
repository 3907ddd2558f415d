"""The client for asyncio; its methods are those of ``PecaClient``."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import count
from types import TracebackType
from typing import Self, TypeVar

import httpx

from peca_client import calls
from peca_client.adesk import AsyncDeskMethods
from peca_client.batches import Batch, batches, refusal
from peca_client.calls import Call
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
from peca_client.pages import aeach
from peca_client.retry import RetryPolicy

_T = TypeVar("_T")


class AsyncPecaClient(AsyncDeskMethods):
    """A PECA server, over HTTP, for asyncio. Use it in an ``async with`` statement.

    Arguments, retries and errors are those of ``PecaClient``; files are read in a thread.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._policy = RetryPolicy(retries)
        address, headers = calls.checked_base_url(base_url), calls.headers(api_key)
        with calls.trusted_authorities():
            self._http = httpx.AsyncClient(
                base_url=address, headers=headers, timeout=timeout_s, transport=transport
            )

    async def search(
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
        """Find the person of ``image`` in the gallery; see ``PecaClient.search``."""
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
        return await self._send(await asyncio.to_thread(calls.search, image, query_modality, options))

    async def search_by_image(
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
        """See ``PecaClient.search_by_image``."""
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
        return await self._send(calls.search_by_image(image_id, options))

    async def add_images(self, items: Sequence[ImageUpload]) -> IngestReport:
        """Store images in one request; bad ones are refused one by one, the good ones are stored.

        Images that are stored already stay as they are, so the same call may be made again.
        """
        return await self._send(calls.add_images(await asyncio.to_thread(Batch.read, items)))

    async def ingest(
        self,
        items: Iterable[ImageUpload],
        batch_size: int = 32,
        on_progress: Callable[[IngestReport], None] | None = None,
    ) -> IngestReport:
        """Store any number of images, batch by batch; see ``PecaClient.ingest``."""
        reports = []
        cut = batches(items, batch_size)
        while (batch := await asyncio.to_thread(next, cut, None)) is not None:
            reports.append(batch if isinstance(batch, IngestReport) else await self._ingest_batch(batch))
            if on_progress is not None:
                on_progress(reports[-1])
        return IngestReport.joined(reports)

    async def _ingest_batch(self, batch: Batch) -> IngestReport:
        try:
            return await self._send(calls.add_images(batch))
        except TooLarge as error:
            if len(batch) == 1:
                return refusal(batch, error)
            return IngestReport.joined([await self._ingest_batch(half) for half in batch.halves()])

    async def image(self, image_id: str) -> Image:
        """What the gallery knows of one image."""
        return await self._send(calls.image(image_id))

    async def thumbnail(self, image_id: str) -> bytes:
        """A small JPEG of one image."""
        return await self._send(calls.thumbnail(image_id))

    async def image_file(self, image_id: str) -> bytes:
        """See ``PecaClient.image_file``."""
        return await self._send(calls.image_file(image_id))

    async def delete_image(self, image_id: str) -> None:
        """Remove one image for good; ``NotFound`` where there is none (any more)."""
        await self._send(calls.delete_image(image_id))

    async def images(
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
        """See ``PecaClient.images``."""
        return await self._send(
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

    async def delete_images(
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
        """See ``PecaClient.delete_images``."""
        return await self._send(
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

    async def stats(self) -> Stats:
        """See ``PecaClient.stats``."""
        return await self._send(calls.stats())

    async def quality(self) -> Quality:
        """See ``PecaClient.quality``."""
        return await self._send(calls.quality())

    async def reload_encoder(self) -> EncoderInUse:
        """See ``PecaClient.reload_encoder``."""
        return await self._send(calls.reload_encoder())

    async def searches(
        self, *, case: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> SearchPage:
        """See ``PecaClient.searches``."""
        return await self._send(calls.searches(case, limit, cursor))

    async def export_search(self, search_id: str, also: Sequence[str] = ()) -> bytes:
        """See ``PecaClient.export_search``."""
        return await self._send(calls.export_search(search_id, also))

    async def search_record(self, search_id: str) -> SearchRecord:
        """What a search showed, and people's verdicts on it; that you read it is recorded."""
        return await self._send(calls.search_record(search_id))

    async def give_verdict(
        self, search_id: str, image_id: str, verdict: str, note: str | None = None
    ) -> VerdictRecord:
        """Say what you found of a result; a later verdict of yours supersedes it, and both stay."""
        return await self._send(calls.give_verdict(search_id, image_id, verdict, note))

    async def audit(
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
        """Records of the audit log, newest first; that you read it is recorded."""
        return await self._send(
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

    async def cameras(self) -> tuple[Camera, ...]:
        """The cameras of the gallery."""
        return tuple([one async for one in aeach(lambda cursor: self._send(calls.cameras(cursor)))])

    async def version(self) -> Version:
        """Which server this is, and which encoder it searches with."""
        return await self._send(calls.version())

    async def check_key(self) -> None:
        """Raise ``AuthenticationError`` where the server does not take the key; any role's key will do."""
        await self._send(calls.check_key())

    async def health(self) -> bool:
        """Whether the server's process answers; asked once, without retries."""
        return await self._send(calls.health())

    async def ready(self) -> Readiness:
        """Whether the server can search now; asked once, without retries."""
        return await self._send(calls.ready())

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _send(self, call: Call[_T]) -> _T:
        for attempt in count():
            try:
                outcome: httpx.Response | httpx.RequestError = await self._http.send(call.request(self._http))
            except httpx.RequestError as error:
                outcome = error
            wait_s = call.wait_s(self._policy, attempt, outcome)
            if wait_s is None:
                break
            await asyncio.sleep(wait_s)
        return call.result(outcome)
