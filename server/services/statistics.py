"""What the gallery holds, how it grows, and what room is left."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from index.records import CameraSummary, Where
from index.space import Modality
from server.access import Holder
from server.errors import StorageUnavailable
from server.services.catalogue import Catalogue
from server.settings import Settings

HOURS = 24


@dataclass(frozen=True, slots=True)
class HourCount:
    """How many images were captured in the hour that begins at ``hour``, UTC, by camera and modality."""

    hour: datetime
    counts: dict[tuple[str, Modality], int]

    @property
    def images(self) -> int:
        """Of all cameras."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Statistics:
    """What one holder may know of the gallery.

    Attributes:
        cameras: Counts and times by camera and modality.
        hours: Of the last ``HOURS``, oldest first; the last one is not over.
        disk_free_bytes: Of the disk that holds the data folder.
        disk_total_bytes: Its size.
    """

    cameras: Sequence[CameraSummary]
    hours: Sequence[HourCount]
    disk_free_bytes: int
    disk_total_bytes: int


def statistics(catalogue: Catalogue, settings: Settings, holder: Holder, now: datetime) -> Statistics:
    """Count what ``holder`` may see.

    Args:
        catalogue: The images.
        settings: Of the server.
        holder: Who asks.
        now: The instant to count back from; time zone required.

    Raises:
        StorageUnavailable: The disk does not say how much room it has.
    """
    latest = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [latest - timedelta(hours=back) for back in reversed(range(HOURS))]
    try:
        disk = shutil.disk_usage(settings.data_folder)
    except OSError as error:
        raise StorageUnavailable(f"the disk of {settings.data_folder} cannot be read: {error}") from error
    return Statistics(
        catalogue.cameras(holder),
        [HourCount(hour, _counts(catalogue.cameras(holder, _within(hour)))) for hour in hours],
        disk.free,
        disk.total,
    )


def _counts(cameras: Sequence[CameraSummary]) -> dict[tuple[str, Modality], int]:
    return {(camera.camera_id, camera.modality): camera.count for camera in cameras}


def _within(hour: datetime) -> Where:
    return Where(after=hour, before=hour + timedelta(hours=1))
