"""What the asynchronous client does with watchlists, hits and keys."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import TypeVar

import httpx

from peca_client import keys, watchlists
from peca_client.calls import Call, no_answer
from peca_client.keys import ApiKey
from peca_client.models import ImageSource, VerdictRecord
from peca_client.pages import aeach
from peca_client.watchlists import HitPage, WatchHit, Watchlist

_T = TypeVar("_T")
_READ_TIMEOUT_S = 60.0


class AsyncDeskMethods(ABC):
    """Mixed into ``AsyncPecaClient``."""

    _http: httpx.AsyncClient

    @abstractmethod
    async def _send(self, call: Call[_T]) -> _T: ...

    async def watch(
        self,
        images: ImageSource | Sequence[ImageSource],
        query_modality: str,
        name: str,
        threshold: float,
        *,
        gallery_modality: str | None = None,
        camera_ids: Sequence[str] | None = None,
        case: str | None = None,
        reason: str | None = None,
        expires_at: datetime | None = None,
        webhook_url: str | None = None,
    ) -> Watchlist:
        """Compare each image that is ingested from now on with a person.

        Args:
            images: One or several crops of the person: bytes, paths or open binary files.
            query_modality: The light of the images, ``visible``, ``infrared`` or ``auto``.
            name: What you call it.
            threshold: Least cosine of a hit.
            gallery_modality: Images to compare with; the other modality where not given.
            camera_ids: Only images of these cameras.
            case: The case that it belongs to, for the audit log.
            reason: Why it is made, for the audit log.
            expires_at: When it ends; as late as the server lets it where not given.
            webhook_url: Where hits are sent, signed by the answer's ``webhook_secret``.
        """
        options = {
            "gallery_modality": gallery_modality,
            "camera_ids": camera_ids,
            "case": case,
            "reason": reason,
            "expires_at": expires_at,
            "webhook_url": webhook_url,
        }
        return await self._send(watchlists.watch(images, query_modality, name, threshold, options))

    async def watchlists(self) -> tuple[Watchlist, ...]:
        """Your watchlists, newest first; all of them with an admin's key."""
        return tuple([one async for one in aeach(lambda cursor: self._send(watchlists.watchlists(cursor)))])

    async def watchlist(self, watchlist_id: str) -> Watchlist:
        """One watchlist."""
        return await self._send(watchlists.watchlist(watchlist_id))

    async def watchlist_hits(
        self, watchlist_id: str, limit: int = 100, cursor: str | None = None, *, webhook: str | None = None
    ) -> HitPage:
        """Hits of a watchlist, newest first.

        Args:
            watchlist_id: Of the watchlist.
            limit: Most hits.
            cursor: The ``next_cursor`` of the page before.
            webhook: Only hits whose webhook is ``pending``, ``delivered`` or ``dead``.
        """
        return await self._send(watchlists.hits(watchlist_id, limit, cursor, webhook))

    async def hits(
        self, limit: int = 100, cursor: str | None = None, *, webhook: str | None = None
    ) -> HitPage:
        """Hits of all your watchlists, of everyone's with an admin's key; else as ``watchlist_hits``."""
        return await self._send(watchlists.hits(None, limit, cursor, webhook))

    async def judge_hit(
        self, watchlist_id: str, event_id: int, verdict: str, note: str | None = None
    ) -> VerdictRecord:
        """Say what you found of a hit; a later verdict of yours supersedes it, and both stay.

        Args:
            watchlist_id: Of its watchlist.
            event_id: Of the hit.
            verdict: ``confirmed``, ``rejected`` or ``unsure``.
            note: Why, for whoever reads the audit log.
        """
        return await self._send(watchlists.judge_hit(watchlist_id, event_id, verdict, note))

    async def resend_hits(self, watchlist_id: str, event_ids: Sequence[int] | None = None) -> int:
        """Have the webhooks of hits that were given up called again; returns of how many.

        Args:
            watchlist_id: Of their watchlist.
            event_ids: Only of these hits; of all that were given up where not given.
        """
        return await self._send(watchlists.resend(watchlist_id, event_ids))

    async def remove_watchlist(self, watchlist_id: str) -> None:
        """Erase a watchlist with its images and its hits."""
        await self._send(watchlists.remove_watchlist(watchlist_id))

    async def events(self, after: int | None = None) -> AsyncIterator[WatchHit]:
        """Hits as they come, without an end of their own: it raises where no more can come.

        Args:
            after: Begin after the hit of this ``event_id``, such as the last one seen; from now on where
                not given.

        Raises:
            PecaClientError: The server refuses, or the connection breaks or is ended by the server
                (``ConnectionFailed``): call again after the last hit that came.
        """
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        try:
            async with self._http.stream(
                "GET", "/events", headers=headers, timeout=_READ_TIMEOUT_S
            ) as response:
                if response.status_code != httpx.codes.OK:
                    await response.aread()
                watchlists.check_stream(response)
                async for line in response.aiter_lines():
                    if (hit := watchlists.heard(line)) is not None:
                        yield hit
        except httpx.RequestError as error:
            raise no_answer(error) from error
        raise watchlists.stream_ended()

    async def list_keys(self) -> tuple[ApiKey, ...]:
        """Every key ever made at the server, oldest first."""
        return tuple([one async for one in aeach(lambda cursor: self._send(keys.keys(cursor)))])

    async def create_key(
        self,
        name: str,
        role: str,
        *,
        camera_ids: Sequence[str] | None = None,
        expires_at: datetime | None = None,
        requests_per_minute: int | None = None,
        galleries: Sequence[str] | None = None,
    ) -> ApiKey:
        """Make a key; its ``key`` cannot be had again.

        Args:
            name: The one person or device that holds it; given once.
            role: ``camera``, ``operator``, ``auditor`` or ``admin``.
            camera_ids: Only these cameras.
            expires_at: From when on it is refused; must carry a time zone.
            requests_per_minute: Its own rate limit.
            galleries: Only servers whose setting ``gallery_name`` is one of these.
        """
        return await self._send(
            keys.create_key(name, role, camera_ids, expires_at, requests_per_minute, galleries)
        )

    async def rotate_key(self, key_id: str, overlap_hours: float = 0.0) -> ApiKey:
        """Replace a key by a new one of the same role, limits and expiry."""
        return await self._send(keys.rotate_key(key_id, overlap_hours))

    async def revoke_key(self, key_id: str) -> None:
        """Refuse a key from now on."""
        await self._send(keys.revoke_key(key_id))
