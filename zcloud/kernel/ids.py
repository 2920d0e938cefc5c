"""Identifiers: 32 hex digits, in the order of time or derived, from an injected source."""

from __future__ import annotations

import os
import random
import secrets
import time
import uuid
from functools import lru_cache
from typing import NamedTuple, Protocol

_NAMESPACE = uuid.UUID("5a2b6f0e-7c1d-5e8a-9b3f-0d4c6e8f1a2b")
# The version that RFC 9562 leaves to everybody, and twelve bits that tell ours from what others make of it.
_MARK = "8c0d"


class Ids(Protocol):
    """Where new identifiers come from."""

    def new(self) -> str:
        """A uuid as 32 lower-case hex digits."""
        ...


class TimedIds:
    """Identifiers that nobody can guess, in the order of time (uuid version 7; RFC 9562, 6.2, method 3).

    What is made together lies together in every index, however many there are: random ones would touch a page of each
    index for each row. The system is asked for chance by the page: each asking costs a call.
    """

    def __init__(self) -> None:
        self._chance = b""
        self._last = 0

    def new(self) -> str:
        if len(self._chance) < 8:
            self._chance = os.urandom(2048)
        taken, self._chance = self._chance[:8], self._chance[8:]
        # Sixteen digits of time: milliseconds, the version, and 4096 parts of one.
        milliseconds, rest = divmod(time.time_ns(), 1_000_000)
        moment = milliseconds << 16 | 0x7000 | (rest << 12) // 1_000_000
        if moment <= self._last:  # within a quarter of a microsecond, or the clock went back
            moment = self._last + (0xF001 if self._last & 0xFFF == 0xFFF else 1)
        self._last = moment
        made = taken.hex()
        return f"{moment:016x}{'89ab'[taken[0] & 3]}{made[1:]}"


class SeededIds:
    """The same identifiers in each run, for tests and simulation."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def new(self) -> str:
        return uuid.UUID(int=self._random.getrandbits(128), version=4).hex


@lru_cache(100_000)
def derive(*parts: str) -> str:
    """The same identifier for the same parts, always (uuid version 5).

    For what has no stream of its own: callers may choose such a uuid for a resource of theirs.
    """
    return uuid.uuid5(_NAMESPACE, "\x1f".join(parts)).hex


class Derived(NamedTuple):
    """The uuid of a resource that follows from what it is, so that everybody finds it without looking.

    before: what it was in logs that were begun when these were of version 5.
    """

    uuid: str
    before: str


@lru_cache(100_000)
def derived(*parts: str) -> Derived:
    """The same for the same parts, always (uuid version 8); no caller can choose it, and so be there first."""
    before = derive(*parts)
    return Derived(before[:12] + _MARK + before[16:], before)


def is_derived(uuid: str) -> bool:
    """Whether the cloud alone gives such uuids to resources."""
    return uuid[12:16] == _MARK and uuid[16:17] in "89ab"


def token(size: int = 32) -> str:
    """A secret for a session or an enrolment, URL-safe."""
    return secrets.token_urlsafe(size)
