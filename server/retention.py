"""Images that were kept for as long as the gallery's rules let them are removed while the server runs."""

import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

from index.embedded.erasure import erasable
from index.embedded.retention import read_retention
from index.errors import PecaError
from index.gallery import embedded_folder, is_milvus, shown_address
from index.wording import counted
from server.metrics import RETENTION_AHEAD, RETENTION_IMAGES, RETENTION_SUCCESS
from server.services.removal import Removal

_LOGGER = logging.getLogger(__name__)
_NO_RULES = (
    "no image of %s is removed for its age: a gallery in Milvus has no rules of retention; have a job send "
    "DELETE /images with before=, and set PECA_RETENTION_MINUTES=0 to end this warning"
)


class Retaining:
    """A thread that looks for images that are due at once, and so many seconds after each look.

    The rules stand in the gallery's file and are read at each look, so that new ones count without a restart.
    A gallery in Milvus has none: the log says so once, and nothing is done.

    Args:
        gallery: Its address.
        removal: Removes them, and has the audit log say so.
        every_s: Pause between two looks.
    """

    def __init__(self, gallery: str, removal: Removal, every_s: float) -> None:
        self._gallery = gallery
        self._removal = removal
        self._every_s = every_s
        self._ahead = 0
        self._closed = Event()
        self._thread = Thread(target=self._work, name="peca-retention", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; the part of a removal that is under way is finished."""
        self._closed.set()
        self._thread.join()

    def _work(self) -> None:
        if is_milvus(self._gallery):
            _LOGGER.warning(_NO_RULES, shown_address(self._gallery))
            return
        while not self._closed.is_set():
            self._look()
            self._closed.wait(self._every_s)

    def _look(self) -> None:
        """Remove what is due; what cannot be removed now is due at the next look too."""
        try:
            folder = embedded_folder(self._gallery)
            if folder is None:
                return
            removed = self._remove_due(folder)
        except PecaError as error:
            _LOGGER.error("retention cannot be applied now, and will be tried again: %s", error)
        except Exception:  # the thread must go on; the trace says what was not foreseen
            _LOGGER.exception("retention could not be applied, and will be tried again")
        else:
            RETENTION_SUCCESS.set(time.time())
            if removed:
                told = counted(removed, "image")
                _LOGGER.info("%s removed, kept for as long as the rules of retention say", told)

    def _remove_due(self, folder: Path) -> int:
        removed, now, rules = 0, datetime.now(UTC), read_retention(folder)
        self._tell_dated_ahead(sum(camera.count for camera in erasable(folder, rules.dated_ahead(now))))
        for where in rules.due(now):
            for part in self._removal.run_due(where):
                removed += part
                RETENTION_IMAGES.inc(part)
                if self._closed.is_set():
                    return removed
        return removed

    def _tell_dated_ahead(self, count: int) -> None:
        """Say so where images came that are dated ahead of this machine's clock."""
        if count > self._ahead:
            _LOGGER.warning(
                "%s dated more than a day ahead of this machine's clock, and due by so much later; "
                "peca gallery retention names the cameras",
                f"{counted(count, 'image')} {'is' if count == 1 else 'are'}",
            )
        self._ahead = count
        RETENTION_AHEAD.set(count)
