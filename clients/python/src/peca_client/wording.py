"""Words of messages for people."""

from collections.abc import Mapping


def counted(number: int, noun: str) -> str:
    """A number of things, for people: ``1 track``, ``2,000 tracks``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def tracks_told(counts: Mapping[str, int]) -> str:
    """Tracks that were kept, and those of too few frames where there are some, for people."""
    short = f" ({counts['short']:,} of too few frames left out)" if counts["short"] else ""
    return counted(counts["tracks"], "track") + short
