"""CreateUserTag: a text on a resource, which is named by its type and uuid as in ZStack (BS-21, TAG-06)."""

from __future__ import annotations

from typing import Any

from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.api.operations.tag import own
from zcloud.domain.operations.user_tag import UserTag, mark, taggable
from zcloud.kernel.unit import Unit


@command("CreateUserTag")
async def create_user_tag(call: Call, unit: Unit, request: Any) -> UserTag:
    """On what the caller owns; the admin's go on everything."""
    cls = taggable(request.resource_type)
    resource = await own(call, unit, request.resource_uuid, cls)
    return await mark(unit, call.actor.account_uuid, request.tag, resource, resource_kind=cls.kind)
