"""How long images are kept, by camera; the rules stand in the gallery."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from index.embedded.store import open_stored, write_rules
from index.errors import InvalidInput
from index.records import Where

LONGEST_DAYS = 36_500
_AHEAD = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Retention:
    """The rules of one gallery; days count from the instant of capture, ``None`` keeps for ever.

    Attributes:
        default_days: Of every camera without a rule of its own.
        camera_days: By camera.

    Raises:
        InvalidInput: A number of days is not between 1 and ``LONGEST_DAYS``.
    """

    default_days: int | None = None
    camera_days: Mapping[str, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for days in (self.default_days, *self.camera_days.values()):
            if days is not None and not 1 <= days <= LONGEST_DAYS:
                raise InvalidInput(f"images are kept 1 to {LONGEST_DAYS} days, or for ever; got {days}")

    def due(self, now: datetime) -> list[Where]:
        """The filters that an image passes one of when it has been kept for as long as it may.

        Args:
            now: With a time zone.
        """
        due = [
            Where(camera_ids=[camera_id], before=now - timedelta(days=days))
            for camera_id, days in self.camera_days.items()
            if days is not None
        ]
        if self.default_days is not None:
            before = now - timedelta(days=self.default_days)
            due.append(Where(exclude_camera_ids=list(self.camera_days), before=before))
        return due

    def dated_ahead(self, now: datetime) -> list[Where]:
        """The filters that an image passes one of whose capture lies more than a day ahead.

        As by a wrong clock; it is due so much later than its rule means.

        Args:
            now: With a time zone.
        """
        return [replace(where, before=None, after=now + _AHEAD) for where in self.due(now)]


def read_retention(folder: Path) -> Retention:
    """The rules of the gallery in ``folder``; another process may write it meanwhile.

    Raises:
        GalleryUnavailable: There is no gallery, or it cannot be read.
    """
    with closing(open_stored(folder, read_only=True)) as stored:
        rules = stored.retention()
    return Retention(rules.pop(None, None), {camera: days for camera, days in rules.items() if camera})


def write_retention(folder: Path, retention: Retention) -> None:
    """Put ``retention`` in the place of the gallery's rules, durably; nothing is erased here.

    A server of the gallery may run meanwhile; it goes by the new rules from its next look on.

    Raises:
        GalleryUnavailable: There is no gallery, or the disk refuses.
    """
    rules: dict[str | None, int | None] = {None: retention.default_days}
    rules.update(retention.camera_days)
    write_rules(folder, rules)
