"""The cameras that the gallery has images of."""

from dataclasses import asdict

from index.records import CameraSummary
from server.access import Permission
from server.auth import TheCaller, keyed_router, needs
from server.parts import OpenParts
from server.routes.filters import ONCE, TheNamedList, name_cursor
from server.schemas import Camera, CamerasAnswer

router = keyed_router("gallery")


@router.get("/cameras", summary="List the cameras", dependencies=[ONCE], openapi_extra=needs(Permission.VIEW))
def list_cameras(parts: OpenParts, caller: TheCaller, page: TheNamedList) -> CamerasAnswer:
    """One item a camera and modality, with how many images and from when to when."""
    found = sorted(parts.catalogue.cameras(caller.holder), key=_place)
    before = page.last
    left = [one for one in found if before is None or _place(one) > (before[1], before[0])]
    shown = left[: page.limit]
    return CamerasAnswer(
        items=[Camera(**asdict(camera)) for camera in shown],
        next_cursor=_cursor_after(shown[-1]) if len(left) > page.limit else None,
    )


def _cursor_after(camera: CameraSummary) -> str:
    return name_cursor(camera.modality.value, camera.camera_id)


def _place(camera: CameraSummary) -> tuple[str, str]:
    return camera.camera_id, camera.modality.value
