"""What every answer tells a browser: keep it, frame it, guess at it or load anything for it, never."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """ASGI middleware that adds ``SECURITY_HEADERS`` where an answer does not set them itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._pairs = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer with the headers."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                set_already = {name.lower() for name, _ in message["headers"]}
                added = [pair for pair in self._pairs if pair[0] not in set_already]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, send_guarded)
