"""Which fields a form may have."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request

from index.errors import InvalidInput


def only_fields(
    single: tuple[str, ...], repeatable: tuple[str, ...]
) -> Callable[[Request], Coroutine[Any, Any, None]]:
    """A dependency that refuses what FastAPI would ignore: a mistyped filter must not be passed over.

    Args:
        single: Fields that stand once at most.
        repeatable: Fields that may stand several times.
    """

    async def check_fields(request: Request) -> None:
        names = [name for name, _ in (await request.form()).multi_items()]
        if unknown := sorted(set(names) - {*single, *repeatable}):
            known = ", ".join((*single, *repeatable))
            raise InvalidInput(f"expected the fields {known}; got also {', '.join(unknown)}")
        if repeated := sorted(name for name in single if names.count(name) > 1):
            raise InvalidInput(f"expected one value each of {', '.join(repeated)}, got several")

    return check_fields
