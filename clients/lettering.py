"""Text in pictures, also in letters that Pillow's own font has not: it has those of English alone."""

from functools import cache

from PIL import ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# As systems name their files, each with the number of its face; Noto's third is the simplified Chinese one.
_WIDE_FONTS = (
    ("NotoSansCJK-Regular.ttc", 2),
    ("NotoSansCJKsc-Regular.otf", 0),
    ("wqy-microhei.ttc", 0),
    ("wqy-zenhei.ttc", 0),
    ("DroidSansFallbackFull.ttf", 0),
    ("PingFang.ttc", 0),
    ("msyh.ttc", 0),
    ("DejaVuSans.ttf", 0),
)
# No font has a letter for it, so it is drawn as what stands for a missing one.
_MISSING = "\U0010ffff"


def drawable(text: str, size: int) -> str:
    r"""``text``, or its escapes (``\u591c``) where no font of this machine has all of its letters."""
    if any(_has_letters(font, text) for font in _fonts(size)):
        return text
    return text.encode("ascii", "backslashreplace").decode()


def width(text: str, size: int) -> float:
    """How many pixels wide a drawable text is."""
    return font_of(text, size).getlength(text)


def write(
    draw: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    size: int,
    ink: str,
    *,
    centred: bool = False,
) -> None:
    """Draw one line below ``corner``, its top left or, where ``centred``, the middle of its top.

    Lines of all fonts stand on the baseline that Pillow's own would have.
    """
    own = _own(size)
    ascent = own.getmetrics()[0] if isinstance(own, ImageFont.FreeTypeFont) else size
    text = drawable(text, size)
    at = (corner[0], corner[1] + ascent)
    draw.text(at, text, fill=ink, font=font_of(text, size), anchor="ms" if centred else "ls")


def font_of(text: str, size: int) -> Font:
    """The first font that has all letters of ``text``, else Pillow's own; ``size`` pixels high."""
    return next((font for font in _fonts(size) if _has_letters(font, text)), _own(size))


@cache
def _own(size: int) -> Font:
    return ImageFont.load_default(size)


@cache
def _fonts(size: int) -> tuple[Font, ...]:
    found: list[Font] = [_own(size)]
    for name, face in _WIDE_FONTS:
        try:
            found.append(ImageFont.truetype(name, size, index=face))
        except OSError:
            continue  # This machine has it not.
    return tuple(found)


def _has_letters(font: Font, text: str) -> bool:
    missing = bytes(font.getmask(_MISSING))
    return all(letter.isspace() or bytes(font.getmask(letter)) != missing for letter in text)
