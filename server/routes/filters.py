"""The filter of a list of images, as a query string, and where its next page begins."""

import base64
import binascii
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from index.errors import InvalidInput
from index.records import ImageRecord, Where
from index.space import Modality
from server.schemas import BLANK_IS_ABSENT, CURSOR_PATTERN, Instant, Label, Note

_SEVERAL = "Repeat the parameter or put commas between."
_REQUIRED = "Needed with `person_ids` or `track_ids` where the setting `require_case` is on."
_NO_CURSOR = "cursor must be the next_cursor of the page before"
_LISTS = ("camera_ids", "exclude_camera_ids", "person_ids", "track_ids")


class ImageFilter(BaseModel):
    """Which images; a name that is not here is refused, since it would be passed over."""

    model_config = ConfigDict(extra="forbid")

    modality: Modality | None = Field(None, description="Only of this light.")
    camera_ids: list[str] | None = Field(None, description=f"Only of these cameras. {_SEVERAL}")
    exclude_camera_ids: list[str] | None = Field(None, description=f"Of no such camera. {_SEVERAL}")
    after: Instant | None = Field(None, description="Captured then or later; ISO 8601 with zone.")
    before: Instant | None = Field(None, description="Captured earlier; ISO 8601 with zone.")
    person_ids: list[str] | None = Field(None, description=f"Only labelled so. {_SEVERAL}")
    track_ids: list[str] | None = Field(None, description=f"Only of these tracks. {_SEVERAL}")

    def where(self) -> Where:
        """The filter, as a gallery takes it.

        Raises:
            InvalidInput: A list is given and holds an empty name.
        """
        return Where(
            modality=self.modality,
            after=self.after,
            before=self.before,
            **{name: names_in(name, getattr(self, name)) for name in _LISTS},
        )


class ImagePage(ImageFilter):
    """Which images, and which part of them."""

    case: Annotated[Label | None, BLANK_IS_ABSENT] = Field(None, description=f"The case. {_REQUIRED}")
    reason: Annotated[Note | None, BLANK_IS_ABSENT] = Field(None, description=f"Why. {_REQUIRED}")
    limit: int = Field(100, ge=1, le=500, description="Most images.")
    cursor: str | None = Field(None, max_length=1000, description="The `next_cursor` of the page before.")


class _WholeList(BaseModel):
    """Which part of a list that seldom has more than one page."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(1000, ge=1, le=1000, description="Most items.")


class NumberedList(_WholeList):
    """Of a list whose cursors are numbers."""

    cursor: str | None = Field(
        None, pattern=CURSOR_PATTERN, description="The `next_cursor` of the page before."
    )

    @property
    def last(self) -> int | None:
        """The number in the cursor."""
        return None if self.cursor is None else int(self.cursor)


class NamedList(_WholeList):
    """Of a list whose cursors ``name_cursor`` makes."""

    cursor: str | None = Field(None, max_length=2000, description="The `next_cursor` of the page before.")

    @property
    def last(self) -> tuple[str, str] | None:
        """The two names in the cursor.

        Raises:
            InvalidInput: There are none.
        """
        if self.cursor is None:
            return None
        first, separator, second = _decoded(self.cursor).partition(" ")
        if not separator:
            raise InvalidInput(_NO_CURSOR)
        return first, second


class ImageRemoval(ImageFilter):
    """Which images are removed, or would be."""

    dry_run: bool = Field(True, description="Only say what would be removed; `false` removes it.")


async def check_once(request: Request) -> None:
    """Refuse what FastAPI would pass over: of a repeated name only the last would count."""
    names = [name for name, _ in request.query_params.multi_items() if name not in _LISTS]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(f"expected one value each of {', '.join(repeated)}, got several")


ONCE = Depends(check_once)
ThePage = Annotated[ImagePage, Query()]
TheNamedList = Annotated[NamedList, Query()]
TheNumberedList = Annotated[NumberedList, Query()]
TheRemoval = Annotated[ImageRemoval, Query()]


def names_in(field: str, values: list[str] | None) -> list[str] | None:
    """The names in a repeated, comma-separated field; ``None`` where it was not given.

    Raises:
        InvalidInput: A name is empty; an empty variable of a script must not widen what is asked for.
    """
    if values is None:
        return None
    names = [name.strip() for value in values for name in value.split(",")]
    if not all(names):
        raise InvalidInput(f"{field}: expected a name, got an empty one; leave {field} out to mean all")
    return names


def cursor_after(record: ImageRecord) -> str:
    """The cursor of the page that begins after ``record``."""
    return name_cursor(record.captured_at.isoformat(), record.image_id)


def name_cursor(first: str, second: str) -> str:
    """A cursor of two names, the first without blanks."""
    return base64.urlsafe_b64encode(f"{first} {second}".encode()).decode().rstrip("=")


def _decoded(cursor: str) -> str:
    """The text of a cursor.

    Raises:
        InvalidInput: It is none of ``name_cursor``.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidInput(_NO_CURSOR) from None


def read_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    """Where the page before ended, as ``Gallery.page`` takes it.

    Raises:
        InvalidInput: ``cursor`` is none of ``cursor_after``.
    """
    if cursor is None:
        return None
    moment, _, image_id = _decoded(cursor).partition(" ")
    try:
        captured_at = datetime.fromisoformat(moment)
    except ValueError:
        raise InvalidInput(_NO_CURSOR) from None
    if captured_at.tzinfo is None or not image_id:
        raise InvalidInput(_NO_CURSOR)
    return captured_at, image_id
