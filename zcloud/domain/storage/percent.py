"""Shares of capacities in percent, as they are shown (PS-04, BS-29)."""

from __future__ import annotations


def percent(part: int, whole: int) -> float:
    """To a hundredth; nothing of nothing is 0."""
    return round(100 * part / whole, 2) if whole else 0.0
