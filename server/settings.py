"""What an operator can set: by argument, or by an environment variable ``PECA_`` + the name."""

from collections.abc import Iterable
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Self

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from index.errors import InvalidInput
from index.gallery import Device
from server.logs import LogForm, LogLevel

LARGEST_IMAGE_PIXELS = 80_000_000
MOST_BATCH_IMAGES = 1000

_EMBEDDED = "embedded:"
_PREFIX = "PECA_"
_OF_OTHERS = (
    "PECA_URL",
    "PECA_API_KEY",
    "PECA_MILVUS_TOKEN",
    "PECA_RAND_PERM",
    "PECA_SHARED",
    "PECA_SCREENSHOTS",
)
"""What the clients, the gallery and the checks of this project read of the environment."""
_OF_TESTS = "PECA_TEST_"
_EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class Settings(BaseSettings):
    """The server's settings; the environment is read when one is made, never at import.

    Attributes:
        gallery: Address of the gallery.
        encoder: Folder of the encoder bundle; the one that ships where not given.
        provider: What runs the encoder: ``auto``, or a provider of ``exporter.providers``.
        device: What searches an embedded gallery: ``auto``, ``cpu`` or ``cuda``.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        data_dir: Folder of image files, keys and audit log; see ``data_folder``.
        max_request_bytes: A larger request body is refused before it is read to its end.
        max_image_bytes: A larger image file is refused.
        max_image_pixels: An image of more pixels is refused before it is decoded.
        max_batch_images: Most images of one ``POST /images``.
        max_search_limit: Most results of one search.
        max_waiting_images: Most images that wait for the encoder, of searches and of ingests each.
        require_case: Refuse a search, a watchlist or a list of people or tracks that names no case or no
            reason.
        max_requests_per_minute: Most requests a minute of a key without a limit of its own; ``None`` for
            no limit.
        gallery_name: What this server's gallery is called; a key may be limited to galleries by name.
        request_timeout_s: A request that is not answered so long after its body came is given up.
        body_timeout_s: A request body that is not here by then is not waited for.
        max_open_requests: Most requests with a body that are in work at once.
        max_open_bytes: Most bytes of them together.
        min_free_disk_bytes: With less left on the disk the server is not ready and takes no images.
        retention_minutes: So often are images removed that the gallery's rules keep no longer; 0 for never.
        stop_grace_s: So long may requests under way take once the server is told to stop.
        metrics_open: ``GET /metrics`` asks for no key.
        log_form: How a line of the log is written, ``text`` or ``json``.
        log_level: From which weight on an event is logged.
        tls_cert: PEM file of the server's certificate and those that vouch for it; given, the server
            speaks HTTPS only.
        tls_key: PEM file of the certificate's key; given with ``tls_cert`` alone.
        session_idle_minutes: A browser's session that is not used for so long has ended.
        session_hours: No browser's session lives longer.
        sign_ins_per_minute: Most attempts to sign in of one address.
        trusted_proxies: Addresses and networks, with commas between, whose word is taken for where a
            request comes from and whether it came by TLS; nobody's where empty.
        max_watchlists: Most watchlists that stand at once.
        max_watchlist_days: No watchlist lives longer; also how long one lives that does not say.
        max_watchlist_hits: A watchlist that found so many images ends.
        webhooks_allow_private: Webhooks may go to addresses that are not public, and over plain HTTP: to
            none, to all, or to addresses and networks with commas between.
        webhook_attempts: How often a webhook is tried before it is given up, with growing pauses.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid")

    gallery: str = "embedded:peca-data"
    encoder: Path | None = None
    provider: str = "auto"
    device: Device = Device.AUTO
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    data_dir: Path | None = None
    max_request_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    max_image_bytes: int = Field(default=20 * 1024 * 1024, ge=1024)
    max_image_pixels: int = Field(default=40_000_000, ge=1, le=LARGEST_IMAGE_PIXELS)
    max_batch_images: int = Field(default=256, ge=1, le=MOST_BATCH_IMAGES)
    max_search_limit: int = Field(default=500, ge=1, le=10_000)
    max_waiting_images: int = Field(default=1024, ge=1)
    require_case: bool = False
    max_requests_per_minute: int | None = Field(default=None, ge=1)
    request_timeout_s: float = Field(default=30, gt=0, le=3600)
    body_timeout_s: float = Field(default=60, gt=0, le=3600)
    max_open_requests: int = Field(default=128, ge=1, le=1000)
    max_open_bytes: int = Field(default=512 * 1024 * 1024, ge=1024)
    min_free_disk_bytes: int = Field(default=512 * 1024 * 1024, ge=0)
    retention_minutes: float = Field(default=60, ge=0, le=7 * 24 * 60)
    stop_grace_s: int = Field(default=30, ge=1, le=3600)
    metrics_open: bool = False
    log_form: LogForm = LogForm.TEXT
    log_level: LogLevel = LogLevel.INFO
    gallery_name: str = Field(default="main", min_length=1, max_length=200)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    session_idle_minutes: int = Field(default=30, ge=1, le=24 * 60)
    session_hours: int = Field(default=12, ge=1, le=24 * 31)
    sign_ins_per_minute: int = Field(default=10, ge=1)
    trusted_proxies: str = ""
    max_watchlists: int = Field(default=1000, ge=0)
    max_watchlist_days: int = Field(default=90, ge=1, le=3660)
    max_watchlist_hits: int = Field(default=100_000, ge=1)
    webhooks_allow_private: bool | str = False
    webhook_attempts: int = Field(default=12, ge=1, le=30)

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key are given together, or neither")
        return self

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, said: str) -> str:
        _networks(said)
        return ",".join(_names(said))

    @field_validator("webhooks_allow_private", mode="before")
    @classmethod
    def _check_private(cls, said: object) -> object:
        try:
            return TypeAdapter(bool).validate_python(said)
        except ValidationError:
            if not isinstance(said, str):
                raise
        try:
            _networks(said)
            return ",".join(_names(said))
        except ValueError as error:
            raise ValueError(f"expected true, false or networks; as networks, {error}") from error

    @property
    def webhook_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of which ``webhooks_allow_private`` allows every address."""
        said = self.webhooks_allow_private
        if isinstance(said, str):
            return _networks(said)
        return _EVERYWHERE if said else ()

    @property
    def folders(self) -> set[Path]:
        """Where this server writes: the data folder, and an embedded gallery's where that is another."""
        gallery = self.gallery.removeprefix(_EMBEDDED)
        return {self.data_folder, *([Path(gallery)] if gallery != self.gallery else ())}

    @property
    def data_folder(self) -> Path:
        """``data_dir``, else the folder of an embedded gallery, else ``peca-data``."""
        if self.data_dir is not None:
            return self.data_dir
        if self.gallery.startswith(_EMBEDDED):
            return Path(self.gallery.removeprefix(_EMBEDDED))
        return Path("peca-data")


def _names(said: str) -> list[str]:
    return [name.strip() for name in said.split(",") if name.strip()]


def _networks(said: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(map(ip_network, _names(said)))
    except ValueError as error:
        raise ValueError(
            f"expected addresses or networks such as 10.0.0.0/24, with commas between: {error}"
        ) from error


def check_names(names: Iterable[str]) -> None:
    """Refuse variables of the environment that look like settings and are none: a typing error goes unseen.

    Args:
        names: Of the environment's variables.

    Raises:
        InvalidInput: There is such a one; the message names the setting that it resembles.
    """
    known = [_PREFIX + name.upper() for name in Settings.model_fields]
    for name in sorted(names):
        spelt = name.upper()
        if not spelt.startswith(_PREFIX) or spelt.startswith(_OF_TESTS) or spelt in (*known, *_OF_OTHERS):
            continue
        nearest = get_close_matches(spelt, known, 1)
        raise InvalidInput(
            f"{name} is no setting of this server"
            + (f"; did you mean {nearest[0]}?" if nearest else "; see docs/settings.md")
        )
