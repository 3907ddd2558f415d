"""What a running server is made of, opened and closed together."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from exporter.bundle import default_bundle
from exporter.runtime import Encoder, load_encoder
from index.gallery import Gallery, check_spec, open_gallery
from index.images import FOLDER_NAME
from server.audit import Action, AuditLog
from server.batching import EncodingQueue
from server.errors import ServerStopping
from server.images import ImageStore
from server.keys import KeyStore, StoredKey, open_keys
from server.rates import RateLimit
from server.services.catalogue import Catalogue
from server.services.ingest import Ingest
from server.services.removal import Removal
from server.services.review import Review
from server.services.search import Search
from server.settings import Settings
from server.trail import AuditTrail


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a running server."""

    settings: Settings
    encoder: Encoder
    keys: KeyStore
    rates: RateLimit
    catalogue: Catalogue
    search: Search
    ingest: Ingest
    removal: Removal
    review: Review


@contextmanager
def opened(
    settings: Settings,
    encoder: Encoder | None = None,
    gallery: Gallery | None = None,
    images: ImageStore | None = None,
) -> Iterator[Parts]:
    """Open what was not handed in, and close only that.

    Raises:
        PecaError: A part cannot be opened; the message says which and why.
    """
    folder = settings.data_folder
    with ExitStack() as stack:
        if encoder is None:
            encoder = load_encoder(settings.encoder or default_bundle(), settings.provider)
        if gallery is None:
            gallery = stack.enter_context(closing(open_gallery(settings.gallery, encoder.spec)))
        check_spec(gallery.spec, encoder.spec)
        catalogue = Catalogue(gallery, images or ImageStore(folder / FOLDER_NAME))
        audit = stack.enter_context(closing(AuditLog(folder)))
        trail = stack.enter_context(closing(AuditTrail(folder)))
        encoding = stack.enter_context(closing(EncodingQueue(encoder, settings.max_waiting_images)))
        ingest = stack.enter_context(closing(Ingest(catalogue, encoding, settings)))
        search = Search(catalogue, encoding, audit, settings, encoder.spec.encoder)
        keys = _open_keys(settings, audit)
        audit.append(
            Action.START,
            gallery=settings.gallery,
            encoder=encoder.spec.encoder,
            require_case=settings.require_case,
            keys=[key.as_json() for key in keys.keys],
        )
        yield Parts(
            settings=settings,
            encoder=encoder,
            keys=keys,
            rates=RateLimit(settings.max_requests_per_minute),
            catalogue=catalogue,
            search=search,
            ingest=ingest,
            removal=Removal(catalogue, audit),
            review=Review(audit, trail),
        )


def _open_keys(settings: Settings, audit: AuditLog) -> KeyStore:
    def record(keys: Sequence[StoredKey]) -> None:
        audit.append(Action.KEYS, change="noticed", keys=[key.as_json() for key in keys])

    keys, new_admin_key = open_keys(settings.data_folder, record)
    if new_admin_key is not None:
        # Plain print, since a log or a terminal library may colour, wrap or swallow the line.
        print(f"admin key (shown once): {new_admin_key}", flush=True)
    return keys


async def parts_of(request: Request) -> Parts:
    """The parts of the server that ``request`` came to.

    Raises:
        ServerStopping: They are not open: the application was not started, or has ended.
    """
    parts: Parts | None = getattr(request.app.state, "parts", None)
    if parts is None:
        raise ServerStopping("the server is not running: its application was not started, or has ended")
    return parts


OpenParts = Annotated[Parts, Depends(parts_of)]
