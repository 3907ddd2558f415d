"""What the commands print: aligned tables for people, JSON for programs."""

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any

_GAP = "  "


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows below their heads; columns of numbers stand to the right.

    At a terminal rich draws it, where it is installed; programs get plain columns in either case.
    """
    texts = [[_cell(value) for value in row] for row in rows]
    right = [bool(rows) and all(_is_number(row[at]) for row in rows) for at in range(len(heads))]
    if not (sys.stdout.isatty() and _drawn(heads, texts, right)):
        _print_plain(heads, texts, right)


def _drawn(heads: Sequence[str], texts: Sequence[Sequence[str]], right: Sequence[bool]) -> bool:
    """Whether rich could draw the table."""
    try:
        from rich.console import Console
        from rich.table import Column, Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(
        *(
            Column(head, justify="right" if to_right else "left", overflow="fold")
            for head, to_right in zip(heads, right, strict=True)
        )
    )
    for row in texts:
        table.add_row(*map(Text, row))
    Console().print(table)
    return True


def _print_plain(heads: Sequence[str], texts: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    widths = [max(map(_width, column)) for column in zip(heads, *texts, strict=True)]
    for line in ([*heads], ["-" * width for width in widths], *texts):
        cells = [
            _padded(text, width, to_right) for text, width, to_right in zip(line, widths, right, strict=True)
        ]
        print(_GAP.join(cells).rstrip())


def print_row(values: Sequence[object]) -> None:
    """Print one row at once, for what comes as it comes."""
    print(_GAP.join(map(_cell, values)), flush=True)


def print_json_line(value: Any) -> None:
    """Print an answer of the server as JSON on one line, at once."""
    print(json.dumps(asdict(value), ensure_ascii=False, default=_plain), flush=True)


def print_json(value: Any) -> None:
    """Print a value, an answer of the server or several, as JSON; instants in ISO 8601."""
    plain = [asdict(one) for one in value] if isinstance(value, (list, tuple)) else value
    plain = asdict(plain) if is_dataclass(plain) and not isinstance(plain, type) else plain
    print(json.dumps(plain, indent=2, ensure_ascii=False, default=_plain))


def moment_text(moment: datetime) -> str:
    """An instant on this machine's clock, with its offset."""
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return moment_text(value)
    if isinstance(value, float):
        return f"{value:.4f}"
    # Names come from outside: a line break or an escape in one must not reach the terminal.
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))


def _width(text: str) -> int:
    """Columns of a terminal; those of East Asia are two wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _padded(text: str, width: int, to_right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if to_right else text + space


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
