"""Which fields a form may have."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile

from index.errors import InvalidInput


def only_fields(
    single: tuple[str, ...], repeatable: tuple[str, ...] = (), files: str | None = None
) -> Callable[[Request], Coroutine[Any, Any, None]]:
    """A dependency that refuses what FastAPI would ignore: a mistyped filter must not be passed over.

    Args:
        single: Fields that stand once at most.
        repeatable: Fields that may stand several times.
        files: The field of files, which may stand several times; all others are text.
    """
    known = (*single, *((files,) if files else ()), *repeatable)

    async def check_fields(request: Request) -> None:
        given = (await request.form()).multi_items()
        names = [name for name, _ in given]
        if unknown := sorted(set(names) - set(known)):
            raise InvalidInput(f"expected the fields {', '.join(known)}; got also {', '.join(unknown)}")
        if repeated := sorted(name for name in single if names.count(name) > 1):
            raise InvalidInput(f"expected one value each of {', '.join(repeated)}, got several")
        for name, value in given:
            _check_kind(name, is_file=isinstance(value, UploadFile), wants_file=name == files)

    return check_fields


def _check_kind(name: str, *, is_file: bool, wants_file: bool) -> None:
    if wants_file and not is_file:
        raise InvalidInput(
            f"{name}: a file is expected, got text; send the file itself, with curl -F {name}=@FILE"
        )
    if is_file and not wants_file:
        raise InvalidInput(
            f"{name}: text is expected, got a file; send what is in it, with curl -F '{name}=<FILE'"
        )
