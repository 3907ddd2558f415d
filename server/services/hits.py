"""What watchlists found: reading it, judging it, having its webhooks called again."""

from collections.abc import Sequence
from datetime import UTC, datetime

from server.access import Caller, Holder, Role
from server.audit import Action, AuditLog
from server.errors import HitUnknown, WebhookRefused
from server.events import Events
from server.schemas import HitVerdictGiven
from server.services.watching import Holders
from server.services.watchlists import Watchlists, knows
from server.watch_store import WatchStore
from server.watchlists import Delivery, HitVerdict, WatchHit


class Hits:
    """The hits of the watchlists that a caller knows, within the cameras of its key."""

    def __init__(
        self, store: WatchStore, watchlists: Watchlists, audit: AuditLog, events: Events, holders: Holders
    ) -> None:
        self._store = store
        self._watchlists = watchlists
        self._audit = audit
        self._events = events
        self._holders = holders

    def of(
        self, watchlist_id: str, below: int | None, limit: int, delivery: Delivery | None, caller: Caller
    ) -> tuple[list[WatchHit], int | None]:
        """Hits of a watchlist, newest first, and the cursor of the next page; the reading is recorded.

        Raises:
            WatchlistUnknown: There is none that the caller may know of.
            StorageUnavailable: The hits cannot be read, or the reading not recorded.
        """
        self._watchlists.get(watchlist_id, caller)
        self._audit.append(Action.READ, caller, watchlist_id=watchlist_id, limit=limit, cursor=below)
        return self._page([watchlist_id], below, limit, delivery, caller)

    def newest(
        self, below: int | None, limit: int, delivery: Delivery | None, caller: Caller
    ) -> tuple[list[WatchHit], int | None]:
        """The same of all watchlists that the caller may know of.

        Raises:
            StorageUnavailable: The hits cannot be read, or the reading not recorded.
        """
        self._audit.append(Action.READ, caller, listed="hits", limit=limit, cursor=below)
        known = None if caller.holder.role is Role.ADMIN else self._store.ids_of(caller.holder.name)
        return self._page(known, below, limit, delivery, caller)

    def judge(
        self, watchlist_id: str, event_id: int, given: HitVerdictGiven, caller: Caller
    ) -> tuple[WatchHit, HitVerdict]:
        """Record a verdict on a hit; an earlier one of the same holder stays, superseded.

        Returns:
            The hit as it was, and the verdict.

        Raises:
            WatchlistUnknown: There is no such watchlist that the caller may know of.
            HitUnknown: It has no such hit, or none within the cameras of the caller's key.
            StorageUnavailable: It cannot be stored or recorded.
        """
        watchlist = self._watchlists.get(watchlist_id, caller)
        hit = self._store.hit(watchlist_id, event_id)
        if not sees(caller.holder, hit):
            raise HitUnknown(f"watchlist {watchlist_id} has no hit {event_id}")
        told = given.model_dump(mode="json")
        self._audit.append(
            Action.VERDICT,
            caller,
            watchlist_id=watchlist_id,
            event_id=event_id,
            image_id=hit.match.image_id,
            case=watchlist.case,
            **told,
        )
        verdict = HitVerdict(**told, key=caller.holder.name, at=datetime.now(UTC))
        self._store.judge(hit, verdict)
        return hit, verdict

    def resend(self, watchlist_id: str, event_ids: Sequence[int] | None, caller: Caller) -> int:
        """Have the webhooks of hits that were given up called again; recorded before it is done.

        Args:
            watchlist_id: Of the watchlist.
            event_ids: Only of these hits; ``None`` for all that were given up.
            caller: Who asks.

        Returns:
            Of how many hits.

        Raises:
            WatchlistUnknown: There is no such watchlist that the caller may know of.
            WebhookRefused: Its maker holds no key any more, so that none of its hits is sent.
            StorageUnavailable: It cannot be stored or recorded.
        """
        watchlist = self._watchlists.get(watchlist_id, caller)
        if watchlist.made_by not in self._holders():
            raise WebhookRefused(
                "whoever made the watchlist holds no key any more, so none of its hits is sent"
            )
        self._audit.append(
            Action.WATCHLIST,
            caller,
            change="resend",
            watchlist_id=watchlist_id,
            case=watchlist.case,
            url=watchlist.webhook_url,
            event_ids=None if event_ids is None else list(event_ids),
        )
        count = self._store.revive(watchlist_id, event_ids)
        self._events.publish()  # wakes who calls them
        return count

    def _page(
        self,
        known: Sequence[str] | None,
        below: int | None,
        limit: int,
        delivery: Delivery | None,
        caller: Caller,
    ) -> tuple[list[WatchHit], int | None]:
        page = self._store.hits_of(known, below, limit + 1, delivery)
        following = page[limit - 1].event_id if len(page) > limit else None
        return [hit for hit in page[:limit] if sees(caller.holder, hit)], following


def sees(holder: Holder, hit: WatchHit) -> bool:
    """Whether a hit is one that ``holder`` may know of."""
    return knows(holder, hit.watchlist) and holder.sees_camera(hit.match.camera_id)
