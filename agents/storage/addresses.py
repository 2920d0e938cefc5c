"""The addresses of the machine that this runs on, on all its networks."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable

LINK_LOCAL = "20"


def addresses() -> list[str]:
    """IPv4 first; none of a link only. What the kernel does not tell is left out."""
    found: list[str] = []
    with contextlib.suppress(OSError), open("/proc/net/fib_trie", encoding="ascii") as file:
        found += _of_trie(file)
    with contextlib.suppress(OSError), open("/proc/net/if_inet6", encoding="ascii") as file:
        found += _of_inet6(file)
    return list(dict.fromkeys(found))


def _of_trie(lines: Iterable[str]) -> list[str]:
    """Of the kernel's table of routes those that lead to the machine itself."""
    found, last = [], ""
    for line in lines:
        words = line.split()
        if words[:1] == ["|--"]:
            last = words[1]
        elif words == ["/32", "host", "LOCAL"]:
            found.append(last)
    return sorted(set(found), key=ipaddress.ip_address)


def _of_inet6(lines: Iterable[str]) -> list[str]:
    rows = (line.split() for line in lines)
    return [str(ipaddress.IPv6Address(bytes.fromhex(row[0]))) for row in rows if row[3] != LINK_LOCAL]
