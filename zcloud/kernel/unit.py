"""A unit of decision: the aggregates one command or one turn of a process reads and changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from zcloud.kernel.aggregate import Aggregate, Companion
from zcloud.kernel.context import Context
from zcloud.kernel.errors import Code, Reason, Refused, not_found, precondition
from zcloud.kernel.ids import is_derived
from zcloud.kernel.resource import Resource

if TYPE_CHECKING:
    from zcloud.kernel.cloud import Cloud

R = TypeVar("R", bound=Resource)
C = TypeVar("C", bound=Companion)


class Unit:
    """What a decision sees of the cloud. Everything it read must still be so when it is written."""

    def __init__(self, cloud: Cloud, context: Context, now: int) -> None:
        self.cloud = cloud
        self.context = context
        self.now = now
        self.job_uuid = ""
        self.detail: Any = None
        self.reasons: dict[str, str] = {}
        # What followed from the decision, for its plan.
        self.followed: list[Any] = []
        self.seen: dict[str, tuple[Aggregate | None, int]] = {}
        self._owners: dict[str, tuple[str, str, str]] = {}

    # -- reading

    async def find(self, cls: type[R], uuid: str, before: str = "") -> R | None:
        """The resource, or None when there is none of this kind under the uuid.

        before: of a derived uuid, where it lies in older logs. What is new is never made there; so only one of the two
        can be alive, and whatever else others put there is not of this kind.
        """
        found = await self._load(uuid)
        if isinstance(found, cls) and found.exists:
            return found
        return await self.find(cls, before) if before and self.cloud.older else None

    async def get(self, cls: type[R], uuid: str, before: str = "") -> R:
        """The resource; raises NOT_FOUND. before: as in find."""
        found = await self.find(cls, uuid, before)
        if found is None:
            raise not_found(cls.kind, uuid)
        return found

    async def last(self, cls: type[R], uuid: str, before: str = "") -> R | None:
        """The resource as it is or was; None only when there never was one. before: as in find."""
        found = await self._load(uuid)
        if isinstance(found, cls):
            return found
        return await self.last(cls, before) if before and self.cloud.older else None

    async def usable(self, cls: type[R], uuid: str) -> R:
        """The resource, for something new to rest on; raises also when it is being deleted."""
        found = await self.get(cls, uuid)
        if found.deleting_job:
            raise precondition(
                Reason.BEING_DELETED,
                f'{found.kind} "{found.name}" is being deleted by job {found.deleting_job}',
                job_uuid=found.deleting_job,
            )
        return found

    async def companion(self, cls: type[C], of: Resource) -> C:
        """The facts of this role beside a resource; blank when none was ever recorded."""
        stream = cls.stream_of(of.uuid, of.life)
        self._owners[stream] = (of.account_uuid, of.zone_uuid, of.kind)
        found = cast(C, await self._load(stream, cls, of.uuid))
        found.life = of.life
        return found

    async def companion_of(self, cls: type[C], uuid: str) -> C:
        """As companion, when the resource itself is not at hand; its owner is looked up."""
        owner = await self._load(uuid)
        if not isinstance(owner, Resource):
            raise not_found(cls.of, uuid)
        return await self.companion(cls, owner)

    async def new(self, cls: type[R], uuid: str = "", account_uuid: str | None = None) -> R:
        """A blank resource to create; raises ALREADY_EXISTS when the uuid is in use, or was by another account.

        It belongs to the caller's account unless another is named.
        """
        owner = self.context.actor.account_uuid if account_uuid is None else account_uuid
        if not uuid:
            uuid = self.cloud.ids.new()
            self.cloud.is_fresh(uuid)
        found = await self._load(uuid)
        if found is not None and not self._free(found, owner):
            raise Refused(
                Code.ALREADY_EXISTS,
                Reason.RESOURCE_EXISTS,
                f"{uuid} is in use, or was by another account",
                resource=(cls.kind, uuid),
                kind=cls.kind,
            )
        version = found.version if found is not None else 0
        made = cls.blank(uuid, version)
        made.__dict__["now"] = self.now
        made.life = version
        made.account_uuid = owner
        self.seen[uuid] = (made, version)
        return made

    def _free(self, found: Aggregate, owner: str) -> bool:
        """Whether another life may begin here: what names the one before must not be given somebody else's."""
        if not isinstance(found, Resource) or found.exists:
            return False
        return self.context.actor.is_admin or found.account_uuid == owner or is_derived(found.uuid)

    async def _load(self, stream: str, companion: type[Companion] | None = None, uuid: str = "") -> Aggregate | None:
        if stream in self.seen:
            return self.seen[stream][0]
        head = await self.cloud.load(stream, companion)
        if stream in self.seen:  # a concurrent part of the same body was faster
            return self.seen[stream][0]
        version = head.version if head is not None else 0
        own = head.copy() if head is not None else None
        if own is None and companion is not None:
            own = companion.blank(uuid)
        if own is not None:
            own.__dict__["now"] = self.now
        self.seen[stream] = (own, version)
        return own

    # -- writing

    def savepoint(self) -> dict[str, dict[str, Any]]:
        """What is decided so far, to come back to."""
        return {stream: dict(found.__dict__) for stream, (found, _) in self.seen.items() if found is not None}

    def roll_back(self, to: dict[str, dict[str, Any]]) -> None:
        """Undo what was decided since; what was read since is read again, and still guards the decision."""
        for stream, (aggregate, _) in list(self.seen.items()):
            if stream in to and aggregate is not None:
                aggregate.__dict__.clear()
                aggregate.__dict__.update(to[stream])
            elif aggregate is not None and aggregate.pending:
                del self.seen[stream]

    def because(self, aggregate: Aggregate, reason: str) -> None:
        """Say why, for the events of one aggregate; otherwise the caller's reason stands."""
        self.reasons[aggregate.stream] = reason

    def changed(self) -> Iterator[tuple[str, Aggregate]]:
        """Aggregates with events to write, in the order in which they were read."""
        for stream, (aggregate, _) in self.seen.items():
            if aggregate is not None and aggregate.__dict__["pending"]:  # asked very often
                yield stream, aggregate

    def envelope(self, aggregate: Aggregate) -> tuple[str, str, str]:
        """Owner, zone and kind of the resource, for the envelope of an aggregate's events."""
        if isinstance(aggregate, Resource):
            zone = aggregate.uuid if aggregate.kind == "zone" else aggregate.zone_uuid
            return aggregate.account_uuid, zone, aggregate.kind
        return self._owners.get(aggregate.stream, ("", "", aggregate.kind))

    def port(self, name: str) -> Any:
        """What the node gives decisions to look beyond aggregates: read models, settings, secrets."""
        return self.cloud.ports[name]
