"""What an operator can set: by argument, or by an environment variable ``PECA_`` + the name."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

LARGEST_IMAGE_PIXELS = 80_000_000

_EMBEDDED = "embedded:"


class Settings(BaseSettings):
    """The server's settings; the environment is read when one is made, never at import.

    Attributes:
        gallery: Address of the gallery.
        encoder: Folder of the encoder bundle; the one that ships where not given.
        provider: What runs the encoder: ``auto``, ``cuda`` or ``cpu``.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        data_dir: Folder of image files, keys and audit log; see ``data_folder``.
        max_request_bytes: A larger request body is refused before it is read to its end.
        max_image_bytes: A larger image file is refused.
        max_image_pixels: An image of more pixels is refused before it is decoded.
        max_batch_images: Most images of one ``POST /images``.
        max_search_limit: Most results of one search.
        max_waiting_images: Most images that wait for the encoder, of searches and of ingests each.
        require_case: Refuse a search that names no case or no reason.
        max_requests_per_minute: Most requests a minute of a key without a limit of its own; ``None`` for
            no limit.
    """

    model_config = SettingsConfigDict(env_prefix="PECA_", frozen=True, extra="forbid")

    gallery: str = "embedded:peca-data"
    encoder: Path | None = None
    provider: str = "auto"
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    data_dir: Path | None = None
    max_request_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    max_image_bytes: int = Field(default=20 * 1024 * 1024, ge=1024)
    max_image_pixels: int = Field(default=40_000_000, ge=1, le=LARGEST_IMAGE_PIXELS)
    max_batch_images: int = Field(default=256, ge=1, le=1000)
    max_search_limit: int = Field(default=500, ge=1, le=10_000)
    max_waiting_images: int = Field(default=1024, ge=1)
    require_case: bool = False
    max_requests_per_minute: int | None = Field(default=None, ge=1)

    @property
    def data_folder(self) -> Path:
        """``data_dir``, else the folder of an embedded gallery, else ``peca-data``."""
        if self.data_dir is not None:
            return self.data_dir
        if self.gallery.startswith(_EMBEDDED):
            return Path(self.gallery.removeprefix(_EMBEDDED))
        return Path("peca-data")
