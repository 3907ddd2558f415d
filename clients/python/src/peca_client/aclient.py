"""The client for asyncio; its methods are those of ``PecaClient``."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from itertools import count
from types import TracebackType
from typing import Self, TypeVar

import httpx

from peca_client import calls
from peca_client.batches import Batch, batches, refusal
from peca_client.calls import Call
from peca_client.errors import TooLarge
from peca_client.models import (
    AuditPage,
    Camera,
    Image,
    ImageSource,
    ImageUpload,
    IngestReport,
    Readiness,
    SearchRecord,
    SearchResult,
    VerdictRecord,
    Version,
)
from peca_client.retry import RetryPolicy

_T = TypeVar("_T")


class AsyncPecaClient:
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
        self._http = httpx.AsyncClient(
            base_url=calls.checked_base_url(base_url),
            headers=calls.headers(api_key),
            timeout=timeout_s,
            transport=transport,
        )

    async def search(
        self,
        image: ImageSource,
        query_modality: str,
        *,
        gallery_modality: str | None = None,
        limit: int = 20,
        camera_ids: Sequence[str] | None = None,
        exclude_camera_ids: Sequence[str] | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        score_threshold: float | None = None,
        case: str | None = None,
        reason: str | None = None,
    ) -> SearchResult:
        """Find the person of ``image`` in the gallery; see ``PecaClient.search``."""
        call = await asyncio.to_thread(
            partial(
                calls.search,
                image,
                query_modality,
                gallery_modality=gallery_modality,
                limit=limit,
                camera_ids=camera_ids,
                exclude_camera_ids=exclude_camera_ids,
                after=after,
                before=before,
                score_threshold=score_threshold,
                case=case,
                reason=reason,
            )
        )
        return await self._send(call)

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
            reports.append(await self._ingest_batch(batch))
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

    async def delete_image(self, image_id: str) -> None:
        """Remove one image for good; ``NotFound`` where there is none (any more)."""
        await self._send(calls.delete_image(image_id))

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
        return await self._send(calls.cameras())

    async def version(self) -> Version:
        """Which server this is, and which encoder it searches with."""
        return await self._send(calls.version())

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
