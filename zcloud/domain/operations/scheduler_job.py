"""Scheduled job: an action with fixed arguments on one or many resources. When it runs is said by schedulers."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from zcloud.kernel.aggregate import Companion
from zcloud.kernel.context import Actor
from zcloud.kernel.errors import Reason, invalid, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.resource import UNSET, Creation, State, Switched, Unset


class JobType(enum.Enum):
    """Names for the actions that most people want; Action is any other."""

    START_VM = "StartVm"
    STOP_VM = "StopVm"
    REBOOT_VM = "RebootVm"
    VM_SNAPSHOT = "VmSnapshot"
    VOLUME_SNAPSHOT = "VolumeSnapshot"
    IMAGE_BACKUP = "ImageBackup"
    ACTION = "Action"


# What each type calls (SCH-05).
ACTIONS = {
    JobType.START_VM: "StartVmInstance",
    JobType.STOP_VM: "StopVmInstance",
    JobType.REBOOT_VM: "RebootVmInstance",
    JobType.VM_SNAPSHOT: "CreateVolumeSnapshotGroup",
    JobType.VOLUME_SNAPSHOT: "CreateVolumeSnapshot",
    JobType.IMAGE_BACKUP: "CreateBackupImageFromVmInstance",
}
SNAPSHOTS = ("CreateVolumeSnapshotGroup", "CreateVolumeSnapshot")
COPIES = (*SNAPSHOTS, ACTIONS[JobType.IMAGE_BACKUP])


class JobTarget(msgspec.Struct, frozen=True, omit_defaults=True):
    """One resource. account_uuid: its owner when it became a target. note: why it is disabled."""

    target_uuid: str
    account_uuid: str = ""
    state: State = State.ENABLED
    note: str = ""


class SchedulerJob(Switched, kind="scheduler_job"):
    """action: an RPC. arguments: JSON. made_by: under whose rights it runs."""

    type: JobType = JobType.ACTION
    action: str = ""
    arguments: str = ""
    # Where the uuid of the target goes in the request, and of which kind that is.
    target_field: str = ""
    target_kind: str = ""
    targets: tuple[JobTarget, ...] = ()
    reserved_snapshots: int = 0
    max_retries: int = 0
    retry_interval: int = 0
    made_by: Actor = Actor()

    class Created(Creation):
        """It can be attached to schedulers."""

        type: JobType
        action: str
        arguments: str = ""
        target_field: str
        target_kind: str
        targets: tuple[JobTarget, ...]
        reserved_snapshots: int = 0
        max_retries: int = 0
        retry_interval: int = 0
        made_by: Actor = Actor()

    class OrderChanged(Event):
        """Other targets, arguments or limits."""

        arguments: str | Unset = UNSET
        targets: tuple[JobTarget, ...] | Unset = UNSET
        reserved_snapshots: int | Unset = UNSET
        max_retries: int | Unset = UNSET
        retry_interval: int | Unset = UNSET

    class TargetDisabled(Event):
        """It is left out until the job is enabled again."""

        resource_uuid: str
        note: str

        def apply(self, aggregate: Any) -> None:
            aggregate.targets = tuple(
                JobTarget(t.target_uuid, t.account_uuid, State.DISABLED, self.note)
                if t.target_uuid == self.resource_uuid
                else t
                for t in aggregate.targets
            )

    class TargetLost(Event):
        """The resource is gone for ever."""

        resource_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.targets = tuple(t for t in aggregate.targets if t.target_uuid != self.resource_uuid)

    class TargetsEnabled(Event):
        """All of them take part again, whoever owns them now."""

        targets: tuple[JobTarget, ...]

    @property
    def acts_as(self) -> Actor:
        """Whose rights a run has: its maker's, as long as they are of the account that owns the job."""
        own = self.made_by.account_uuid == self.account_uuid
        return self.made_by if own else Actor(account_uuid=self.account_uuid)

    @property
    def enabled_targets(self) -> tuple[JobTarget, ...]:
        """Those that take part in a run."""
        return tuple(t for t in self.targets if t.state is State.ENABLED)

    def create(self, *, name: str, description: str = "", **order: Any) -> None:
        """order: the fields of Created."""
        _check(order)
        self.trigger(self.Created(name=name, description=description, account_uuid=self.account_uuid, **order))

    def change_order(self, **changes: Any) -> None:
        """What is the same is no event."""
        _check({"action": self.action, **changes})
        new = {name: value for name, value in changes.items() if value != getattr(self, name)}
        if new:
            self.trigger(self.OrderChanged(**new))

    def enable(self, targets: tuple[JobTarget, ...]) -> None:
        """targets: all of them, as they are now."""
        if not targets:
            raise precondition(Reason.WRONG_STATE, f'scheduled job "{self.name}" has no targets left')
        if targets != self.targets:
            self.trigger(self.TargetsEnabled(targets=targets))
        self.change_state("enable")

    def disable_target(self, resource_uuid: str, note: str) -> None:
        """It waits until somebody enables the job; a job whose targets all wait is disabled itself."""
        if any(t.target_uuid == resource_uuid for t in self.enabled_targets):
            self.trigger(self.TargetDisabled(resource_uuid=resource_uuid, note=note))
            if not self.enabled_targets:
                self.change_state("disable")

    def lose_target(self, resource_uuid: str) -> None:
        """It is gone; whoever calls sees to a job that has none left."""
        if any(t.target_uuid == resource_uuid for t in self.targets):
            self.trigger(self.TargetLost(resource_uuid=resource_uuid))
            if self.targets and not self.enabled_targets:
                self.change_state("disable")


