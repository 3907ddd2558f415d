"""The cameras that the gallery has images of."""

from dataclasses import asdict

from server.auth import keyed_router
from server.parts import OpenParts
from server.schemas import Camera, CamerasAnswer

router = keyed_router("gallery")


@router.get("/cameras", summary="List the cameras")
def list_cameras(parts: OpenParts) -> CamerasAnswer:
    """One item a camera and modality, with how many images and from when to when."""
    return CamerasAnswer(items=[Camera(**asdict(camera)) for camera in parts.catalogue.cameras()])
