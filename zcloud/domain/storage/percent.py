"""Shares of capacities in percent, as they are shown (PS-04, BS-29)."""

from __future__ import annotations

from typing import Protocol


class Capacity(Protocol):
    """How much there is, and how much of it is left."""

    @property
    def total_capacity(self) -> int: ...

    @property
    def available_capacity(self) -> int: ...


class InPercent:
    """What is shown beside a capacity."""

    @property
    def used_capacity_percent(self: Capacity) -> float:
        """PS-04, BS-29."""
        return percent(self.total_capacity - self.available_capacity, self.total_capacity)

    @property
    def available_capacity_percent(self: Capacity) -> float:
        """PS-04, BS-29."""
        return percent(self.available_capacity, self.total_capacity)


def percent(part: int, whole: int) -> float:
    """To a hundredth; nothing of nothing is 0."""
    return round(100 * part / whole, 2) if whole else 0.0
