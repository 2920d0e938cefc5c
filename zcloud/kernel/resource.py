"""Resources: aggregates that callers name, own, share, rename and remove."""

from __future__ import annotations

import enum
from typing import Any, ClassVar

import msgspec

from zcloud.kernel.aggregate import Aggregate
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.event import Event

UNSET = msgspec.UNSET
Unset = msgspec.UnsetType


class State(enum.Enum):
    """The administrator's decision."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class Creation(Event):
    """Base of every kind's own Created event."""

    begins: ClassVar[bool] = True

    name: str
    description: str = ""
    account_uuid: str = ""


class Resource(Aggregate):
    """Base of every kind: name, description, owner, sharing, removal.

    class Zone(Resource, kind="zone"); a kind that extends another is a subclass of it, and both have a kind.
    parents: what this kind is deleted with, as {"kind": "attribute that holds its uuid"}.
    """

    kinds: ClassVar[tuple[str, ...]] = ()
    parents: ClassVar[dict[str, str]] = {}
    # Whether it is deleted with the account that owns it; what is history, or part of the account itself, is not.
    goes_with_owner: ClassVar[bool] = True
    # Whether other accounts can be let see and use it.
    shareable: ClassVar[bool] = True
    # The workflow that deletes it, where hosts must act; empty when an event is enough.
    delete_workflow: ClassVar[str] = ""

    name: str = ""
    description: str = ""
    account_uuid: str = ""
    zone_uuid: str = ""
    shared_with: frozenset[str] = frozenset()
    shared_to_public: bool = False
    removed: bool = False
    deleting_job: str = ""

    class Updated(Event):
        """What a person calls it."""

        name: str | Unset = UNSET
        description: str | Unset = UNSET

    class Shared(Event):
        """Other accounts may see and use it."""

        account_uuids: tuple[str, ...] = ()
        to_public: bool = False

        def apply(self, aggregate: Any) -> None:
            aggregate.shared_with = aggregate.shared_with | set(self.account_uuids)
            aggregate.shared_to_public = aggregate.shared_to_public or self.to_public

    class SharingRevoked(Event):
        """They no longer may."""

        account_uuids: tuple[str, ...] = ()
        to_public: bool = False

        def apply(self, aggregate: Any) -> None:
            aggregate.shared_with = aggregate.shared_with - set(self.account_uuids)
            aggregate.shared_to_public = aggregate.shared_to_public and not self.to_public

    class OwnerChanged(Event):
        """It belongs to another account."""

        account_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.account_uuid = self.account_uuid
            aggregate.shared_with = aggregate.shared_with - {self.account_uuid}

    class DeletionBegun(Event):
        """A job is deleting it; nothing new may rest on it."""

        job_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.deleting_job = self.job_uuid

    class DeletionAborted(Event):
        """The job gave up; the resource stays."""

        error: str = ""

        def apply(self, aggregate: Any) -> None:
            aggregate.deleting_job = ""

    class Removed(Event):
        """It is gone. The uuid may be used again."""

        ends: ClassVar[bool] = True

        def apply(self, aggregate: Any) -> None:
            aggregate.removed = True

    def __init_subclass__(cls, *, kind: str = "", abstract: bool = False, **keywords: Any) -> None:
        super().__init_subclass__(kind=kind, abstract=abstract, **keywords)
        inherited = tuple(k for base in cls.__mro__[1:] for k in getattr(base, "kinds", ())[:1])
        cls.kinds = (kind, *dict.fromkeys(inherited)) if kind else inherited

    @property
    def exists(self) -> bool:
        return self.version > 0 and not self.removed

    def update(self, *, name: str | None = None, description: str | None = None) -> None:
        """Rename or describe; saying what is already so is no event."""
        new_name = UNSET if name is None or name == self.name else name
        new_text = UNSET if description is None or description == self.description else description
        if new_name is not UNSET or new_text is not UNSET:
            self.trigger(self.Updated(name=new_name, description=new_text))

    def share(self, account_uuids: tuple[str, ...], to_public: bool) -> None:
        """Let other accounts see and use it."""
        new = tuple(a for a in account_uuids if a not in self.shared_with)
        if new or (to_public and not self.shared_to_public):
            self.trigger(self.Shared(account_uuids=new, to_public=to_public))

    def revoke_sharing(self, account_uuids: tuple[str, ...], to_public: bool) -> None:
        """Take it back; no accounts named means all of them."""
        gone = tuple(sorted(a for a in (account_uuids or self.shared_with) if a in self.shared_with))
        if gone or (to_public and self.shared_to_public):
            self.trigger(self.SharingRevoked(account_uuids=gone, to_public=to_public))

    def change_owner(self, account_uuid: str) -> None:
        """Its own account again is no event."""
        if account_uuid != self.account_uuid:
            self.trigger(self.OwnerChanged(account_uuid=account_uuid))

    def begin_deletion(self, job_uuid: str) -> None:
        """From now on nothing new may rest on it."""
        if self.deleting_job:
            raise precondition(
                Reason.BEING_DELETED,
                f"{self.kind} {self.uuid} is being deleted by job {self.deleting_job}",
                job_uuid=self.deleting_job,
            )
        self.trigger(self.DeletionBegun(job_uuid=job_uuid))

    def abort_deletion(self, error: str) -> None:
        """The deletion failed."""
        if self.deleting_job:
            self.trigger(self.DeletionAborted(error=error))

    def remove(self) -> None:
        """The end; removing what is gone is no event."""
        if self.exists:
            self.trigger(self.Removed())


class Switched(Resource):
    """A resource that an administrator enables and disables."""

    state: State = State.ENABLED

    class StateChanged(Event):
        """Enabled or Disabled by an administrator."""

        state: State

    def change_state(self, state_event: str) -> None:
        """state_event: enable or disable."""
        wanted = {"enable": State.ENABLED, "disable": State.DISABLED}[state_event]
        if wanted is not self.state:
            self.trigger(self.StateChanged(state=wanted))
