"""What the server counts and times, for Prometheus; one registry a process."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Stage(StrEnum):
    """A part of the way from a request to its answer."""

    DECODE = "decode"
    WAIT = "wait"
    ENCODE = "encode"
    SEARCH = "search"
    STORE = "store"
    AUDIT = "audit"


REQUESTS = Counter(
    "peca_requests_total", "Answers, by route and status.", ["route", "status"], registry=REGISTRY
)
REQUEST_SECONDS = Histogram(
    "peca_request_seconds",
    "From a request's first byte to its answer's last.",
    ["route"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
PROBLEMS = Counter(
    "peca_problems_total",
    "Requests that were refused or failed, by kind of problem.",
    ["problem"],
    registry=REGISTRY,
)
STAGE_SECONDS = Histogram(
    "peca_stage_seconds",
    "Where the time goes: decode (a request's images), wait (for the encoder), encode (a batch), search "
    "(the gallery), store (a batch of images, durably), audit (a record, durably).",
    ["stage"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
BATCH_IMAGES = Histogram(
    "peca_encoder_batch_images",
    "Images that were encoded together.",
    buckets=(1, 2, 4, 8, 16, 32),
    registry=REGISTRY,
)
ENCODER_ERRORS = Counter(
    "peca_encoder_errors_total", "Batches that the encoder failed on.", registry=REGISTRY
)
IMAGES = Counter(
    "peca_images_total", "Image files that came in, by what became of them.", ["status"], registry=REGISTRY
)
RETENTION_IMAGES = Counter(
    "peca_retention_images_total",
    "Images removed because they were kept for as long as the gallery's rules say.",
    registry=REGISTRY,
)
RETENTION_SUCCESS = Gauge(
    "peca_retention_success_timestamp_seconds",
    "When what was due by the gallery's rules was last removed, or nothing was due; seconds since 1970.",
    registry=REGISTRY,
)
RETENTION_AHEAD = Gauge(
    "peca_retention_images_dated_ahead",
    "Images whose capture lies more than a day ahead, as by a wrong clock, and that are due so much later.",
    registry=REGISTRY,
)
OPEN_REQUESTS = Gauge("peca_open_requests", "Requests in work that carry a body.", registry=REGISTRY)
OPEN_BYTES = Gauge("peca_open_request_bytes", "Bytes of their bodies.", registry=REGISTRY)
QUEUE_IMAGES = Gauge(
    "peca_encoder_queue_images", "Images that wait for the encoder or are in it.", ["lane"], registry=REGISTRY
)
GALLERY_IMAGES = Gauge("peca_gallery_images", "Images of the gallery.", registry=REGISTRY)
DISK_FREE_BYTES = Gauge("peca_disk_free_bytes", "Left on the disk of the data folder.", registry=REGISTRY)
READY = Gauge("peca_ready", "1 where the server can serve, as /readyz says, else 0.", registry=REGISTRY)
INFO = Gauge(
    "peca_info", "What runs here; always 1.", ["version", "encoder", "provider", "gallery"], registry=REGISTRY
)

for _stage in Stage:
    STAGE_SECONDS.labels(_stage)


def observe(stage: Stage, seconds: float) -> None:
    """Note how long a stage took."""
    STAGE_SECONDS.labels(stage).observe(seconds)


@contextmanager
def timed(stage: Stage) -> Iterator[None]:
    """Note how long what stands under ``with`` took, also where it failed."""
    began = time.perf_counter()
    try:
        yield
    finally:
        observe(stage, time.perf_counter() - began)
