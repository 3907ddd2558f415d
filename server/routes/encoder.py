"""The encoder in use."""

from pydantic import BaseModel, Field

from server.access import Permission
from server.auth import TheCaller, keyed_router, needs
from server.parts import OpenParts

router = keyed_router("server")


class EncoderAnswer(BaseModel):
    """The encoder in use."""

    encoder: str = Field(description="Fingerprint of the encoder bundle.")
    provider: str = Field(description="What runs the encoder.")


@router.post("/encoder/reload", summary="Open the encoder again", openapi_extra=needs(Permission.ENCODER))
def reload_encoder(parts: OpenParts, caller: TheCaller) -> EncoderAnswer:
    """Open the bundle of the settings anew, without a pause; it must be the gallery's encoder."""
    parts.reload.run(caller)
    return EncoderAnswer(encoder=parts.encoder.spec.encoder, provider=parts.encoder.provider)
