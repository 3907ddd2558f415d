"""What a gallery in Milvus holds of each camera, kept up to date without reading every row again."""

import time
from collections.abc import Iterable
from threading import Lock
from typing import Any
from urllib.parse import unquote

from index.milvus_rows import moment
from index.milvus_table import Table
from index.records import ANY, CameraSummary, Where
from index.space import Modality

_FIELDS = ("image_id", "position", "camera_id", "modality", "captured_at")
_SLACK_US = 120_000_000
"""How far the clocks of servers may differ, and how late a row may come to be seen, in microseconds."""

_Sums = dict[tuple[str, str], tuple[int, int, int]]


class CameraBook:
    """Counts and instants by camera and modality; Milvus sums nothing, so rows are read.

    Once read, only what came since is read again, by its position in time. Where the sum is not the count
    then, something was removed, and all is read anew.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._lock = Lock()
        self._sums: _Sums = {}
        self._recent: dict[str, int] = {}
        self._since = 0

    def summaries(self, where: Where) -> list[CameraSummary]:
        """See ``Gallery.cameras``."""
        if where != ANY:
            sums: _Sums = {}
            for page in self._table.pages(where, _FIELDS):
                _merge(sums, page)
            return _summaries(sums)
        with self._lock:
            self._catch_up()
            if sum(count for count, _, _ in self._sums.values()) != self._table.count(ANY):
                self._sums, self._recent, self._since = {}, {}, 0
                self._catch_up()
            return _summaries(self._sums)

    def _catch_up(self) -> None:
        """Take in the rows that came since the last time."""
        until = time.time_ns() // 1000 - _SLACK_US
        for page in self._table.pages(ANY, _FIELDS, beyond=self._since):
            new = [row for row in page if self._recent.get(row["image_id"]) != row["position"]]
            _merge(self._sums, new)
            self._recent.update((row["image_id"], row["position"]) for row in new if row["position"] > until)
        self._recent = {image_id: place for image_id, place in self._recent.items() if place > until}
        self._since = until


def _merge(sums: _Sums, rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        key, instant = (row["camera_id"], row["modality"]), row["captured_at"]
        count, first, latest = sums.get(key, (0, instant, instant))
        sums[key] = (count + 1, min(first, instant), max(latest, instant))


def _summaries(sums: _Sums) -> list[CameraSummary]:
    found = [
        CameraSummary(unquote(camera), Modality(modality), count, moment(first), moment(latest))
        for (camera, modality), (count, first, latest) in sums.items()
    ]
    return sorted(found, key=lambda one: (one.camera_id, one.modality))
