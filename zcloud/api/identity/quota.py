"""UpdateQuota by account and name, and what an account has of each thing that has a quota (ACC-06, ACC-07)."""

from __future__ import annotations

from typing import Any

from zcloud.api import access, rules
from zcloud.api.call import Call
from zcloud.api.handlers import command, query
from zcloud.domain.identity.account import ADMIN_UUID, Account
from zcloud.domain.identity.quota import AccountUsage, Quota
from zcloud.domain.identity.quotas import KNOWN, MEASURED, known, limit_of, open_account, used_by
from zcloud.kernel.errors import Reason, not_found, precondition
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.v1 import quota_pb2 as pb


@command("UpdateQuota")
async def update_quota(call: Call, unit: Unit, request: Any) -> Quota:
    """In force at once."""
    name = known(request.name)
    account = await unit.usable(Account, request.identity_uuid)
    if account.uuid == ADMIN_UUID:
        raise precondition(Reason.NOT_SUPPORTED, "nothing limits the admin account; it has no quotas")
    await open_account(unit, account)
    found = await unit.get(Quota, *Quota.uuids_of(account.uuid, name))
    found.limit(request.value)
    return found


@query("GetAccountQuotaUsage")
async def get_account_quota_usage(call: Call, request: Any) -> pb.GetAccountQuotaUsageResponse:
    """As the append that changed it last said; the admin's, which nothing limits, is counted anew."""
    rules.check(request)
    unit = Unit(call.node.cloud, call.context, call.node.cloud.clock.now())
    uuid = request.uuid or call.actor.account_uuid
    account = await unit.find(Account, uuid)
    if account is None:
        raise not_found("account", uuid)
    access.must_see(call.actor, account, "account")
    unlimited = account.uuid == ADMIN_UUID
    used = await counted(unit, uuid) if unlimited else (await unit.companion(AccountUsage, account)).used
    response = pb.GetAccountQuotaUsageResponse()
    for name in sorted(KNOWN):
        total = 0 if unlimited else await limit_of(unit, uuid, name)
        response.usages.add(name=name, used=used.get(name, 0), total=total, unlimited=unlimited)
    return response


async def counted(unit: Unit, account_uuid: str) -> dict[str, int]:
    """What an account has, resource by resource; not for the hot path."""
    used: dict[str, int] = {}
    for kind in MEASURED:
        for uuid in await unit.port("views").owned(kind, account_uuid):
            resource = await unit.find(Resource, uuid)
            for name, amount in (await used_by(unit, resource) if resource is not None else {}).items():
                used[name] = used.get(name, 0) + amount
    return used


async def accounts_to_open(views: Any) -> list[str]:
    """Accounts from before there were quotas, and those that lack a quota which another version did not know."""
    rows = await views.rows("quota", "identity_uuid", "name")
    have = {(row["identity_uuid"], row["name"]) for row in rows}
    accounts = [uuid for uuid in await views.where("account") if uuid != ADMIN_UUID]
    return [uuid for uuid in accounts if not {(uuid, name) for name in KNOWN} <= have]


async def open_anew(unit: Unit, account_uuid: str) -> None:
    """With what the account has already, also of what was not counted until now."""
    account = await unit.find(Account, account_uuid)
    if account is not None:
        usage = await unit.companion(AccountUsage, account)
        lacks = [name for name in KNOWN if await unit.find(Quota, *Quota.uuids_of(account_uuid, name)) is None]
        used = await counted(unit, account_uuid)
        usage.open(used)
        await open_account(unit, account)
        more = {name: used.get(name, 0) - usage.used.get(name, 0) for name in lacks}
        if any(more.values()):
            usage.change(more)
