"""What goes on without a request: webhooks are called, watchlists expire, what a failure left is settled."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

from index.errors import PecaError
from server.audit import Action, AuditLog
from server.errors import WebhookRefused
from server.events import Events
from server.services.watching import Holders, Watching
from server.settings import Settings
from server.watch_store import WatchStore
from server.watchlists import Delivery, WatchHit
from server.webhooks import call, json_body, resolve, signed_headers

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 3600.0
_TEND_S = 15.0
_PAGE = 100
_SIDE_BY_SIDE = 8
_ROUND_S = 5.0
_LOGGER = logging.getLogger(__name__)


class Sender:
    """Calls webhooks; a hit is sent until it is taken or given up, at least once, also after a restart.

    Args:
        store: Of the hits.
        audit: Has what became of each.
        settings: The operator's.
        holders: Those for whom a hit is sent; of others' watchlists no more is.
    """

    def __init__(self, store: WatchStore, audit: AuditLog, settings: Settings, holders: Holders) -> None:
        self._store = store
        self._audit = audit
        self._settings = settings
        self._holders = holders
        self._pool = ThreadPoolExecutor(_SIDE_BY_SIDE, "peca-webhook")

    def send_due(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Call the webhooks that are due: several addresses side by side, the hits of each oldest first.

        An address that does not answer is tried once; the attempt counts for all hits that wait for it. One
        that takes its time is left for a while, so that neither others nor the watchlists wait for it.

        Args:
            stopped: Asked before each call; the others are left.

        Raises:
            StorageUnavailable: The store, the audit log or the keys cannot be used.
        """
        due: dict[str, list[tuple[WatchHit, str]]] = {}
        for hit, secret in self._store.due(time.time(), _PAGE):
            due.setdefault(hit.watchlist.webhook_url or "", []).append((hit, secret))
        for done in [self._pool.submit(self._send_to, url, hits, stopped) for url, hits in due.items()]:
            done.result()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _send_to(self, url: str, hits: list[tuple[WatchHit, str]], stopped: Callable[[], bool]) -> None:
        """Call one address for some hits, for as long as it may take of a round."""
        silent: str | None = None
        until = time.monotonic() + _ROUND_S
        for hit, secret in hits:
            if stopped():
                return
            if hit.watchlist.made_by not in self._holders():
                self._settle(
                    hit, Delivery.DEAD, "whoever made the watchlist holds no key any more", attempts=0
                )
            elif silent is not None:
                self._failed(hit, silent)
            elif time.monotonic() > until:
                later = time.time() + _ROUND_S
                self._store.record_delivery(hit.event_id, Delivery.PENDING, hit.error, later, attempts=0)
            else:
                try:
                    status = self._send(url, hit, secret)
                except (OSError, WebhookRefused) as error:
                    silent = str(error)
                    self._failed(hit, silent)
                    continue
                if 200 <= status < 300:
                    self._settle(hit, Delivery.DELIVERED, None)
                else:
                    self._failed(hit, f"the answer was {status}")

    def _send(self, url: str, hit: WatchHit, secret: str) -> int:
        body = json_body({"type": "hit", **hit.as_event()})
        target = resolve(url, inside=self._settings.webhook_networks)
        return call(target, body, signed_headers(secret, body, hit.event_id, time.time()))

    def _failed(self, hit: WatchHit, error: str) -> None:
        if hit.attempts + 1 >= self._settings.webhook_attempts:
            self._settle(hit, Delivery.DEAD, error)
        else:
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**hit.attempts)
            self._store.record_delivery(hit.event_id, Delivery.PENDING, error, time.time() + pause_s)

    def _settle(self, hit: WatchHit, state: Delivery, error: str | None, attempts: int = 1) -> None:
        self._audit.append(
            Action.WATCHLIST,
            change="webhook",
            watchlist_id=hit.match.watchlist_id,
            event_id=hit.event_id,
            url=hit.watchlist.webhook_url,
            delivery=state,
            error=error,
        )
        self._store.record_delivery(hit.event_id, state, error, 0.0, attempts)


class Attendant:
    """A thread that tends the watchlists and sends their hits, until it is closed."""

    def __init__(self, store: WatchStore, watching: Watching, sender: Sender, events: Events) -> None:
        self._store = store
        self._watching = watching
        self._sender = sender
        self._events = events
        self._woken = Event()
        self._closed = False
        self._thread = Thread(target=self._work, name="peca-attendant", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; a webhook under way is finished."""
        self._closed = True
        self._woken.set()
        self._thread.join()
        self._sender.close()

    def _work(self) -> None:
        with self._events.waking(self._woken.set):
            while not self._closed:
                self._woken.clear()
                wait_s = self._tend()
                if not self._closed:
                    self._woken.wait(wait_s)

    def _tend(self) -> float:
        """One round; returns the seconds until the next is due."""
        try:
            self._watching.tend()
            self._sender.send_due(lambda: self._closed)
            due = self._store.next_due()
        except PecaError as error:
            _LOGGER.error("watchlists cannot be tended now, and will be tried again: %s", error)
            return _TEND_S
        except Exception:  # the thread must go on; the trace says what was not foreseen
            _LOGGER.exception("watchlists could not be tended, and will be tried again")
            return _TEND_S
        return _TEND_S if due is None else max(0.0, min(_TEND_S, due - time.time()))
