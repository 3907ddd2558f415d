"""Lists that come in pages, item by item."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

import httpx

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


@dataclass(frozen=True, slots=True)
class Part(Generic[_T]):
    """A page of a list that the client gives as a whole."""

    items: tuple[_T, ...]
    next_cursor: str | None

    @classmethod
    def read(cls, read: Callable[[Any], _T], response: httpx.Response) -> Self:
        """That of an answer, each item by ``read``; earlier servers had no pages here."""
        value = response.json()
        return cls(tuple(map(read, value["items"])), value.get("next_cursor"))


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
