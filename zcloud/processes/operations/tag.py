"""A tag that is deleted comes off everything; so does all that a deleted account had marked."""

from __future__ import annotations

from zcloud.domain.operations.user_tag import UserTag, unmark
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.processes.operations.deletion import on_delete


@on_delete("tag")
async def take_off(unit: Unit, tag: Resource) -> None:
    """Nothing more came on since the deletion began, and the read models know all that did before."""
    await _unmark_all(unit, await unit.port("views").where("user_tag", pattern_tag_uuid=tag.uuid))


@on_delete("account")
async def forget_marks(unit: Unit, account: Resource) -> None:
    """What an account owned is gone with its marks; these are on what it did not own."""
    await _unmark_all(unit, await unit.port("views").owned("user_tag", account.uuid))


async def _unmark_all(unit: Unit, uuids: list[str]) -> None:
    for uuid in uuids:
        user_tag = await unit.find(UserTag, uuid)
        if user_tag is not None:
            await unmark(unit, user_tag)
