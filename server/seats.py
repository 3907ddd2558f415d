"""How many answers without an end of their own, or with a late one, are open at once."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from index.errors import PecaError


@dataclass(slots=True)
class Seats:
    """The places for answers of one kind; safe to call from several threads.

    Attributes:
        what: Which answers, in words.
        most: How many are open at once.
        most_of_a_key: How many of one key.
        refusal: What is raised beyond that, of the words for it.
    """

    what: str
    most: int
    most_of_a_key: int
    refusal: Callable[[str], PecaError]
    _lock: Lock = field(default_factory=Lock)
    _taken: Counter[str] = field(default_factory=Counter)

    @property
    def taken(self) -> int:
        """How many are open."""
        return self._taken.total()

    def take(self, key_id: str) -> Callable[[], None]:
        """Take a place; what is returned gives it back, and is called once.

        Raises:
            PecaError: As many are open, of this key or in all, as the server takes; it is the ``refusal``.
        """
        with self._lock:
            if self.taken >= self.most:
                raise self.refusal(f"{self.most} {self.what} are open, as many as this server takes")
            if self._taken[key_id] >= self.most_of_a_key:
                raise self.refusal(
                    f"{self.most_of_a_key} {self.what} of this key are open, as many as one may have"
                )
            self._taken[key_id] += 1

        def give_back() -> None:
            with self._lock:
                self._taken -= Counter([key_id])  # forgets a key that has none left

        return give_back
