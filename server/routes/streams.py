"""Answers that are sent as they are made."""

from collections.abc import AsyncIterator, Callable, Iterator

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Stream(StreamingResponse):
    """Gives its place back at its end, also where its reader left before the first part.

    Args:
        parts: What is sent.
        give_back: Called once.
        media_type: Of the answer.
        headers: Of it.
    """

    def __init__(
        self,
        parts: AsyncIterator[bytes] | Iterator[bytes],
        give_back: Callable[[], None],
        media_type: str,
        headers: dict[str, str],
    ) -> None:
        super().__init__(parts, media_type=media_type, headers=headers)
        self._give_back = give_back

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._give_back()
