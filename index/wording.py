"""Words of messages for people."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number of things, for people: ``1 image``, ``2,000 images``, ``1 query``.

    Args:
        number: How many.
        noun: What, in the singular.
        plural: Where it is not the singular with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
