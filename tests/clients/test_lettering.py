"""Text in pictures, in the letters of whoever named a camera."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from clients import lettering
from clients.lettering import drawable, font_of, width, write
from clients.sheet import Cell, Frame, Section, save_sheet


def bottom_of(text: str) -> int:
    """The lowest line of a picture that the text reaches."""
    picture = Image.new("L", (200, 60))
    write(ImageDraw.Draw(picture), (10, 10), text, 24, "white")
    return int(np.flatnonzero(np.asarray(picture).max(axis=1) > 100)[-1])


def test_what_pillow_s_own_font_has_is_written_by_it() -> None:
    assert drawable("gate 3 …", 12) == "gate 3 …"
    assert font_of("gate 3 …", 12) is lettering._own(12)
    assert width("gate gate", 12) > width("gate", 12) > 0


def test_names_of_the_east_are_written_by_a_font_of_the_system_on_the_same_line() -> None:
    if drawable("夜间", 12) != "夜间":
        pytest.skip("needs a Chinese font, as by `apt-get install fonts-noto-cjk`")
    assert font_of("夜间", 12) is not font_of("gate", 12)
    # Han letters reach a little below the line on which Latin ones stand.
    assert bottom_of("H") <= bottom_of("夜") <= bottom_of("H") + 4


def test_without_a_font_for_it_the_escapes_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "_fonts", lambda size: (lettering._own(size),))
    assert drawable("夜 gate", 12) == "\\u591c gate"
    assert bottom_of("夜") > 0


def test_captions_of_a_sheet_stand_in_line_whether_a_picture_has_a_bar_or_not(tmp_path: Path) -> None:
    picture = Image.new("RGB", (30, 60))
    pair = [Cell(picture, "same", Frame.OTHER), Cell(picture, "same", Frame.OTHER, share=0.0)]
    save_sheet(tmp_path / "sheet.png", [Section("", [pair])])
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("L"), int)
    captions = pixels[34 + 144 + 2 * 4 :]
    left, right = (int(np.flatnonzero(half.max(axis=1) > 100)[0]) for half in np.hsplit(captions, [95]))
    assert left == right
