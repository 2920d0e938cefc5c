"""What a measurement is: a name, medians of rounds, and the ratio of each round to its limit."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Size:
    """How much is done. quick: what fits into three minutes in all."""

    quick: bool

    def of(self, full: Any, quick: Any) -> Any:
        """One of two sizes."""
        return quick if self.quick else full


@dataclass
class Figure:
    """values and limits: one a round, taken in turns. target: of the ratio, or of the value where there is no limit.

    of_value: the target is of the value, though there is a limit. more: whether more is better. note: what else was
    seen, and what the limit was.
    """

    name: str
    unit: str
    values: list[float]
    limits: list[float] = field(default_factory=list)
    target: float | None = None
    more: bool = True
    note: str = ""
    of_value: bool = False

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def limit(self) -> float | None:
        """The median of the limit's rounds."""
        return statistics.median(self.limits) if self.limits else None

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' ratios: what disturbs both at once disturbs it least."""
        if not self.limits:
            return None
        return statistics.median(v / limit for v, limit in zip(self.values, self.limits, strict=True))

    @property
    def reached(self) -> bool | None:
        """Whether the target is; None when there is none."""
        if self.target is None:
            return None
        seen = self.value if self.of_value or self.ratio is None else self.ratio
        return seen >= self.target if self.more else seen <= self.target

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "value": self.value,
            "unit": self.unit,
            "limit": self.limit,
            "ratio": self.ratio,
            "target": self.target,
            "reached": self.reached,
            "rounds": self.values,
            "note": self.note,
        }


Measure = Callable[[Size], Iterator[Figure]]
MEASURES: dict[str, Measure] = {}


def measure(function: Measure) -> Measure:
    """Registers a function that yields figures; by its name it is asked for on the command line."""
    MEASURES[function.__name__] = function
    return function


def percentile(values: list[float], share: float) -> float:
    """Of unsorted values; 0 when there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
