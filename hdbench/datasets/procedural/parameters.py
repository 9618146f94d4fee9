"""Shape parameters drawn from tables: one table of ranges and options per sub-type."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np

Parameters = TypeVar("Parameters")


@dataclass(frozen=True)
class Between:
    """A number drawn uniformly from [low, high]."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        """One number."""
        return float(rng.uniform(self.low, self.high))


class OneOf:
    """One of several options; an option named twice is twice as likely."""

    def __init__(self, *options: Any) -> None:
        self.options = options

    def draw(self, rng: np.random.Generator) -> Any:
        """One option."""
        return self.options[int(rng.integers(len(self.options)))]


@dataclass(frozen=True)
class Subtype:
    """A kind of shape within a category: how often it occurs and what its parameters are drawn from."""

    weight: float
    table: Mapping[str, Any]
    """A constant, a `Between` or a `OneOf` by parameter name."""


def choose_subtype(subtypes: Mapping[str, Subtype], rng: np.random.Generator) -> str:
    """The name of one of `subtypes`, by weight."""
    weights = np.array([subtype.weight for subtype in subtypes.values()])
    return list(subtypes)[int(rng.choice(len(weights), p=weights / weights.sum()))]


def draw(kind: type[Parameters], table: Mapping[str, Any], rng: np.random.Generator) -> Parameters:
    """An instance of the dataclass `kind`, its fields drawn from `table` in the order they are declared.

    Fields that `table` leaves out keep their default.
    """
    entries = {field.name: table[field.name] for field in fields(kind) if field.name in table}  # type: ignore[arg-type]
    return kind(**{name: x.draw(rng) if isinstance(x, Between | OneOf) else x for name, x in entries.items()})
