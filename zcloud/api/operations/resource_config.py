"""Settings of single resources: named by category, name and resource, as in ZStack (UI-04)."""

from __future__ import annotations

from typing import Any

from zcloud.api import rules
from zcloud.api.call import Call
from zcloud.api.handlers import command, query
from zcloud.domain.identity.account import ADMIN_UUID
from zcloud.domain.operations.global_config import follow, setting
from zcloud.domain.operations.resource_config import ResourceConfig, level_of, nearest, places
from zcloud.domain.operations.settings import known
from zcloud.kernel.errors import Reason, precondition
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.v1 import resource_config_pb2 as pb


@command("UpdateResourceConfig")
async def update_resource_config(call: Call, unit: Unit, request: Any) -> ResourceConfig:
    """Made where there is none yet."""
    del call
    wanted = known(request.category, request.name)
    resource = await unit.usable(Resource, request.resource_uuid)
    kind = level_of(wanted, resource)
    uuids = ResourceConfig.uuids_of(wanted.category, wanted.name, resource.uuid)
    found = await unit.find(ResourceConfig, *uuids)
    if found is None:
        found = await unit.new(ResourceConfig, uuids.uuid, account_uuid=ADMIN_UUID)
        found.create(wanted, request.value, kind, resource.uuid)
    else:
        found.set(wanted, request.value)
    await follow(unit, wanted)
    return found


@command("DeleteResourceConfig")
async def delete_resource_config(call: Call, unit: Unit, request: Any) -> ResourceConfig:
    """Raises FAILED_PRECONDITION where the resource has no value of its own."""
    del call
    wanted = known(request.category, request.name)
    resource = await unit.get(Resource, request.resource_uuid)
    found = await unit.find(ResourceConfig, *ResourceConfig.uuids_of(wanted.category, wanted.name, resource.uuid))
    if found is None:
        text = f'{resource.kind} "{resource.name}" has no value of {wanted.category}/{wanted.name} of its own'
        raise precondition(Reason.NOT_ATTACHED, text, resource_uuid=resource.uuid)
    found.remove()
    await follow(unit, wanted)
    return found


@query("GetResourceConfig")
async def get_resource_config(call: Call, request: Any) -> pb.GetResourceConfigResponse:
    """What decides for the resource, and all that could."""
    rules.check(request)
    wanted = known(request.category, request.name)
    unit = Unit(call.node.cloud, call.context, call.node.cloud.clock.now())
    resource = await unit.get(Resource, request.resource_uuid)
    level_of(wanted, resource)
    decides = await nearest(unit, wanted, resource)
    response = pb.GetResourceConfigResponse(value=await setting(unit, wanted.category, wanted.name, resource))
    if decides is not None:
        response.resource_kind, response.resource_uuid = decides.resource_kind, decides.resource_uuid
    for kind, uuid in await places(unit, wanted, resource):
        found = await unit.find(ResourceConfig, *ResourceConfig.uuids_of(wanted.category, wanted.name, uuid))
        value = found.value if found is not None else None
        response.levels.add(resource_kind=kind, resource_uuid=uuid, value=value)
    response.levels.add(value=await setting(unit, wanted.category, wanted.name))
    return response
