"""Networks by which storages are reached (PS-05, BS-28)."""

from __future__ import annotations

from ipaddress import ip_network

from zcloud.kernel.errors import invalid


def must_be_network(field: str, text: str) -> None:
    """Raises INVALID_ARGUMENT."""
    try:
        good = "/" in text and bool(ip_network(text))
    except ValueError:
        good = False
    if not good:
        raise invalid(field, text, "must be a network such as 10.1.0.0/16, with no host bits set, or empty for none")
