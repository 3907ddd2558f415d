"""The application: parts, routes, limits and problems put together, and the server that runs it."""

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from ipaddress import ip_address
from socket import SOCK_STREAM, create_server, getaddrinfo, socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from exporter.runtime import Encoder
from index.errors import PecaError
from index.gallery import Gallery
from server.images import ImageStore
from server.installation import check_installation
from server.limits import BodyLimit
from server.openapi import DescribedApp
from server.parts import Parts, opened
from server.problems import add_problem_handlers
from server.routes import audit, cameras, health, images, search, searches
from server.settings import Settings

API_VERSION = "1"
DESCRIPTION = "Finds a person across the day and night cameras of a site."
ROUTERS = (
    search.router,
    searches.router,
    images.router,
    cameras.router,
    audit.router,
    health.router,
    health.open_router,
)
_GRACE_S = 30
_BACKLOG = 2048


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

    Prints ``PECA serves at http://HOST:PORT`` on one line once it takes requests.

    Args:
        settings: The operator's.
        encoder: Used instead of the bundle of the settings.

    Raises:
        PecaError: The installation is not sound, the address cannot be listened on, or a part cannot be
            opened.
    """
    check_installation()
    # Before a key is made, whose one showing would be lost with a start that fails.
    with _listening(settings.host, settings.port) as listener, opened(settings, encoder) as parts:
        _check_reach(settings.host, parts)
        app = _build(settings, lambda: nullcontext(parts))
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            timeout_graceful_shutdown=_GRACE_S,
            server_header=False,
        )
        _Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket:
    """A socket bound to the address; it takes connections once the server does."""
    try:
        family = getaddrinfo(host, port, type=SOCK_STREAM)[0][0]
        return create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise PecaError(f"cannot listen on {host}, port {port}: {error.strerror}; choose another") from error


def _check_reach(host: str, parts: Parts) -> None:
    """Without a key that opens it, a server has no business beyond this machine.

    Raises:
        PecaError: It would be reachable from elsewhere, and every key is revoked or expired.
    """
    addresses = {str(entry[4][0]) for entry in getaddrinfo(host, None, type=SOCK_STREAM)}
    if parts.keys.usable() or all(ip_address(address).is_loopback for address in addresses):
        return
    raise PecaError(
        f"all API keys are revoked or expired, so listening on {host} is refused; make one first: "
        "peca keys create NAME --role admin"
    )


def _build(settings: Settings, open_parts: Callable[[], AbstractContextManager[Parts]]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with open_parts() as parts:
            app.state.parts = parts
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
    app.add_middleware(BodyLimit, max_bytes=settings.max_request_bytes)
    add_problem_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    return app


class _Server(uvicorn.Server):
    """Prints where it serves, and ends quietly on a signal, so that ``serve`` closes what it opened."""

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            print(f"PECA serves at http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)

    def handle_exit(self, sig: int, _: FrameType | None) -> None:
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
