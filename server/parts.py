"""What a running server is made of, opened and closed together."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from exporter.bundle import default_bundle
from exporter.runtime import Encoder, load_encoder
from index.gallery import Gallery, check_spec, embedded_folder, open_gallery, shown_address
from index.generations import other_generations
from index.images import FOLDER_NAME
from index.wording import counted
from server.audit import Action, AuditLog
from server.batching import EncodingQueue
from server.errors import ServerStopping
from server.events import Events
from server.images import ImageStore
from server.keys import KeyStore, StoredKey, open_keys
from server.rates import KeyTurns, RateLimit, SignInLimit
from server.readiness import Readiness
from server.retention import Retaining
from server.services.attending import Attendant, Sender
from server.services.catalogue import Catalogue
from server.services.encoder import CurrentEncoder, Reload
from server.services.export import Export
from server.services.hits import Hits
from server.services.ingest import Ingest
from server.services.quality import Qualities
from server.services.query_images import QueryImages
from server.services.removal import Removal
from server.services.review import Review
from server.services.search import Search
from server.services.sign_in import SignIn
from server.services.watching import Watching
from server.services.watchlists import Watchlists
from server.sessions import Sessions
from server.settings import Settings
from server.trail import AuditTrail
from server.watch_store import WatchStore

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a running server."""

    settings: Settings
    encoder: CurrentEncoder
    reload: Reload
    keys: KeyStore
    rates: RateLimit
    turns: KeyTurns
    sessions: Sessions
    sign_ins: SignInLimit
    sign_in: SignIn
    watchlists: Watchlists
    hits: Hits
    events: Events
    audit: AuditLog
    catalogue: Catalogue
    encoding: EncodingQueue
    readiness: Readiness
    search: Search
    ingest: Ingest
    removal: Removal
    review: Review
    export: Export
    qualities: Qualities


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
        current = CurrentEncoder(encoder or _load_encoder(settings), partial(_load_encoder, settings))
        opened_here = gallery is None
        if gallery is None:
            gallery = stack.enter_context(
                closing(open_gallery(settings.gallery, current.spec, device=settings.device))
            )
            _tell_other_generations(settings.gallery)
        check_spec(gallery.spec, current.spec)
        audit = stack.enter_context(closing(AuditLog(folder)))
        watch_store = stack.enter_context(closing(WatchStore(folder)))
        events = Events(watch_store)
        keys = _open_keys(settings, audit, events)
        watching = Watching(
            watch_store,
            gallery,
            audit,
            events,
            current.spec.encoder,
            keys.holders,
            settings.max_watchlist_hits,
        )
        catalogue = Catalogue(gallery, images or ImageStore(folder / FOLDER_NAME), watching)
        trail = stack.enter_context(closing(AuditTrail(folder, audit.durable_end)))
        encoding = stack.enter_context(closing(EncodingQueue(current, settings.max_waiting_images)))
        ingest = stack.enter_context(closing(Ingest(catalogue, encoding, audit, settings)))
        search = Search(catalogue, encoding, audit, settings, current.spec.encoder)
        review = Review(audit, trail, settings)
        audit.append(
            Action.START,
            gallery=shown_address(settings.gallery),
            gallery_name=settings.gallery_name,
            encoder=current.spec.encoder,
            require_case=settings.require_case,
            keys=[key.as_json() for key in keys.keys],
        )
        sessions = _sessions(settings, keys)
        queries = QueryImages(encoding, settings)
        watchlists = Watchlists(
            watch_store, watching, catalogue, queries, audit, settings, current.spec.encoder
        )
        watching.recover()
        sender = Sender(watch_store, audit, settings, keys.holders)
        stack.enter_context(closing(Attendant(watch_store, watching, sender, events)))
        removal = Removal(catalogue, audit)
        if opened_here and settings.retention_minutes:
            every_s = 60 * settings.retention_minutes
            stack.enter_context(closing(Retaining(settings.gallery, removal, every_s)))
        yield Parts(
            settings=settings,
            encoder=current,
            reload=Reload(current, audit),
            keys=keys,
            rates=RateLimit(settings.max_requests_per_minute),
            turns=KeyTurns(),
            sessions=sessions,
            sign_ins=SignInLimit(settings.sign_ins_per_minute),
            sign_in=SignIn(sessions, audit, settings.gallery_name),
            watchlists=watchlists,
            hits=Hits(watch_store, watchlists, audit, events, keys.holders),
            events=events,
            audit=audit,
            catalogue=catalogue,
            encoding=encoding,
            readiness=Readiness(settings, current, encoding, catalogue, keys, audit),
            search=search,
            ingest=ingest,
            removal=removal,
            review=review,
            export=Export(review, catalogue),
            qualities=Qualities(catalogue, current.spec.encoder),
        )


def _tell_other_generations(gallery: str) -> None:
    """Say that what is removed while the server runs stays in the generations that are not in use."""
    if embedded_folder(gallery) is None:
        return
    if others := other_generations(Path(gallery.removeprefix("embedded:"))):
        _LOGGER.warning(
            "%s of another encoder beside the gallery %s: what this server removes by DELETE or by the rules "
            "of retention, stays there until peca gallery erase, or peca gallery reindex --drop-old, which "
            "ends this warning",
            counted(len(others), "generation"),
            shown_address(gallery),
        )


def _load_encoder(settings: Settings) -> Encoder:
    return load_encoder(settings.encoder or default_bundle(), settings.provider)


def _open_keys(settings: Settings, audit: AuditLog, events: Events) -> KeyStore:
    def record(keys: Sequence[StoredKey]) -> None:
        audit.append(Action.KEYS, change="noticed", keys=[key.as_json() for key in keys])
        events.publish()  # whoever tends the watchlists looks whose makers have left

    keys, new_admin_key = open_keys(settings.data_folder, record)
    if new_admin_key is not None:
        # Plain print, since a log or a terminal library may colour, wrap or swallow the line.
        print(f"admin key (shown once): {new_admin_key}", flush=True)
    return keys


def _sessions(settings: Settings, keys: KeyStore) -> Sessions:
    idle, longest = timedelta(minutes=settings.session_idle_minutes), timedelta(hours=settings.session_hours)
    return Sessions(keys, idle, longest)


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
