"""What the server counts, for Prometheus."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from index.errors import PecaError
from index.records import ANY
from server.access import Permission
from server.auth import keyed_router, needs
from server.metrics import DISK_FREE_BYTES, GALLERY_IMAGES, INFO, QUEUE_IMAGES, READY, REGISTRY
from server.parts import OpenParts, Parts
from server.readiness import disk_left
from server.routes.health import engine_version


def metrics_router(is_open: bool) -> APIRouter:
    """``GET /metrics``, for keys that may, or for everybody."""
    router = APIRouter(tags=["server"]) if is_open else keyed_router("server")
    router.get(
        "/metrics",
        summary="What the server counts",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        openapi_extra=None if is_open else needs(Permission.METRICS),
    )(metrics)
    return router


def metrics(parts: OpenParts) -> Response:
    """Counters, gauges and histograms in Prometheus' text format.

    Needs a key of the role admin, or the setting ``metrics_open``.
    """
    _look(parts)
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


def _look(parts: Parts) -> None:
    """Set what is not counted as it happens."""
    for lane, images in parts.encoding.waiting().items():
        QUEUE_IMAGES.labels(lane).set(images)
    INFO.clear()
    gallery = parts.settings.gallery.partition(":")[0]
    INFO.labels(engine_version(), parts.encoder.spec.encoder, parts.encoder.provider, gallery).set(1)
    try:
        DISK_FREE_BYTES.set(disk_left(parts.settings))
        GALLERY_IMAGES.set(parts.catalogue.count(ANY))
        parts.readiness.check()
    except PecaError:  # then the gauge says it, and the rest is still told
        READY.set(0)
    else:
        READY.set(1)
