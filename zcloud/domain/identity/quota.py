"""Quota: how much of something an account may have at a time, and how much it has (ACC-06, ACC-07)."""

from __future__ import annotations

from typing import Any

import msgspec

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.event import Event
from zcloud.kernel.ids import Derived, derived
from zcloud.kernel.resource import Creation, Resource


class Quota(Resource, kind="quota"):
    """One limit of one account; it belongs to the account, so that this sees it, and the admin sets it."""

    goes_with_owner = False
    shareable = False

    identity_uuid: str = ""
    value: int = 0

    class Created(Creation):
        """The account was opened, or the quota became known."""

        identity_uuid: str
        value: int

    class ValueChanged(Event):
        """The admin chose another limit."""

        value: int

        def apply(self, aggregate: Any) -> None:
            aggregate.value = self.value

    @staticmethod
    def uuids_of(account_uuid: str, name: str) -> Derived:
        """An account has one of each name."""
        return derived("quota", account_uuid, name)

    def create(self, *, name: str, description: str, value: int) -> None:
        """For the account that the quota was made for."""
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                identity_uuid=self.account_uuid,
                value=value,
            )
        )

    def limit(self, value: int) -> None:
        """The same value is no event; less than what is used takes nothing away, and lets nothing new begin."""
        if value != self.value:
            self.trigger(self.ValueChanged(value=value))


class AccountUsage(Companion, of="account", role="usage"):
    """What an account has of each thing that has a quota, told in the very appends that change it."""

    used: dict[str, int] = {}  # noqa: RUF012 - folds replace it

    class Opened(Event):
        """From here on it is counted; what was there already is in it."""

        used: dict[str, int] = msgspec.field(default_factory=dict)

    class Changed(Event):
        """What is used now, of each thing of which it changed."""

        used: dict[str, int]

        def apply(self, aggregate: Any) -> None:
            aggregate.used = {**aggregate.used, **self.used}

    def open(self, used: dict[str, int]) -> None:
        """Once in an account's life."""
        if not self.version:
            self.trigger(self.Opened(used=used))

    def change(self, by: dict[str, int]) -> None:
        """Add to what is used, or take away; what was never counted cannot be given back."""
        self.trigger(self.Changed(used={name: max(0, self.used.get(name, 0) + amount) for name, amount in by.items()}))
