"""Figures in one house style, for print: light, quiet, and distinct to the colour-blind."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from index.errors import InvalidInput

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette ("Color universal design", 2008), the darkest first."""
MARKERS = ("o", "s", "^", "D", "v", "P")
"""One for each colour, so that a line is known in grey print too."""
MUTED = "#6b6b6b"
"""What stands back: reference lines and notes."""

_STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#4d4d4d",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": f"cycler('color', {list(COLOURS)})",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "errorbar.capsize": 3,
    "savefig.dpi": 200,
    "svg.hashsalt": "peca",
    "pdf.fonttype": 42,
}
_PANEL_IN = (4.8, 3.4)


class PlotFormat(StrEnum):
    """What a figure is written as: pixels, or lines that print at any size."""

    PNG = "png"
    SVG = "svg"
    PDF = "pdf"


# Without these a file carries the hour or the library that made it, and no two runs are alike.
_METADATA: dict[PlotFormat, dict[str, None]] = {
    PlotFormat.PNG: {"Software": None},
    PlotFormat.SVG: {"Date": None},
    PlotFormat.PDF: {"CreationDate": None},
}


@contextmanager
def figure(
    path: Path, *, columns: int = 1, rows: int = 1, size_in: tuple[float, float] | None = None
) -> Iterator[list["Axes"]]:
    """Draw a figure and save it when the block ends; the same drawing gives the same bytes.

    Args:
        path: Where to save it; the suffix (.png, .svg or .pdf) says as what. The folder is made.
        columns: Panels side by side.
        rows: Panels below one another.
        size_in: Width and height in inches; 4.8 x 3.4 a panel where not given.

    Yields:
        The panels, row by row. ``panel.figure`` is the whole.

    Raises:
        InvalidInput: The suffix is none of these.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    kind = path.suffix.lower().removeprefix(".")
    if kind not in set(PlotFormat):
        raise InvalidInput(
            f"a figure is written as {', '.join(PlotFormat)}, by its suffix; got {path.name!r}"
        )
    # "default" first: what the user's own matplotlibrc says must not change a figure.
    with style.context(["default", _STYLE]):
        drawn = Figure(figsize=size_in or (_PANEL_IN[0] * columns, _PANEL_IN[1] * rows))
        yield drawn.subplots(rows, columns, squeeze=False).ravel().tolist()
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn.savefig(path, format=kind, metadata=_METADATA[PlotFormat(kind)])


def line_with_spread(
    panel: "Axes",
    x: Sequence[float],
    mean: Sequence[float],
    spread: Sequence[float],
    label: str,
    *,
    series: int = 0,
    markers: bool = True,
) -> None:
    """Draw a line and, where there is a spread, a pale band of one spread to each side.

    Args:
        panel: Where to draw.
        x: (N,) positions.
        mean: (N,) values.
        spread: (N,) standard deviations, in the unit of ``mean``.
        label: For the legend.
        series: Which colour and marker, from 0.
        markers: Whether each value gets its marker.
    """
    colour = COLOURS[series % len(COLOURS)]
    marker = MARKERS[series % len(MARKERS)] if markers else None
    panel.plot(x, mean, color=colour, marker=marker, label=label)
    if any(spread):
        low = [m - s for m, s in zip(mean, spread, strict=True)]
        high = [m + s for m, s in zip(mean, spread, strict=True)]
        panel.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
