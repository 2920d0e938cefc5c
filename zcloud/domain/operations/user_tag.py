"""User tag: one text on one resource of any kind (TAG-06, BS-21); it goes with the resource, or with its tag."""

from __future__ import annotations

import difflib
from typing import Any

from zcloud.domain.identity.account import ADMIN_UUID
from zcloud.domain.operations.tag import TagType, type_of
from zcloud.kernel.aggregate import Companion, by_kind, kinds, snake
from zcloud.kernel.errors import Refused, invalid
from zcloud.kernel.event import Event
from zcloud.kernel.ids import Derived, derived
from zcloud.kernel.resource import Creation, Resource
from zcloud.kernel.settle import follows, removed
from zcloud.kernel.unit import Unit

# What is no thing of its own to be marked: tags themselves, and what only serves others.
UNTAGGABLE = frozenset({"tag", "user_tag", "session", "login_name", "enroll_token"})


class UserTag(Resource, kind="user_tag"):
    """resource_kind: the kind under which the resource was tagged. pattern_tag_uuid: of the tag that was attached."""

    goes_with_owner = False
    shareable = False

    type: TagType = TagType.TENANT
    tag: str = ""
    resource_kind: str = ""
    resource_type: str = ""
    resource_uuid: str = ""
    pattern_tag_uuid: str = ""

    class Created(Creation):
        """A resource was marked."""

        type: TagType
        tag: str
        resource_kind: str
        resource_type: str
        resource_uuid: str
        pattern_tag_uuid: str = ""

    @staticmethod
    def uuids_of(account_uuid: str, tag: str, resource: Resource) -> Derived:
        """An account marks a resource with a text once, in each of the resource's lives."""
        return derived("user_tag", account_uuid, tag, resource.uuid, str(resource.life))

    def create(self, *, tag: str, resource: Resource, resource_kind: str, pattern_tag_uuid: str = "") -> None:
        """The caller sees to the resource's list of tags."""
        self.trigger(
            self.Created(
                name=tag,
                account_uuid=self.account_uuid,
                type=type_of(self.account_uuid),
                tag=tag,
                resource_kind=resource_kind,
                resource_type=type_name(resource_kind),
                resource_uuid=resource.uuid,
                pattern_tag_uuid=pattern_tag_uuid,
            )
        )


class ResourceTags(Companion, of="resource", role="tags"):
    """The user tags of a resource, so that they go when it goes."""

    user_tag_uuids: tuple[str, ...] = ()

    class Attached(Event):
        """One more."""

        user_tag_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.user_tag_uuids = (*aggregate.user_tag_uuids, self.user_tag_uuid)

    class Detached(Event):
        """One less."""

        user_tag_uuid: str

        def apply(self, aggregate: Any) -> None:
            aggregate.user_tag_uuids = tuple(u for u in aggregate.user_tag_uuids if u != self.user_tag_uuid)


def type_name(kind: str) -> str:
    """As ZStack names a kind of resource: BackupStorageVO."""
    return "".join(word.capitalize() for word in kind.split("_")) + "VO"


def taggable_kinds() -> list[str]:
    """Everything that callers may mark, with the kinds that others extend."""
    concrete = [cls for cls in kinds().values() if issubclass(cls, Resource)]
    return sorted({kind for cls in concrete for kind in cls.kinds} - UNTAGGABLE)


def taggable(text: str) -> type[Resource]:
    """The class that BackupStorageVO, BackupStorage or backup_storage names; raises INVALID_ARGUMENT."""
    known = taggable_kinds()
    kind = text if text in known else snake(text.removesuffix("VO"))
    if kind not in known:
        raise _unknown(text, known)
    found = by_kind(kind)
    assert issubclass(found, Resource)
    return found


def _unknown(text: str, known: list[str]) -> Refused:
    nearest = difflib.get_close_matches(snake(text.removesuffix("VO")), known, 1, 0)[0]
    return invalid("resource_type", text, f"is no kind that can be tagged; the nearest is {type_name(nearest)}")


async def mark(
    unit: Unit, account_uuid: str, tag: str, resource: Resource, *, resource_kind: str = "", pattern_tag_uuid: str = ""
) -> UserTag:
    """Put an account's text on a resource; the same again is the one that is there."""
    uuids = UserTag.uuids_of(account_uuid, tag, resource)
    there = await unit.find(UserTag, *uuids)
    if there is not None:
        return there
    made = await unit.new(UserTag, uuids.uuid, account_uuid=account_uuid)
    made.create(
        tag=tag,
        resource=resource,
        resource_kind=resource_kind or resource.kind,
        pattern_tag_uuid=pattern_tag_uuid,
    )
    tags = await unit.companion(ResourceTags, resource)
    tags.trigger(ResourceTags.Attached(user_tag_uuid=made.uuid))
    return made


async def unmark(unit: Unit, user_tag: UserTag) -> None:
    """Take it off, wherever it is."""
    resource = await unit.find(Resource, user_tag.resource_uuid)
    if resource is not None:
        tags = await unit.companion(ResourceTags, resource)
        if user_tag.uuid in tags.user_tag_uuids:
            tags.trigger(ResourceTags.Detached(user_tag_uuid=user_tag.uuid))
    user_tag.remove()


async def marks(unit: Unit, resource: Resource) -> list[UserTag]:
    """What is on a resource, in the order in which it came on."""
    tags = await unit.companion(ResourceTags, resource)
    found = [await unit.find(UserTag, uuid) for uuid in tags.user_tag_uuids]
    return [user_tag for user_tag in found if user_tag is not None]


async def drop_foreign(unit: Unit, resource: Resource) -> None:
    """The resource has changed hands: what other accounts than the admin put on it falls off (TAG-05)."""
    for user_tag in await marks(unit, resource):
        if user_tag.account_uuid not in (ADMIN_UUID, resource.account_uuid):
            await unmark(unit, user_tag)


@follows
async def gone_with_resource(unit: Unit) -> None:
    """In the append that removes a resource."""
    for resource in removed(unit):
        if resource.kind not in UNTAGGABLE:
            for user_tag in await marks(unit, resource):
                user_tag.remove()
