"""What is not standard about tags: they go on resources of any kind, and come off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from zcloud.api import access
from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.api.pipeline import inventory
from zcloud.api.standard import remove
from zcloud.domain.operations.tag import Tag, TagType
from zcloud.domain.operations.user_tag import UNTAGGABLE, UserTag, mark, marks, unmark
from zcloud.kernel.errors import not_found
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.v1 import tag_pb2 as pb
from zcloud.v1.user_tag_pb2 import UserTag as UserTagMessage


async def own(call: Call, unit: Unit, uuid: str, cls: type[Resource] = Resource) -> Resource:
    """What the caller may mark: everything for the admin, else what is its own."""
    found = await unit.find(cls, uuid)
    if found is None or found.kind in UNTAGGABLE:
        raise not_found(cls.kind, uuid)
    access.must_own(call.actor, found, cls.kind or "resource")
    return found


async def _resources(call: Call, unit: Unit, request: Any) -> AsyncIterator[Resource]:
    for uuid in dict.fromkeys(request.resource_uuids):
        yield await own(call, unit, uuid)


@command("AttachTagToResources")
async def attach_tag_to_resources(call: Call, unit: Unit, request: Any) -> pb.AttachTagToResourcesResponse:
    """A tag that the admin shares with an account is put on by that account, and goes as its own tags do."""
    tag = await unit.usable(Tag, request.tag_uuid)
    owner = tag.account_uuid if tag.type is TagType.TENANT else call.actor.account_uuid
    response = pb.AttachTagToResourcesResponse()
    async for resource in _resources(call, unit, request):
        tag.must_go_on(resource)
        made = await mark(unit, owner, tag.value, resource, pattern_tag_uuid=tag.uuid)
        response.inventories.add().CopyFrom(await inventory(unit, UserTagMessage, made))
    return response


@command("DetachTagFromResources")
async def detach_tag_from_resources(call: Call, unit: Unit, request: Any) -> pb.DetachTagFromResourcesResponse:
    """What is not on needs no event; the admin takes off everybody's (TAG-04)."""
    tag = await unit.get(Tag, request.tag_uuid)
    response = pb.DetachTagFromResourcesResponse()
    async for resource in _resources(call, unit, request):
        for found in await marks(unit, resource):
            mine = call.actor.is_admin or found.account_uuid == call.actor.account_uuid
            if mine and found.pattern_tag_uuid == tag.uuid:
                response.inventories.add().CopyFrom(await inventory(unit, UserTagMessage, found))
                await unmark(unit, found)
    return response


@command("DeleteTag")
async def delete_tag(call: Call, unit: Unit, request: Any) -> Any:
    """A tag by a job, a user tag at once (TAG-06)."""
    found = await unit.find(Resource, request.uuid)
    if not isinstance(found, Tag | UserTag):
        raise not_found("tag", request.uuid)
    access.must_own(call.actor, found, "tag")
    if isinstance(found, Tag):
        return await remove(call, unit, found, request)
    response = pb.DeleteTagResponse()
    response.user_tag.CopyFrom(await inventory(unit, UserTagMessage, found))
    await unmark(unit, found)
    return response
