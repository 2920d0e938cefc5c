"""Identifiers: 32 hex digits, random or derived, from an injected source."""

from __future__ import annotations

import os
import random
import secrets
import uuid
from functools import lru_cache
from typing import Protocol

_NAMESPACE = uuid.UUID("5a2b6f0e-7c1d-5e8a-9b3f-0d4c6e8f1a2b")


class Ids(Protocol):
    """Where new identifiers come from."""

    def new(self) -> str:
        """A uuid (version 4) as 32 lower-case hex digits."""
        ...


class RandomIds:
    """Identifiers that nobody can guess. The system is asked for chance by the page: each asking costs a call."""

    def __init__(self) -> None:
        self._chance = b""

    def new(self) -> str:
        if len(self._chance) < 16:
            self._chance = os.urandom(4096)
        taken, self._chance = self._chance[:16], self._chance[16:]
        made = taken.hex()
        # As uuid.UUID(bytes=taken, version=4) has it, at a tenth of its price.
        return f"{made[:12]}4{made[13:16]}{'89ab'[taken[8] & 3]}{made[17:]}"


class SeededIds:
    """The same identifiers in each run, for tests and simulation."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def new(self) -> str:
        return uuid.UUID(int=self._random.getrandbits(128), version=4).hex


@lru_cache(100_000)
def derive(*parts: str) -> str:
    """The same identifier for the same parts, always (uuid version 5)."""
    return uuid.uuid5(_NAMESPACE, "\x1f".join(parts)).hex


def token(size: int = 32) -> str:
    """A secret for a session or an enrolment, URL-safe."""
    return secrets.token_urlsafe(size)