def _check(order: dict[str, Any]) -> None:
    if order.get("reserved_snapshots") and not order["action"].startswith(("Create", "Add")):
        raise invalid(
            "reserved_snapshots",
            order["reserved_snapshots"],
            f"is for actions that make something, such as snapshots; {order['action']} makes nothing",
        )


class SchedulerJobSchedulers(Companion, of="scheduler_job", role="schedulers"):
    """The schedulers that it is attached to."""

    scheduler_uuids: tuple[str, ...] = ()

    class Attached(Event):
        """This scheduler runs it, too."""

        scheduler_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.scheduler_uuids = (*aggregate.scheduler_uuids, self.scheduler_uuid)

    class Detached(Event):
        """It no longer does."""

        scheduler_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.scheduler_uuids = tuple(u for u in aggregate.scheduler_uuids if u != self.scheduler_uuid)


class SchedulerJobRuns(Companion, of="scheduler_job", role="runs"):
    """Which occurrences are at work, which wait for them, and what earlier ones have made and is kept."""

    running_occurrence_uuids: tuple[str, ...] = ()
    waiting_occurrence_uuids: tuple[str, ...] = ()
    last_run_date: int = 0
    last_run_state: str = ""
    # Target -> what was made of it, oldest first.
    products: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - replaced by folds
    product_kind: str = ""

    class Began(Event):
        """An occurrence runs."""

        occurrence_uuid: str

        def apply(self, aggregate: Any) -> None:
            uuid = self.occurrence_uuid
            aggregate.running_occurrence_uuids = (*aggregate.running_occurrence_uuids, uuid)
            aggregate.waiting_occurrence_uuids = tuple(u for u in aggregate.waiting_occurrence_uuids if u != uuid)
            aggregate.last_run_date = aggregate.last_op_date

    class Queued(Event):
        """An occurrence waits for those that run."""

        occurrence_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.waiting_occurrence_uuids = (*aggregate.waiting_occurrence_uuids, self.occurrence_uuid)

    class Ended(Event):
        """An occurrence has ended, or waits no more."""

        occurrence_uuid: str
        state: str

        def apply(self, aggregate: Any) -> None:
            left = (self.occurrence_uuid,)
            if self.occurrence_uuid in aggregate.running_occurrence_uuids:
                aggregate.last_run_state = self.state
            aggregate.running_occurrence_uuids = tuple(u for u in aggregate.running_occurrence_uuids if u not in left)
            aggregate.waiting_occurrence_uuids = tuple(u for u in aggregate.waiting_occurrence_uuids if u not in left)

    class Made(Event):
        """A run has made something of a target that is kept until newer ones are there."""

        resource_uuid: str
        product_uuid: str
        product_kind: str

        def apply(self, aggregate: Any) -> None:
            before = aggregate.products.get(self.resource_uuid, ())
            aggregate.products = {**aggregate.products, self.resource_uuid: (*before, self.product_uuid)}
            aggregate.product_kind = self.product_kind

    class Forgotten(Event):
        """It is gone."""

        resource_uuid: str
        product_uuids: tuple[str, ...]

        def apply(self, aggregate: Any) -> None:
            left = tuple(u for u in aggregate.products.get(self.resource_uuid, ()) if u not in self.product_uuids)
            others = {t: made for t, made in aggregate.products.items() if t != self.resource_uuid}
            aggregate.products = {**others, self.resource_uuid: left} if left else others
