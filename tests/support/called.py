"""Which RPCs were granted, and which refused for what was asked, in a run of all tests: facts, not names in texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zcloud.api.rpcs import rpcs

# Refusals that are made alike for every RPC, before anybody looks at what is asked; and no answers at all.
SAY_NOTHING = ("UNAUTHENTICATED", "PERMISSION_DENIED", "UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "UNKNOWN")
GRANTED, REFUSED = "granted", "refused"
# What agents call has clients of its own, in tests/agents and tests/fuzz/test_agents.py.
APART = ("Connect", "Enroll")
# What a process tells another: besides, why what it has seen is not all that there was to see.
LEFT_OUT = "left out"
_seen: dict[str, set[str]] = {GRANTED: set(), REFUSED: set()}
_left_out: set[str] = set()


def note(name: str, code: str) -> None:
    """A test's call of an RPC ended so."""
    if code == "OK":
        _seen[GRANTED].add(name)
    elif code not in SAY_NOTHING:
        _seen[REFUSED].add(name)


def leave_out(why: str) -> None:
    """Not every test is run, or what some have seen is lost: nothing follows from what is missing."""
    _left_out.add(why)


def seen() -> dict[str, list[str]]:
    """In this process until now, as what one process can tell another."""
    return {LEFT_OUT: sorted(_left_out), **{what: sorted(names) for what, names in _seen.items()}}


def add(others: Mapping[str, Iterable[str]] | None) -> None:
    """What another process has seen; None: it ended without a word."""
    if others is None:
        leave_out("a process of tests was lost")
    for what, names in (others or {}).items():
        (_left_out if what == LEFT_OUT else _seen[what]).update(names)


def missing() -> list[str]:
    """What no test has seen; nothing, where some were left out."""
    if _left_out:
        return []
    return [
        f"{name} was never {what}{' for what it was asked' if what == REFUSED else ''}"
        for name in sorted(rpcs())
        for what, names in _seen.items()
        if name not in names and name not in APART
    ]
