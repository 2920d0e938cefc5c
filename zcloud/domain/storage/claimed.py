"""What claims on a storage take: volumes by their virtual size, which may be over-provisioned, the rest as it is."""

from __future__ import annotations


def is_volume(key: str) -> bool:
    """Claims of volumes are keyed by uuid, all others as what/which."""
    return "/" not in key


def share_of(virtual: int, percent: int) -> int:
    """Bytes that a virtual size counts for, where so many percent of a storage are given out; rounded up."""
    return -(-virtual * 100 // percent)
