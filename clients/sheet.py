"""Contact sheets: each row a query and the images found for it, framed."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from clients.lettering import drawable, width, write

_GAP, _FRAME, _LINE, _TITLE, _NOTE, _BAR = 10, 4, 15, 34, 20, 4
_PAPER, _INK, _MUTED = "#14181d", "#e8ecf0", "#93a0ad"
_EMPTY = "#222930"
CAPTION, _LARGE = 12, 17


class Frame(Enum):
    """What a picture's frame says of it, as its colour."""

    QUERY = "#f2b84b"
    SAME = "#3ddc84"
    OTHER = "#3a434d"


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture of a row.

    Attributes:
        image: The picture, any size; ``None`` where there is none any more, which leaves its frame empty.
        caption: Short lines below it.
        frame: Whether it is the query, shows the same person by its label, or neither is known.
        share: Length of a bar below the picture as a share of its width, in [0, 1]; none where ``None``.
    """

    image: Image.Image | None
    caption: str
    frame: Frame
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under one heading, each a query and its results, best first.

    Attributes:
        title: The heading.
        rows: Their cells; ``None`` leaves a place empty.
        note: A line of small print below them.
    """

    title: str
    rows: Sequence[Sequence[Cell | None]]
    note: str = ""


def save_sheet(path: Path, sections: Sequence[Section], cell_hw: tuple[int, int] = (144, 72)) -> None:
    """Draw the sections below one another.

    Args:
        path: The file to write; its ending says the format.
        sections: What to draw.
        cell_hw: Height and width of each picture, in pixels.
    """
    columns = max(len(row) for section in sections for row in section.rows)
    cells = [cell for section in sections for row in section.rows for cell in row if cell is not None]
    bar = _BAR if any(cell.share is not None for cell in cells) else 0
    lines = max(cell.caption.count("\n") + 1 for cell in cells)
    row_height = cell_hw[0] + 2 * _FRAME + 3 + bar + _LINE * lines + _GAP
    # The query stands apart from what was found for it.
    wide = columns * (cell_hw[1] + 2 * _FRAME + _GAP) + 2 * _GAP
    texts = [(one.title, _LARGE) for one in sections] + [(one.note, CAPTION) for one in sections]
    wide = max(wide, *(round(width(drawable(text, size), size)) + 2 * _GAP for text, size in texts))
    height = _GAP + sum(len(one.rows) * row_height + _TITLE + (_NOTE if one.note else 0) for one in sections)
    sheet = Image.new("RGB", (wide, height), _PAPER)
    draw, top = ImageDraw.Draw(sheet), _GAP
    for section in sections:
        write(draw, (_GAP, top), section.title, _LARGE, _INK)
        top += _TITLE - _GAP
        for row in section.rows:
            _draw_row(sheet, draw, row, top, cell_hw, bar)
            top += row_height
        if section.note:
            write(draw, (_GAP, top), section.note, CAPTION, _MUTED)
            top += _NOTE
        top += _GAP
    sheet.save(path, optimize=True)


def _draw_row(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    row: Sequence[Cell | None],
    top: int,
    cell_hw: tuple[int, int],
    bar: int,
) -> None:
    left = _GAP
    for number, cell in enumerate(row):
        if cell is not None:
            _draw_cell(sheet, draw, cell, (left, top), cell_hw, bar)
        left += cell_hw[1] + 2 * _FRAME + _GAP + (_GAP if number == 0 else 0)


def _draw_cell(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    cell: Cell,
    corner: tuple[int, int],
    cell_hw: tuple[int, int],
    bar: int,
) -> None:
    (left, top), (height, across) = corner, cell_hw
    bottom = top + height + 2 * _FRAME
    draw.rectangle((left, top, left + across + 2 * _FRAME - 1, bottom - 1), fill=cell.frame.value)
    picture = Image.new("RGB", (across, height), _EMPTY)
    if cell.image is not None:
        # The whole picture, since what is cut off might be the face.
        picture = ImageOps.pad(cell.image.convert("RGB"), (across, height), Image.Resampling.BICUBIC, _EMPTY)
    sheet.paste(picture, (left + _FRAME, top + _FRAME))
    if cell.share is not None:
        long = round((across + 2 * _FRAME) * min(1.0, max(0.0, cell.share)))
        draw.rectangle((left, bottom + 2, left + across + 2 * _FRAME - 1, bottom + 1 + _BAR), fill=_EMPTY)
        if long:
            draw.rectangle((left, bottom + 2, left + long - 1, bottom + 1 + _BAR), fill=_INK)
    # Captions of a sheet stand in line, whether a picture has a bar or not.
    bottom += bar
    middle = left + _FRAME + across / 2
    for number, line in enumerate(cell.caption.split("\n")):
        ink = cell.frame.value if number == 0 and cell.frame is not Frame.OTHER else _MUTED
        write(draw, (middle, bottom + 4 + number * _LINE), line, CAPTION, ink, centred=True)
