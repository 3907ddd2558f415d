"""Lists that come in pages, item by item."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol, TypeVar

_T_co = TypeVar("_T_co", covariant=True)
_T = TypeVar("_T")


class Page(Protocol[_T_co]):
    """Some items of a list, and what asks for the next ones."""

    @property
    def items(self) -> tuple[_T_co, ...]:
        """In the order of the list."""

    @property
    def next_cursor(self) -> str | None:
        """``None`` on the last page."""


def each(read: Callable[..., Page[_T]], *args: Any, **options: Any) -> Iterator[_T]:
    """Every item of a list, page after page, each fetched when it is needed.

    Args:
        read: ``images``, ``searches``, ``audit``, ``hits`` or ``watchlist_hits`` of a ``PecaClient``.
        args: What it is called with, as ``options``; ``limit`` is then the size of a page.
        options: But ``cursor``, which is minded here.
    """
    cursor = None
    while True:
        page = read(*args, **options, cursor=cursor)
        yield from page.items
        if (cursor := page.next_cursor) is None:
            return


async def aeach(read: Callable[..., Awaitable[Page[_T]]], *args: Any, **options: Any) -> AsyncIterator[_T]:
    """``each`` for the methods of an ``AsyncPecaClient``."""
    cursor = None
    while True:
        page = await read(*args, **options, cursor=cursor)
        for item in page.items:
            yield item
        if (cursor := page.next_cursor) is None:
            return
