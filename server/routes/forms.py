"""What a form may hold, and how one is read."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar, get_args, get_origin

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from index.errors import InvalidInput

Fields = TypeVar("Fields", bound=BaseModel)
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_REFERENCE = "#/components/schemas/{model}"
_NAMES_SHOWN, _NAME_SHOWN = 10, 40


def only_fields(
    single: tuple[str, ...], repeatable: tuple[str, ...] = (), files: str | None = None
) -> Callable[[Request], Coroutine[Any, Any, None]]:
    """A dependency that refuses what FastAPI would ignore: a mistyped filter must not be passed over.

    Args:
        single: Fields that stand once at most.
        repeatable: Fields that may stand several times.
        files: The field of files, which may stand several times; all others are text.
    """

    async def check_fields(request: Request) -> None:
        _check_fields(await request.form(), single, repeatable, files)

    return check_fields


def form_of(
    model: type[Fields], files: str | None = None
) -> Callable[[Request], Coroutine[Any, Any, Fields]]:
    """A reader of a whole form by one model, which refuses what ``only_fields`` does.

    FastAPI reads a form field by field, and looks at the type of each anew with every request; where an
    answer is waited for, that is felt. ``described`` tells of the form in the API's document.

    Args:
        model: Its fields of lists may stand several times. What is empty counts as not given.
        files: The field of files, which the model takes as ``list[bytes]``; all others are text.
    """
    repeatable = tuple(name for name, field in model.model_fields.items() if _is_list(field.annotation))
    single = tuple(name for name in model.model_fields if name not in repeatable)
    several = tuple(name for name in repeatable if name != files)

    async def read_form(request: Request) -> Fields:
        async with _opened(request) as form:
            _check_fields(form, single, several, files)
            given: dict[str, Any] = {name: form[name] for name in single if form.get(name)}
            given |= {name: form.getlist(name) for name in several if name in form}
            if files is not None and files in form:
                given[files] = [
                    await one.read() for one in form.getlist(files) if isinstance(one, UploadFile)
                ]
        try:
            return model.model_validate(given)
        except ValidationError as error:
            told = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)]
            raise RequestValidationError(told) from None

    return read_form


@asynccontextmanager
async def _opened(request: Request) -> AsyncIterator[FormData]:
    """The form of a request; its files are closed in the end.

    Raises:
        InvalidInput: The body is no form.
        HTTPException: It cannot be read.
    """
    try:
        form = await request.form()
        if not form:
            await _check_type(request)
    except (InvalidInput, HTTPException):
        raise
    except Exception as error:  # parsers of damaged forms fail in more ways than they tell
        raise HTTPException(400, "There was an error parsing the body") from error
    try:
        yield form
    finally:
        await form.close()


async def _check_type(request: Request) -> None:
    """Refuse a body that is no form, of which the reader of forms leaves every byte unread."""
    kind, _ = parse_options_header(request.headers.get("content-type"))
    if kind.decode("latin-1") not in _FORMS and await request.body():
        raise InvalidInput(f"expected a form, of the type {' or '.join(_FORMS)}; got another body")


def described(model: type[BaseModel], media_type: str) -> dict[str, Any]:
    """What a route's ``openapi_extra`` says of a form that ``form_of`` reads; its schema stands inline."""
    schema = model.model_json_schema(ref_template=_REFERENCE)
    body: dict[str, Any] = {"content": {media_type: {"schema": schema}}}
    return {"requestBody": body | ({"required": True} if schema.get("required") else {})}


def _is_list(annotation: Any) -> bool:
    """Whether a field takes a list, or may."""
    return list in (get_origin(one) for one in (annotation, *get_args(annotation)))


def _check_fields(
    form: FormData, single: tuple[str, ...], repeatable: tuple[str, ...], files: str | None
) -> None:
    known = (*single, *((files,) if files else ()), *repeatable)
    given = form.multi_items()
    names = [name for name, _ in given]
    if unknown := sorted(set(names) - set(known)):
        raise InvalidInput(f"expected the fields {', '.join(known)}; got also {_shown(unknown)}")
    if repeated := sorted(name for name in single if names.count(name) > 1):
        raise InvalidInput(f"expected one value each of {', '.join(repeated)}, got several")
    for name, value in given:
        _check_kind(name, is_file=isinstance(value, UploadFile), wants_file=name == files)


def _shown(names: list[str]) -> str:
    """Names that came from outside, in the length and the characters of a message."""
    shown = ", ".join(
        repr(name if len(name) <= _NAME_SHOWN else f"{name[:_NAME_SHOWN]}...")
        for name in names[:_NAMES_SHOWN]
    )
    return shown + (f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else "")


def _check_kind(name: str, *, is_file: bool, wants_file: bool) -> None:
    if wants_file and not is_file:
        raise InvalidInput(
            f"{name}: a file is expected, got text; send the file itself, with curl -F {name}=@FILE"
        )
    if is_file and not wants_file:
        raise InvalidInput(
            f"{name}: text is expected, got a file; send what is in it, with curl -F '{name}=<FILE'"
        )
