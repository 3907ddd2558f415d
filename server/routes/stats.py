"""What the gallery holds, how it grows, and what room is left."""

from dataclasses import asdict
from datetime import UTC, datetime

from pydantic import BaseModel, Field

from server.access import Permission
from server.auth import TheCaller, keyed_router, needs
from server.parts import OpenParts
from server.schemas import Camera
from server.services.statistics import statistics

router = keyed_router("gallery")


class Hour(BaseModel):
    """How many images were captured in one hour."""

    hour: datetime = Field(description="When it began, UTC.")
    images: int


class CountedCamera(Camera):
    """What the gallery holds of one camera in one modality, and how much of it is of the last day."""

    hours: list[int] = Field(description="Its images in each of the answer's `hours`.")


class StatsAnswer(BaseModel):
    """What the gallery holds within the limits of the key, and what serves it."""

    images: int
    cameras: list[CountedCamera]
    hours: list[Hour] = Field(description="The last 24, by capture, oldest first; the last is not over.")
    disk_free_bytes: int = Field(description="Of the disk that holds the data folder.")
    disk_total_bytes: int
    gallery: str = Field(description="The gallery's engine.")
    encoder: str = Field(description="Fingerprint of the encoder bundle.")
    provider: str = Field(description="What runs the encoder.")
    dim: int = Field(description="Numbers of an image's vector.")


@router.get("/stats", summary="See what the gallery holds", openapi_extra=needs(Permission.VIEW))
def read_stats(parts: OpenParts, caller: TheCaller) -> StatsAnswer:
    """Counts by camera and modality, images per hour of each and of all, room on the disk, what serves."""
    found = statistics(parts.catalogue, parts.settings, caller.holder, datetime.now(UTC))
    return StatsAnswer(
        images=sum(camera.count for camera in found.cameras),
        cameras=[
            CountedCamera(
                **asdict(camera),
                hours=[one.counts.get((camera.camera_id, camera.modality), 0) for one in found.hours],
            )
            for camera in found.cameras
        ],
        hours=[Hour(hour=one.hour, images=one.images) for one in found.hours],
        disk_free_bytes=found.disk_free_bytes,
        disk_total_bytes=found.disk_total_bytes,
        gallery=parts.settings.gallery.partition(":")[0],
        encoder=parts.encoder.spec.encoder,
        provider=parts.encoder.provider,
        dim=parts.encoder.spec.dim,
    )
