"""Making, reading and removing watchlists, and saying so in the audit log."""

import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from index.errors import InvalidInput
from index.records import Where
from index.space import Modality
from index.wording import counted
from server.access import Caller, Holder, Role
from server.audit import Action, AuditLog
from server.clean_copy import clean_copy
from server.errors import CaseMissing, WatchlistsExceeded, WatchlistUnknown
from server.images import thumbnail
from server.readiness import check_space
from server.services.catalogue import Catalogue
from server.services.query_images import QueryImage, QueryImages
from server.services.watching import Watching
from server.settings import Settings
from server.watch_store import WatchStore
from server.watchlists import Watchlist
from server.webhooks import resolve

SECRET_PREFIX = "whsec_"  # noqa: S105 - what a secret begins with, not one


@dataclass(frozen=True, slots=True)
class Wanted:
    """A watchlist to be made; without ``expires_at`` it lives as long as the server lets it."""

    name: str
    threshold: float
    query_modality: Modality | None = None
    gallery_modality: Modality | None = None
    camera_ids: Sequence[str] | None = None
    case: str | None = None
    reason: str | None = None
    expires_at: datetime | None = None
    webhook_url: str | None = None


class Watchlists:
    """The watchlists of this server, to those who may know of them.

    An operator knows those made by the holder of the same name, an admin knows all.
    """

    def __init__(
        self,
        store: WatchStore,
        watching: Watching,
        catalogue: Catalogue,
        images: QueryImages,
        audit: AuditLog,
        settings: Settings,
        encoder: str,
    ) -> None:
        self._store = store
        self._watching = watching
        self._catalogue = catalogue
        self._images = images
        self._audit = audit
        self._settings = settings
        self.encoder = encoder

    def create(self, files: Sequence[bytes], wanted: Wanted, caller: Caller) -> tuple[Watchlist, str | None]:
        """Make a watchlist; each image that is acknowledged from now on is compared with it.

        Args:
            files: Image files of one person.
            wanted: What else.
            caller: Who asks.

        Returns:
            The watchlist, and the secret of its webhook, which cannot be had again.

        Raises:
            ImageRefused: An image cannot be used.
            CaseMissing: This server asks for a case and a reason, and one is missing.
            UnknownCamera: It names a camera that the gallery has never seen.
            WebhookRefused: The webhook's address is not one that the server calls.
            WatchlistsExceeded: There are too many.
            InvalidInput: It ends too late or is over, or the images are of both modalities and it does
                not say what they are compared with.
            EncoderBusy: Too many searches wait.
            StorageUnavailable: It cannot be stored or recorded, or the disk is nearly full.
        """
        self._check(wanted)
        check_space(self._settings)
        where = self._catalogue.narrowed(Where(camera_ids=wanted.camera_ids), caller.holder)
        decoded = self._images.decode(files, [wanted.query_modality] * len(files))
        watchlist = Watchlist(
            watchlist_id=str(uuid.uuid4()),
            name=wanted.name,
            made_by=caller.holder.name,
            key_id=caller.holder.key_id,
            created_at=datetime.now(UTC),
            expires_at=self._end(wanted.expires_at),
            modality=wanted.gallery_modality or _other(decoded.images),
            camera_ids=None if where.camera_ids is None else tuple(sorted(where.camera_ids)),
            threshold=wanted.threshold,
            case=wanted.case,
            reason=wanted.reason,
            encoder=self.encoder,
            queries=tuple(_told(image) for image in decoded.images),
            webhook_url=wanted.webhook_url,
        )
        vector = self._images.encode(decoded)
        secret = None if wanted.webhook_url is None else SECRET_PREFIX + secrets.token_urlsafe(32)
        self._audit.append(Action.WATCHLIST, caller, change="create", **_recorded(watchlist))
        most = self._settings.max_image_pixels
        self._store.add(watchlist, vector, [clean_copy(data, max_pixels=most) for data in files], secret)
        self._watching.refresh()
        return watchlist, secret

    def page(self, below: int | None, limit: int, caller: Caller) -> tuple[list[Watchlist], int | None]:
        """Those that the caller may know of, newest first, and the cursor of the next page.

        Reading those of others is recorded.

        Raises:
            StorageUnavailable: The reading cannot be recorded.
        """
        holder = caller.holder
        found = self._store.page(None if holder.role is Role.ADMIN else holder.name, below, limit + 1)
        shown = [one for _, one in found[:limit]]
        if others := [one.watchlist_id for one in shown if one.made_by != holder.name]:
            self._audit.append(Action.READ, caller, listed="watchlists", watchlist_ids=others)
        return shown, found[limit - 1][0] if len(found) > limit else None

    def view(self, watchlist_id: str, caller: Caller, **facts: int) -> Watchlist:
        """One of them, for a person to see; where it is another's, that is recorded.

        Raises:
            WatchlistUnknown: There is none that the caller may know of.
            StorageUnavailable: The reading cannot be recorded.
        """
        watchlist = self.get(watchlist_id, caller)
        if watchlist.made_by != caller.holder.name:
            self._audit.append(Action.READ, caller, watchlist_id=watchlist_id, **facts)
        return watchlist

    def get(self, watchlist_id: str, caller: Caller) -> Watchlist:
        """One of them.

        Raises:
            WatchlistUnknown: There is none that the caller may know of.
        """
        watchlist = self._store.get(watchlist_id)
        if not knows(caller.holder, watchlist):
            raise WatchlistUnknown(f"there is no watchlist {watchlist_id!r}")
        return watchlist

    def counts(self, watchlists: Sequence[Watchlist]) -> dict[str, dict[str, int]]:
        """By watchlist, how many hits there are, by state of their webhook (``none`` without one)."""
        return self._store.hit_counts([one.watchlist_id for one in watchlists])

    def query_image(self, watchlist_id: str, number: int, caller: Caller) -> bytes:
        """A small JPEG of a query image, counted from 0.

        Raises:
            WatchlistUnknown: There is no such watchlist that the caller may know of, or image of it.
            StorageUnavailable: It is another's, and the reading cannot be recorded.
        """
        self.view(watchlist_id, caller, image=number)
        data = self._store.image(watchlist_id, number)
        if data is None:
            raise WatchlistUnknown(f"watchlist {watchlist_id} has no image {number}; it may have expired")
        return thumbnail(data)

    def remove(self, watchlist_id: str, caller: Caller) -> None:
        """Erase a watchlist with its query images, its vector and its hits.

        Raises:
            WatchlistUnknown: There is none that the caller may know of.
            StorageUnavailable: It cannot be erased or that recorded.
        """
        watchlist = self.get(watchlist_id, caller)
        self._audit.append(
            Action.WATCHLIST, caller, change="delete", watchlist_id=watchlist_id, case=watchlist.case
        )
        self._store.remove(watchlist_id)
        self._watching.refresh()

    def _check(self, wanted: Wanted) -> None:
        told = {"case": wanted.case, "reason": wanted.reason}
        missing = [name for name, text in told.items() if not (text or "").strip()]
        if self._settings.require_case and missing:
            raise CaseMissing(
                "this server asks each watchlist for its case and its reason; "
                f"{' and '.join(missing)} missing"
            )
        most = self._settings.max_watchlists
        if len(self._store.living()) >= most:
            raise WatchlistsExceeded(
                f"this server takes {counted(most, 'watchlist')}, and has as many; remove one first"
            )
        if wanted.webhook_url is not None:
            resolve(wanted.webhook_url, inside=self._settings.webhook_networks)

    def _end(self, wanted: datetime | None) -> datetime:
        now, days = datetime.now(UTC), self._settings.max_watchlist_days
        latest = now + timedelta(days=days)
        if wanted is not None and not now < wanted <= latest:
            raise InvalidInput(
                f"a watchlist must expire within {counted(days, 'day')} from now, got {wanted.isoformat()}"
            )
        return wanted or latest


def knows(holder: Holder, watchlist: Watchlist) -> bool:
    """Whether a watchlist is one that ``holder`` may know of."""
    return holder.role is Role.ADMIN or watchlist.made_by == holder.name


def _other(images: Sequence[QueryImage]) -> Modality:
    if len({image.modality for image in images}) > 1:
        raise InvalidInput(
            "the query images are of both modalities; say what they are compared with: gallery_modality"
        )
    return images[0].modality.other


def _told(image: QueryImage) -> dict[str, object]:
    return {"modality": image.modality.value, "detected": image.detected, "sha256": image.sha256}


def _recorded(watchlist: Watchlist) -> dict[str, object]:
    """What the audit log holds of a watchlist that is made; who and when stand in every record."""
    told = watchlist.as_json()
    return {
        name: value
        for name, value in told.items()
        if name not in ("made_by", "key_id", "ended_at", "ended_for")
    }
