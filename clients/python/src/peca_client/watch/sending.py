"""From the spool to the server, beside the capture: what fails waits, and is tried again."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from peca_client.client import PecaClient
from peca_client.errors import AuthenticationError, InvalidRequest, PecaClientError, ProblemError
from peca_client.models import ImageUpload, IngestReport, IngestStatus
from peca_client.watch.spool import Spool

BATCH = 16
_IDLE_S = 0.2
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0


class Sender:
    """A thread that sends the oldest crops of a spool until it is stopped.

    It waits as long as the server's ``Retry-After`` asks, else ever longer up to 30 s. A crop leaves the
    spool only once the server has said that it holds it.

    Args:
        client: The server; without retries of its own, so that a stop need not wait for them.
        spool: What to send.
        say: Takes messages for people.

    Attributes:
        counts: Crops by what the server answered.
        key_refused: The last attempt met 401 or 403.
    """

    def __init__(self, client: PecaClient, spool: Spool, say: Callable[[str], None]) -> None:
        self.counts: Counter[str] = Counter()
        self.key_refused = False
        self._client = client
        self._spool = spool
        self._say = say
        self._stop = threading.Event()
        self._failures = 0
        self._told: set[object] = set()
        self._last_success = time.monotonic()
        self._broken: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def finish(self, patience_s: float, leave_now: threading.Event) -> None:
        """Send what waits; give up where nothing was sent for ``patience_s``, or at ``leave_now``.

        Raises:
            BaseException: What ended the thread, where it did not end by itself.
        """
        began = time.monotonic()
        while self._thread.is_alive() and self._spool.waiting() and not leave_now.is_set():
            if self.key_refused or time.monotonic() - max(began, self._last_success) > patience_s:
                break
            leave_now.wait(_IDLE_S)
        self._stop.set()
        self._thread.join(timeout=patience_s)
        self.check()

    def check(self) -> None:
        """Raise what ended the thread, where something did."""
        if self._broken is not None:
            raise self._broken

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                uploads = self._spool.oldest(BATCH)
                self._stop.wait(self._send(uploads) if uploads else _IDLE_S)
        # Kept for the main thread, which would not hear of it.
        except Exception as error:
            self._broken = error

    def _send(self, uploads: Sequence[ImageUpload]) -> float:
        """Send a batch; returns how long to wait before the next."""
        try:
            self._settle(uploads, self._client.ingest(uploads, batch_size=BATCH))
        except InvalidRequest as error:
            return self._send_apart(uploads, error)
        except PecaClientError as error:
            return self._failed(error)
        return self._succeeded()

    def _send_apart(self, uploads: Sequence[ImageUpload], error: InvalidRequest) -> float:
        """A request was refused as a whole: find the crop that is to blame."""
        if len(uploads) > 1:
            return max(self._send([upload]) for upload in uploads)
        self._refuse(str(uploads[0].image_id), str(error))
        return self._succeeded()

    def _settle(self, uploads: Sequence[ImageUpload], report: IngestReport) -> None:
        held = []
        for upload, item in zip(uploads, report.items, strict=True):
            if item.status is IngestStatus.REFUSED:
                self._refuse(str(upload.image_id), item.reason or "no reason given")
            else:
                self.counts[item.status.value] += 1
                held.append(str(upload.image_id))
        self._spool.remove(held)

    def _refuse(self, image_id: str, reason: str) -> None:
        self.counts[IngestStatus.REFUSED.value] += 1
        self._spool.refuse(image_id, reason)
        self._say(f"the server does not take {image_id}: {reason}; it stays in the spool")

    def _succeeded(self) -> float:
        if self._told:
            self._say("the server answers again")
        self._failures, self.key_refused, self._last_success = 0, False, time.monotonic()
        self._told.clear()
        return 0.0

    def _failed(self, error: PecaClientError) -> float:
        asked = error.retry_after_s if isinstance(error, ProblemError) else None
        wait_s = asked if asked is not None else min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0**self._failures)
        self.key_refused = isinstance(error, AuthenticationError)
        self._failures = min(self._failures + 1, 10)
        # Once for each kind: an outage that became a refusal of the key is news.
        kind = (error.status, error.type) if isinstance(error, ProblemError) else type(error)
        if kind not in self._told:
            self._told.add(kind)
            self._say(f"not sent: {error}; crops wait in {self._spool.folder} and are tried again")
        return wait_s
