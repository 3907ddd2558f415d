"""Numbers of things in messages."""

import pytest

from index.wording import counted


@pytest.mark.parametrize(
    ("number", "words", "told"),
    [
        (0, ("image",), "0 images"),
        (1, ("image",), "1 image"),
        (2000, ("image",), "2,000 images"),
        (1, ("query", "queries"), "1 query"),
        (2, ("query", "queries"), "2 queries"),
    ],
)
def test_one_is_singular(number: int, words: tuple[str, ...], told: str) -> None:
    assert counted(number, *words) == told
