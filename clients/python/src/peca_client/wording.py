"""Words of messages for people."""


def counted(number: int, noun: str) -> str:
    """A number of things, for people: ``1 track``, ``2,000 tracks``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
