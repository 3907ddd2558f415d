"""Contact sheets: each row a query and the images found for it, hits framed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

_CELL_HW = (144, 72)
_GAP, _FRAME, _CAPTION, _TITLE = 10, 4, 18, 34
_PAPER, _INK, _MUTED = "#14181d", "#e8ecf0", "#93a0ad"
_HIT, _MISS, _QUERY = "#3ddc84", "#3a434d", "#f2b84b"


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture of a row.

    Attributes:
        image: The picture, any size.
        caption: One short line below it.
        is_hit: Whether it shows the person of the query; ``None`` for the query itself.
    """

    image: Image.Image
    caption: str
    is_hit: bool | None


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under one heading, each a query and its results, best first."""

    title: str
    rows: Sequence[Sequence[Cell]]


def save_sheet(path: Path, sections: Sequence[Section]) -> None:
    """Draw the sections below one another and save them as a PNG."""
    columns = max(len(row) for section in sections for row in section.rows)
    lines = sum(len(section.rows) for section in sections)
    row_height = _CELL_HW[0] + 2 * _FRAME + _CAPTION + _GAP
    width = columns * (_CELL_HW[1] + 2 * _FRAME + _GAP) + 2 * _GAP
    sheet = Image.new("RGB", (width, lines * row_height + len(sections) * _TITLE + _GAP), _PAPER)
    draw, top = ImageDraw.Draw(sheet), _GAP
    for section in sections:
        draw.text((_GAP, top), section.title, fill=_INK, font=ImageFont.load_default(17))
        top += _TITLE - _GAP
        for row in section.rows:
            _draw_row(sheet, draw, row, top)
            top += row_height
        top += _GAP
    sheet.save(path, optimize=True)


def _draw_row(sheet: Image.Image, draw: ImageDraw.ImageDraw, row: Sequence[Cell], top: int) -> None:
    height, width = _CELL_HW
    left = _GAP
    for cell in row:
        colour = _QUERY if cell.is_hit is None else _HIT if cell.is_hit else _MISS
        box = (left, top, left + width + 2 * _FRAME - 1, top + height + 2 * _FRAME - 1)
        draw.rectangle(box, fill=colour)
        picture = ImageOps.fit(cell.image.convert("RGB"), (width, height), Image.Resampling.BICUBIC)
        sheet.paste(picture, (left + _FRAME, top + _FRAME))
        ink = _MUTED if cell.is_hit is False else colour
        middle = left + _FRAME + width / 2
        draw.text((middle, box[3] + 4), cell.caption, fill=ink, font=ImageFont.load_default(12), anchor="ma")
        # The query stands apart from what was found for it.
        left += width + 2 * _FRAME + _GAP + (_GAP if cell.is_hit is None else 0)
