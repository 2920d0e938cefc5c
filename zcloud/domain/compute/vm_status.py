"""What state a VM is in and where: facts of jobs and hosts, beside the VM, so that no caller's version moves."""

from __future__ import annotations

from typing import Any

import msgspec

from zcloud.domain.compute.vm_state import AT_REST, INTERMEDIATE, VmEvent, VmState, next_state, path_to
from zcloud.kernel.aggregate import Companion
from zcloud.kernel.errors import Reason, Refused, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.resource import UNSET, Unset


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stable state and where it was, for an operation that fails to go back to."""

    state: VmState = VmState.CREATED
    host_uuid: str = ""
    last_host_uuid: str = ""
    state_reason: str = ""


# What a VM does is known, and that all is well with it is what would be thought.
_SEEN = frozenset({VmState.RUNNING, VmState.PAUSED})


class Transition(Event):
    """Base of all that moves a VM. state is what it led to when it happened: folds know no table."""

    state: VmState
    state_reason: str = ""
    host_uuid: str | Unset = UNSET
    cluster_uuid: str | Unset = UNSET
    hypervisor_type: str | Unset = UNSET

    def apply(self, aggregate: Any) -> None:
        anew = aggregate.state in (VmState.STARTING, VmState.REBOOTING) and type(self) is VmInstanceStatus.Running
        if self.state in INTERMEDIATE and aggregate.state not in INTERMEDIATE:
            aggregate.before = Place(
                aggregate.state, aggregate.host_uuid, aggregate.last_host_uuid, aggregate.state_reason
            )
        if self.host_uuid is not UNSET and self.host_uuid != aggregate.host_uuid and aggregate.host_uuid:
            aggregate.last_host_uuid = aggregate.host_uuid
        super().apply(aggregate)
        if anew or self.state in AT_REST or type(self) is VmInstanceStatus.Migrated:
            aggregate.disk_errors = ""
        elif aggregate.disk_errors and self.state in _SEEN:
            aggregate.state_reason = aggregate.disk_errors
        if self.state is VmState.DESTROYED:
            aggregate.destroyed_date = aggregate.last_op_date


class VmInstanceStatus(Companion, of="vm_instance", role="status"):
    """host_uuid: where it runs, or may run; empty when it certainly runs nowhere."""

    state: VmState = VmState.CREATED
    state_reason: str = ""
    host_uuid: str = ""
    cluster_uuid: str = ""
    last_host_uuid: str = ""
    hypervisor_type: str = ""
    # Where it goes, while it is Migrating.
    destination_uuid: str = ""
    # What to go back to while an operation is at work; when it came into the recycle bin.
    before: Place = Place()
    destroyed_date: int = 0
    # Why its disks give errors; until its process ends, whatever becomes of its host meanwhile.
    disk_errors: str = ""

    class Created(Event):
        """It is a record; no host knows of it."""

        def apply(self, aggregate: Any) -> None:
            aggregate.state, aggregate.state_reason = VmState.CREATED, ""
            aggregate.host_uuid = aggregate.cluster_uuid = aggregate.last_host_uuid = aggregate.hypervisor_type = ""
            aggregate.before, aggregate.destroyed_date, aggregate.disk_errors = Place(), 0, ""

    class DisksFailed(Event):
        """Its disks have been open through something that has ended."""

        disk_errors: str

        def apply(self, aggregate: Any) -> None:
            aggregate.disk_errors = self.disk_errors
            if aggregate.state in _SEEN:
                aggregate.state_reason = self.disk_errors

    class Starting(Transition):
        """A host was chosen, and has to start it."""

    class Running(Transition):
        """It runs."""

    class Stopping(Transition):
        """Its host has to stop it."""

    class Stopped(Transition):
        """It runs nowhere."""

    class Rebooting(Transition):
        """Its host has to stop and start it."""

    class Pausing(Transition):
        """Its host has to stop its CPUs."""

    class Paused(Transition):
        """Its CPUs stand still, its memory is kept."""

    class Resuming(Transition):
        """Its host has to let its CPUs go on."""

    class Destroying(Transition):
        """It is on its way to the recycle bin."""

    class Destroyed(Transition):
        """In the recycle bin."""

    class Expunging(Transition):
        """On its way out of the recycle bin."""

    class Migrating(Transition):
        """On its way to another host, which keeps room for it."""

        destination_uuid: str = ""

    class Migrated(Transition):
        """It runs on the other host."""

    class VolumeMigrating(Transition):
        """Its volumes are on their way to another storage."""

    class VolumeMigrated(Transition):
        """They are there."""

    class VolumeRecovering(Transition):
        """Its volumes are being restored while it runs."""

    class VolumeRecovered(Transition):
        """They are whole."""

    class Crashed(Transition):
        """The guest has panicked."""

    class NoState(Transition):
        """The hypervisor has it and cannot say what it does."""

    class Unknown(Transition):
        """Its host cannot be asked: what it does is not known, and it starts nowhere else."""

    class Reverted(Transition):
        """An operation failed: all is as it was before."""

        last_host_uuid: str | Unset = UNSET

        def apply(self, aggregate: Any) -> None:
            super().apply(aggregate)
            if self.last_host_uuid is not UNSET:
                aggregate.last_host_uuid = self.last_host_uuid

    def created(self) -> None:
        """A new VM, or a new one under the uuid of one that is gone."""
        self.trigger(self.Created())

    def take(
        self, event: VmEvent, reason: str = "", *, host: tuple[str, str, str] | None = None, leave: bool = False
    ) -> None:
        """Move along the table. host: (uuid, cluster, hypervisor) it is on from now on. leave: it is on none."""
        state = next_state(self.state, event)
        where: dict[str, str] = {}
        if host is not None:
            where = {"host_uuid": host[0], "cluster_uuid": host[1], "hypervisor_type": host[2]}
            where = {name: value for name, value in where.items() if value != getattr(self, name)}
        elif leave and self.host_uuid:
            where = {"host_uuid": ""}
        if state is self.state and not where and reason == self.state_reason:
            return
        self.trigger(EVENTS[event](state=state, state_reason=reason, **where))

    def disks_failed(self, reason: str) -> None:
        """Of one whose process has them open. The same again is no event."""
        if self.state not in AT_REST and self.state is not VmState.STARTING and reason != self.disk_errors:
            self.trigger(self.DisksFailed(disk_errors=reason))

    def migrate(self, destination_uuid: str) -> None:
        """The other host has claimed room for it in the same unit."""
        state = next_state(self.state, VmEvent.MIGRATING)
        self.trigger(self.Migrating(state=state, destination_uuid=destination_uuid))

    def found(self, real: VmState, reason: str, *, host: tuple[str, str, str] | None = None) -> bool:
        """A host says what state it really is in; whether that is news. A report ends an operation that failed."""
        if real is self.state and (host is None or host[0] == self.host_uuid or real is VmState.STOPPED):
            return False
        if self.state in INTERMEDIATE and len(path_to(self.state, real)) != 1:
            self.revert(reason)
            if real is self.state:
                return True
        for event in path_to(self.state, real):
            stopped = real is VmState.STOPPED
            self.take(event, reason, host=None if stopped else host, leave=stopped)
        return True

    def lost(self, reason: str) -> None:
        """Its host cannot be asked. A VM that is at rest is so wherever its host is."""
        if self.state not in AT_REST and self.state is not VmState.UNKNOWN:
            self.take(VmEvent.UNKNOWN, reason)

    def revert(self, reason: str) -> None:
        """The operation at work failed and left no trace; in a stable state there is nothing to go back to."""
        if self.state not in INTERMEDIATE:
            return
        before = self.before
        self.trigger(
            self.Reverted(
                state=before.state,
                state_reason=reason,
                host_uuid=before.host_uuid,
                last_host_uuid=before.last_host_uuid,
            )
        )

    def must_allow(self, operation: str, allowed: frozenset[VmState]) -> None:
        """Refuses an operation in a state in which it makes no sense; names both."""
        if self.state not in allowed:
            raise self.refusal(operation, allowed)

    def refusal(self, operation: str, allowed: frozenset[VmState]) -> Refused:
        """What a caller is told: the state it is in, and those in which it would have worked."""
        states = ", ".join(sorted(state.value for state in allowed - INTERMEDIATE))
        text = f"cannot {operation} VM {self.uuid}: it is {self.state.value}; it must be {states}"
        return precondition(Reason.WRONG_STATE, text, state=self.state.value, allowed=states)


EVENTS: dict[VmEvent, type[Transition]] = {
    event: getattr(VmInstanceStatus, event.value[0].upper() + event.value[1:]) for event in VmEvent
}
