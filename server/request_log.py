"""Each request by its id: in the answer, in every line of the log, and in the counts."""

import logging
import re
import time
import uuid
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from server.metrics import REQUEST_SECONDS, REQUESTS

HEADER = "X-Request-ID"
_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REFUSED = (401, 403, 429)
_LOGGER = logging.getLogger("peca.requests")


class RequestLog:
    """ASGI middleware that names each request, times it, and tells of it in one line of the log.

    The line holds method, route, status, time and the id of a key that is known, and of a request that was
    refused (401, 403, 429) the client's address: no address of an image, no field of a form or of a query,
    so neither a case nor a person. A client's own id is taken where it is of letters, digits, dots, hyphens
    and underscores, at most 64.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        offered = Headers(scope=scope).get(HEADER, "")
        request_id = offered if _FORM.fullmatch(offered) else uuid.uuid4().hex
        began, status = time.perf_counter(), 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        with bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_named)
            except Exception:
                # Here and not by the server, whose line would not carry the id that the client was told.
                _LOGGER.exception("request failed")
            finally:
                _note(scope, status, time.perf_counter() - began)


def address_of(request: Request) -> str:
    """Where a request comes from, as the server or a proxy that it trusts sees it; only an address is one."""
    try:
        return str(ip_address(request.client.host if request.client is not None else ""))
    except ValueError:
        return "unknown"


def _note(scope: Scope, status: int, seconds: float) -> None:
    # A path names images and searches; the route that it fits does not.
    route = f"{scope['method']} {getattr(scope.get('route'), 'path', 'unknown')}"
    if route.endswith(" unknown"):
        route = "unknown"
    REQUESTS.labels(route, status).inc()
    REQUEST_SECONDS.labels(route).observe(seconds)
    holder = scope.get("state", {}).get("holder")
    told = {"route": route, "status": status, "ms": round(seconds * 1000, 1)}
    if holder is not None:
        told["key_id"] = holder.key_id
    if status in _REFUSED:
        told["address"] = address_of(Request(scope))
    _LOGGER.info("request", extra=told)
