"""Chance: streams of random numbers, and what is drawn from one."""

from typing import TypeVar

import numpy as np

Range = tuple[float, float]
_Choice = TypeVar("_Choice")


def generator(*key: int) -> np.random.Generator:
    """A stream of random numbers of its own for every key, so that nothing depends on an order."""
    return np.random.default_rng(np.random.SeedSequence(key))


def within(rng: np.random.Generator, span: Range) -> float:
    """A number within a range, all equally likely."""
    return float(rng.uniform(*span))


def yes(rng: np.random.Generator, chance: float) -> bool:
    """Whether something with a chance of 0 to 1 happens."""
    return bool(rng.random() < chance)


def pick(rng: np.random.Generator, weights: dict[_Choice, float]) -> _Choice:
    """One of the keys, each as likely as its share of the weights."""
    keys = list(weights)
    shares = np.fromiter(weights.values(), dtype=np.float64)
    return keys[int(rng.choice(len(keys), p=shares / shares.sum()))]
