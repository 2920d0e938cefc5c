"""Names and addresses that come with tasks: checked, and derived where the kernel's fifteen characters are too few."""

from __future__ import annotations

import hashlib
import ipaddress
import re

from agents.runtime.task import TaskError

UUID = re.compile(r"[0-9a-f]{32}")
INTERFACE = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.][A-Za-z0-9_.-]{0,14}")
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def uuid(what: str, value: str) -> str:
    """The value, or INVALID."""
    return _matched(UUID, what, value, "32 hexadecimal digits in lower case")


def interface(what: str, value: str) -> str:
    """The value, or INVALID: at most fifteen characters that no program takes for an option."""
    return _matched(INTERFACE, what, value, "a name of at most 15 letters, digits, '.', '_' and '-'")


def mac(value: str) -> str:
    """In lower case, or INVALID."""
    return _matched(MAC, "mac", value.lower(), "six pairs of hexadecimal digits")


def hostname(value: str) -> str:
    """The value, or INVALID; empty for none."""
    return _matched(LABEL, "hostname", value, "letters, digits and '-', at most 63") if value else ""


def domain(value: str) -> str:
    """The value, or INVALID; empty for none."""
    if value and (len(value) > 253 or not all(LABEL.fullmatch(label) for label in value.split("."))):
        raise TaskError("INVALID", f"dns_domain {value[:64]!r} is not a domain name")
    return value


def ipv4(what: str, value: str) -> str:
    """The value, or INVALID; empty for none."""
    try:
        return str(ipaddress.IPv4Address(value)) if value else ""
    except ValueError:
        raise TaskError("INVALID", f"{what} {value[:64]!r} is not an IPv4 address") from None


def server(value: str) -> ipaddress.IPv4Interface:
    """An address with its prefix length, or INVALID."""
    try:
        parsed = ipaddress.IPv4Interface(value)
    except ValueError:
        parsed = None
    if parsed is None or "/" not in value or parsed.network.prefixlen > 30:
        raise TaskError(
            "INVALID", f"server_address {value[:64]!r} is not an IPv4 address with a prefix length up to 30"
        )
    return parsed


def derived(prefix: str, value: str) -> str:
    """prefix and ten hex digits. Hashed: callers may choose uuids that begin alike."""
    return prefix + hashlib.sha256(value.encode()).hexdigest()[:10]


def derived_mac(value: str) -> str:
    """The same MAC each time, from the range that nobody owns, so that guests' ARP caches stay right."""
    digits = hashlib.sha256(value.encode()).hexdigest()
    return ":".join(["02", *(digits[i : i + 2] for i in range(0, 10, 2))])


def _matched(pattern: re.Pattern[str], what: str, value: str, form: str) -> str:
    if pattern.fullmatch(value) is None:
        raise TaskError("INVALID", f"{what} {value[:64]!r} is not {form}")
    return value
