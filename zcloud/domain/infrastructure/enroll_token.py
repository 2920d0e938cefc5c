"""Enrolment token: lets one agent, once and within the hour, trade a certificate request for a certificate."""

from __future__ import annotations

import hashlib
from typing import Any

from zcloud.kernel.clock import SECOND
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.event import Event
from zcloud.kernel.ids import Derived, derived
from zcloud.kernel.resource import Creation, Resource

LIFETIME = 3600 * SECOND


def uuids_of(token: str) -> Derived:
    """The log knows the token by this only."""
    return derived("enroll_token", hashlib.sha256(token.encode()).hexdigest())


class EnrollToken(Resource, kind="enroll_token"):
    """identity: what the certificate will say, "host/<uuid>" or "simulator"."""

    identity: str = ""
    expired_date: int = 0
    used_by: str = ""

    class Created(Creation):
        """A token was given out."""

        identity: str
        expired_date: int

    class Used(Event):
        """A certificate was given for it. used_by: SHA-256 of the public key."""

        used_by: str

        def apply(self, aggregate: Any) -> None:
            aggregate.used_by = self.used_by

    def create(self, *, identity: str, now: int) -> None:
        """Give it out for an hour."""
        self.trigger(
            self.Created(name=identity, account_uuid=self.account_uuid, identity=identity, expired_date=now + LIFETIME)
        )

    def use(self, public_key: str, now: int) -> None:
        """Once; the same key may ask again, since an answer may be lost."""
        if self.used_by == public_key:
            return
        if self.used_by or now >= self.expired_date:
            raise Refused(
                Code.PERMISSION_DENIED, Reason.NOT_ALLOWED, "the enrolment token was used before or is too old"
            )
        self.trigger(self.Used(used_by=public_key))
