"""Whether the server lives, whether it can serve, and what it is."""

from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from server.access import Permission
from server.auth import keyed_router, needs
from server.parts import OpenParts
from server.schemas import Health, Version

open_router = APIRouter(tags=["server"])
router = keyed_router("server")


@open_router.get("/healthz", summary="Does the process live")
async def healthz() -> Health:  # by no thread, of which others may leave none
    """Answers while the process lives; needs no key."""
    return Health(status="ok")


@open_router.get("/readyz", summary="Can it serve")
def readyz(parts: OpenParts) -> Health:
    """Answers ``ok`` while encoder, gallery, keys, audit log and disks do their work; needs no key."""
    parts.readiness.check()
    return Health(status="ok")


@open_router.get("/version", summary="What runs here")
def what_runs(parts: OpenParts) -> Version:
    """The engine's version, the encoder and what runs it, and the gallery's engine; needs no key."""
    return Version(
        version=engine_version(),
        encoder=parts.encoder.spec.encoder,
        provider=parts.encoder.provider,
        gallery=parts.settings.gallery.partition(":")[0],
        device=parts.catalogue.device,
        device_reason=parts.catalogue.device_reason,
    )


@router.get("/openapi.json", include_in_schema=False, openapi_extra=needs(Permission.DOCUMENT))
def openapi_document(request: Request) -> JSONResponse:
    """The OpenAPI document of this server."""
    return JSONResponse(request.app.openapi())


def engine_version() -> str:
    """Of the installed distribution."""
    try:
        return version("peca")
    except PackageNotFoundError:
        return "uninstalled source tree"
