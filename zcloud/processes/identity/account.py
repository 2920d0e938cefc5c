"""What goes with an account besides what it owns: its sessions and quotas end, and its name is free again (ACC-01)."""

from __future__ import annotations

from zcloud.domain.identity.account import LoginName
from zcloud.domain.identity.quota import Quota
from zcloud.domain.identity.session import Session
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.processes.operations.deletion import on_delete


@on_delete("account")
async def forget_account(unit: Unit, account: Resource) -> None:
    """In the append that removes the account."""
    for uuid in await unit.port("views").owned("session", account.uuid):
        session = await unit.find(Session, uuid)
        if session is not None:
            session.remove()
    for uuid in await unit.port("views").owned("quota", account.uuid):
        quota = await unit.find(Quota, uuid)
        if quota is not None:
            quota.remove()
    name = await unit.find(LoginName, *LoginName.uuids_of(account.name))
    if name is not None and name.account == account.uuid:
        name.remove()
