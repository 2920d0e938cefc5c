"""Account: who owns resources; admin, or a normal account that sees its own and what is shared (ACC-01)."""

from __future__ import annotations

import enum
from typing import Any

from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.ids import Derived, derive, derived
from zcloud.kernel.resource import Creation, Resource

# The one admin account has the same uuid in every cloud; it is there before anybody can call.
ADMIN_UUID = derive("account", "admin")


class AccountType(enum.Enum):
    """The admin may do everything."""

    ADMIN = "Admin"
    NORMAL = "Normal"


class Account(Resource, kind="account"):
    """Owns itself, so that it may rename itself and change its password. What it owns is deleted with it."""

    delete_workflow = "delete_resource"
    goes_with_owner = False
    shareable = False

    type: AccountType = AccountType.NORMAL
    password_hash: str = ""

    class Created(Creation):
        """An account was opened. password_hash: argon2id, in PHC form."""

        type: AccountType = AccountType.NORMAL
        password_hash: str = ""

    class PasswordChanged(Event):
        """The old password no longer logs in; sessions that it opened live on until they end."""

        password_hash: str

        def apply(self, aggregate: Any) -> None:
            aggregate.password_hash = self.password_hash

    def create(
        self, *, name: str, password_hash: str, description: str = "", type: AccountType = AccountType.NORMAL
    ) -> None:
        """Open the account; the caller sees to it that the name is free."""
        self.trigger(
            self.Created(
                name=name, description=description, account_uuid=self.uuid, type=type, password_hash=password_hash
            )
        )

    def change_password(self, password_hash: str) -> None:
        """Set another password."""
        self.trigger(self.PasswordChanged(password_hash=password_hash))

    def begin_deletion(self, job_uuid: str) -> None:
        """The admin account stays."""
        if self.type is AccountType.ADMIN:
            raise precondition(Reason.STILL_IN_USE, "the admin account can't be deleted; a cloud needs one")
        super().begin_deletion(job_uuid)


class LoginName(Resource, kind="login_name"):
    """A name under which one account logs in: its uuid follows from the name, so that two can't have it."""

    account: str = ""

    class Created(Creation):
        """The name was taken."""

        account: str

    @staticmethod
    def uuids_of(name: str) -> Derived:
        """Names differ by more than case."""
        return derived("login_name", name.lower())

    def create(self, *, name: str, account: str) -> None:
        """Take the name for an account."""
        self.trigger(self.Created(name=name, account_uuid=account, account=account))
