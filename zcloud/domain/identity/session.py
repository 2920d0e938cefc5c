"""Session: what a login gives; the log knows only the hash of its token."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from zcloud.kernel.clock import SECOND
from zcloud.kernel.event import Event
from zcloud.kernel.ids import Derived, derived
from zcloud.kernel.resource import Creation, Resource

# session/session.timeout of the reference: two hours.
TIMEOUT = 7200 * SECOND


def hash_of(token: str) -> str:
    """How a token is known to the log (SHA-256, hex)."""
    return hashlib.sha256(token.encode()).hexdigest()


@lru_cache(10_000)
def uuids_of(token: str) -> Derived:
    """The session's uuid follows from its token, so that a call finds it without an index."""
    return derived("session", hash_of(token))


class Session(Resource, kind="session"):
    """Ends two hours after it was opened or renewed, or by logging out."""

    goes_with_owner = False
    shareable = False

    account_name: str = ""
    expired_date: int = 0
    source: str = ""

    class Created(Creation):
        """Somebody logged in."""

        account_name: str
        expired_date: int
        source: str = ""

    class Renewed(Event):
        """Its end was put off."""

        expired_date: int

        def apply(self, aggregate: Any) -> None:
            aggregate.expired_date = self.expired_date

    def create(self, *, account_uuid: str, account_name: str, now: int, source: str) -> None:
        """Open a session for an account."""
        self.trigger(
            self.Created(
                name=account_name,
                account_uuid=account_uuid,
                account_name=account_name,
                expired_date=now + TIMEOUT,
                source=source,
            )
        )

    def renew(self, now: int) -> None:
        """Two hours more from now."""
        self.trigger(self.Renewed(expired_date=now + TIMEOUT))

    def valid(self, now: int) -> bool:
        """Neither logged out nor over."""
        return self.exists and now < self.expired_date
