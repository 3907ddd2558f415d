"""The application: parts, routes, limits and problems put together, and the server that runs it."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial
from ipaddress import ip_address
from socket import SOCK_STREAM, create_server, getaddrinfo, socket
from types import FrameType

import uvicorn
from anyio import to_thread
from fastapi import FastAPI

from exporter.runtime import Encoder
from index.errors import PecaError
from index.gallery import Gallery
from server.connections import HANDSHAKE_TIMEOUT_S, Connection
from server.heap import give_memory_back
from server.images import ImageStore
from server.installation import check_installation
from server.limits import BodyLimit, Intake
from server.logs import configure_logs
from server.openapi import DescribedApp
from server.parts import Parts, opened
from server.patience import Attendance
from server.problems import add_problem_handlers
from server.processors import share_processors
from server.routes import (
    audit,
    cameras,
    encoder,
    events,
    health,
    hits,
    images,
    keys,
    quality,
    search,
    searches,
    session,
    stats,
    watchlists,
)
from server.routes.metrics import metrics_router
from server.settings import Settings, check_names
from server.tls import check_certificate
from server.web import web_router

API_VERSION = "1"
DESCRIPTION = "Finds a person across the day and night cameras of a site."
ROUTERS = (
    search.router,
    searches.router,
    images.router,
    cameras.router,
    stats.router,
    quality.router,
    encoder.router,
    audit.router,
    session.sign_in_router,
    session.router,
    keys.router,
    watchlists.router,
    hits.router,
    events.router,
    health.router,
    health.open_router,
)
_LOGGER = logging.getLogger(__name__)
_BACKLOG = 2048
_SPARE_THREADS = 40


def create_app(
    settings: Settings,
    *,
    encoder: Encoder | None = None,
    gallery: Gallery | None = None,
    images: ImageStore | None = None,
) -> FastAPI:
    """Build the application; nothing is opened before it starts.

    Args:
        settings: The operator's.
        encoder: Used instead of the bundle of the settings.
        gallery: Used instead of the one of the settings; not closed here.
        images: Used instead of the folder of the settings.
    """
    return _build(settings, lambda: opened(settings, encoder, gallery, images))


def serve(settings: Settings, *, encoder: Encoder | None = None) -> None:
    """Run the server until it is told to stop (SIGTERM or SIGINT); requests under way are finished.

    Prints ``PECA serves at http://HOST:PORT`` on one line once it takes requests; ``https`` with a
    certificate.

    Args:
        settings: The operator's.
        encoder: Used instead of the bundle of the settings.

    Raises:
        PecaError: The installation is not sound, the environment holds a setting that there is not, the
            address cannot be listened on, or a part cannot be opened.
    """
    check_names(os.environ)
    give_memory_back()
    check_installation()
    check_certificate(settings)
    configure_logs(settings.log_form, settings.log_level)
    # Before a key is made, whose one showing would be lost with a start that fails.
    with _listening(settings.host, settings.port) as listener, opened(settings, encoder) as parts:
        _check_reach(settings, parts)
        app = _build(settings, lambda: nullcontext(parts))
        share_processors()
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=Connection,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=settings.stop_grace_s,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
        )
        _Server(config, parts.events.end).run(sockets=[listener])


def _listening(host: str, port: int) -> socket:
    """A socket bound to the address; it takes connections once the server does."""
    try:
        family = getaddrinfo(host, port, type=SOCK_STREAM)[0][0]
        return create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise PecaError(f"cannot listen on {host}, port {port}: {error.strerror}; choose another") from error


def _check_reach(settings: Settings, parts: Parts) -> None:
    """Without a key that opens it, a server has no business beyond this machine; without TLS it is warned.

    Raises:
        PecaError: It would be reachable from elsewhere, and every key is revoked or expired.
    """
    addresses = {str(entry[4][0]) for entry in getaddrinfo(settings.host, None, type=SOCK_STREAM)}
    if all(ip_address(address).is_loopback for address in addresses):
        return
    if not parts.keys.usable():
        raise PecaError(
            f"all API keys are revoked or expired, so listening on {settings.host} is refused; make one "
            "first: peca keys create NAME --role admin"
        )
    if settings.tls_cert is None and not settings.trusted_proxies:
        _LOGGER.warning(
            "listening on %s without TLS: keys and pictures can be read on the way; set tls_cert and "
            "tls_key, or name the proxy that ends TLS in trusted_proxies",
            settings.host,
        )


def _build(settings: Settings, open_parts: Callable[[], AbstractContextManager[Parts]]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with open_parts() as parts:
            app.state.parts = parts
            # Else forty slow requests would keep even a probe from its answer.
            threads = to_thread.current_default_thread_limiter()
            threads.total_tokens = settings.max_open_requests + _SPARE_THREADS
            yield

    app = DescribedApp(
        title="PECA",
        version=API_VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.max_request_bytes,
        timeout_s=settings.body_timeout_s,
        intake=Intake(settings.max_open_requests, settings.max_open_bytes),
    )
    app.add_middleware(Attendance, limit_s=settings.request_timeout_s)
    add_problem_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(metrics_router(settings.metrics_open))
    app.include_router(web_router())
    return app


class _Server(uvicorn.Server):
    """Prints where it serves, and ends quietly on a signal, so that ``serve`` closes what it opened.

    Args:
        config: Uvicorn's.
        end_streams: Called at a signal: an answer without an end would keep the server from ending.
    """

    def __init__(self, config: uvicorn.Config, end_streams: Callable[[], object]) -> None:
        super().__init__(config)
        self._end_streams = end_streams

    async def startup(self, sockets: list[socket] | None = None) -> None:
        if self.config.is_ssl:  # uvicorn has no setting for it, and a handshake may take a minute by itself
            loop = asyncio.get_running_loop()
            listen = partial(loop.create_server, ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S)
            loop.create_server = listen  # type: ignore[method-assign]
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            scheme = "https" if self.config.is_ssl else "http"
            print(f"PECA serves at {scheme}://{f'[{host}]' if ':' in host else host}:{port}", flush=True)

    def handle_exit(self, sig: int, _: FrameType | None) -> None:
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        self._end_streams()
