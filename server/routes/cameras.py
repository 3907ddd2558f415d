"""The cameras that the gallery has images of."""

from dataclasses import asdict

from server.access import Permission
from server.auth import TheCaller, keyed_router, needs
from server.parts import OpenParts
from server.schemas import Camera, CamerasAnswer

router = keyed_router("gallery")


@router.get("/cameras", summary="List the cameras", openapi_extra=needs(Permission.VIEW))
def list_cameras(parts: OpenParts, caller: TheCaller) -> CamerasAnswer:
    """One item a camera and modality, with how many images and from when to when."""
    return CamerasAnswer(
        items=[Camera(**asdict(camera)) for camera in parts.catalogue.cameras(caller.holder)]
    )
