"""Instants of a command line."""

from datetime import datetime

import typer


def instant(text: str) -> datetime:
    """An instant from ISO 8601.

    Raises:
        BadParameter: It is not ISO 8601 with a time zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"expected ISO 8601 such as 2026-05-01T18:00:00Z, got {text!r}") from None
    if moment.utcoffset() is None:
        raise typer.BadParameter(
            f"expected a time zone, as in {moment.isoformat()}Z or {moment.isoformat()}+02:00"
        )
    return moment
