"""Quotas that there are, what counts towards them, and their reservation in the append that needs them.

A kind registers with one line beside it: counts("eip", "eip.num", "20", "Elastic IPs."); one that uses more than
itself says how much with @measures.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from zcloud.domain.identity.account import ADMIN_UUID, Account
from zcloud.domain.identity.quota import AccountUsage, Quota
from zcloud.domain.operations import settings
from zcloud.domain.operations.global_config import setting_bytes
from zcloud.kernel.aggregate import Aggregate, Companion
from zcloud.kernel.errors import Code, Reason, Refused, invalid
from zcloud.kernel.resource import Resource
from zcloud.kernel.settle import follows
from zcloud.kernel.unit import Unit

CATEGORY = "quota"
# What a resource uses, by quota, as it and the facts beside it are. 0: it will use some, nobody knows yet how much.
Measure = Callable[..., dict[str, int]]


@dataclass(frozen=True)
class Measured:
    """A kind that counts, and the facts beside it that its measure is given."""

    kind: str
    beside: tuple[type[Companion], ...]
    measure: Measure


@dataclass(frozen=True)
class Reservation:
    """What a decision takes of a quota, for its plan. total: the limit."""

    account_uuid: str
    name: str
    used: int
    wanted: int
    total: int


KNOWN: dict[str, str] = {}
MEASURED: dict[str, Measured] = {}


def quota(name: str, default: str, description: str) -> str:
    """Make a quota known, with a setting for what new accounts get; gives its name."""
    KNOWN[name] = description
    settings.add(CATEGORY, name, default, f"New accounts may have: {description}")
    return name


def measures(kind: str, *beside: type[Companion]) -> Callable[[Measure], Measure]:
    """The decorated function says what a resource of the kind uses."""

    def register(measure: Measure) -> Measure:
        MEASURED[kind] = Measured(kind, beside, measure)
        return measure

    return register


def counts(kind: str, name: str, default: str, description: str) -> None:
    """Each resource of the kind counts one towards a quota of its own."""
    quota(name, default, description)
    measures(kind)(lambda _: {name: 1})


def known(name: str) -> str:
    """The name, if there is such a quota; raises INVALID_ARGUMENT with the nearest."""
    if name not in KNOWN:
        nearest = difflib.get_close_matches(name, sorted(KNOWN), 1, 0)[0]
        raise invalid("name", name, f'there is no such quota; the nearest is "{nearest}"')
    return name


async def limit_of(unit: Unit, account_uuid: str, name: str) -> int:
    """What the account may have; what new ones get, where it has no quota of its own yet."""
    found = await unit.find(Quota, *Quota.uuids_of(account_uuid, name))
    return found.value if found is not None else await setting_bytes(unit, CATEGORY, name)


async def open_account(unit: Unit, account: Account, used: dict[str, int] | None = None) -> None:
    """Give an account what it has not yet of quotas, and begin to count."""
    if account.uuid == ADMIN_UUID:
        return
    (await unit.companion(AccountUsage, account)).open(used or {})
    for name, description in sorted(KNOWN.items()):
        uuids = Quota.uuids_of(account.uuid, name)
        if await unit.find(Quota, *uuids) is None:
            made = await unit.new(Quota, uuids.uuid, account_uuid=account.uuid)
            made.create(name=name, description=description, value=await setting_bytes(unit, CATEGORY, name))


async def used_by(unit: Unit, resource: Resource) -> dict[str, int]:
    """What a resource uses as the unit sees it."""
    measured = MEASURED[resource.kind]
    if not resource.exists:
        return {}
    return measured.measure(resource, *[await unit.companion(cls, resource) for cls in measured.beside])


async def _used_before(unit: Unit, uuid: str) -> tuple[str, dict[str, int]]:
    """Whose it was and what it used, before this unit."""
    head = await unit.cloud.load(uuid)
    if not isinstance(head, Resource) or not head.exists or head.kind not in MEASURED:
        return "", {}
    measured = MEASURED[head.kind]
    facts: list[Aggregate] = []
    for cls in measured.beside:
        stream = cls.stream_of(uuid, head.life)
        facts.append(await unit.cloud.load(stream, cls) or cls.blank(uuid))
    return head.account_uuid, measured.measure(head, *facts)


def _matters(facts: Companion) -> bool:
    measured = MEASURED.get(facts.of)
    return measured is not None and type(facts) in measured.beside


async def _touched(unit: Unit) -> Iterable[Resource]:
    """Resources that count, and of which this unit changed anything that matters."""
    found: dict[str, Resource] = {}
    for _, aggregate in list(unit.changed()):
        if isinstance(aggregate, Resource):
            if aggregate.kind in MEASURED:
                found[aggregate.uuid] = aggregate
        elif isinstance(aggregate, Companion) and _matters(aggregate):
            head = await unit.cloud.load(aggregate.uuid)
            if aggregate.uuid not in unit.seen and isinstance(head, Resource) and head.account_uuid == ADMIN_UUID:
                continue  # what hosts report of it need not guard it
            resource = await unit.last(Resource, aggregate.uuid)
            if resource is not None:
                found[aggregate.uuid] = resource
    return found.values()


@dataclass
class Claim:
    """What a unit takes of one account's quotas. unknown: some, nobody knows yet how much. handed: with its owner."""

    by: dict[str, int] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    handed: bool = False

    def add(self, amounts: dict[str, int], sign: int) -> None:
        """More, or less."""
        for name, amount in amounts.items():
            self.by[name] = self.by.get(name, 0) + sign * amount


@follows
async def reserve(unit: Unit) -> None:
    """Reserve what the unit's resources use more, give back what they use less; may refuse what a caller asked for."""
    claims: dict[str, Claim] = {}
    for resource in await _touched(unit):
        head = await unit.cloud.load(resource.uuid)
        if {resource.account_uuid, head.account_uuid if isinstance(head, Resource) else ""} <= {"", ADMIN_UUID}:
            continue  # nothing limits the admin account
        owner, before = await _used_before(unit, resource.uuid)
        after = await used_by(unit, resource)
        claims.setdefault(owner, Claim()).add(before, -1)
        claim = claims.setdefault(resource.account_uuid, Claim())
        claim.add(after, 1)
        same = owner == resource.account_uuid
        claim.unknown |= {name for name, amount in after.items() if not amount and not (same and name in before)}
        claim.handed |= bool(owner) and not same
    for account, claim in claims.items():
        if account not in ("", ADMIN_UUID):
            await _charge(unit, account, claim)


def _asked_for(unit: Unit) -> bool:
    """A caller asks, and may be refused; what jobs and hosts report is so, and the admin may do everything."""
    return not unit.context.actor.is_admin and not unit.context.job_uuid


async def _charge(unit: Unit, account_uuid: str, claim: Claim) -> None:
    account = await unit.last(Account, account_uuid)
    if account is None or not account.exists:
        return
    usage = await unit.companion(AccountUsage, account)
    changed = {name: amount for name, amount in sorted(claim.by.items()) if amount}
    for name in sorted({*changed, *claim.unknown}):
        used, limit = usage.used.get(name, 0), await limit_of(unit, account_uuid, name)
        it = Reservation(account_uuid, name, used, claim.by[name], limit)
        grows = it.wanted > 0 or name in claim.unknown
        if grows and used + max(it.wanted, 1) > limit and (claim.handed or _asked_for(unit)):
            raise exceeded(account, it)
        unit.followed.append(it)
    if changed:
        usage.change(changed)


def exceeded(account: Account, it: Reservation) -> Refused:
    """What a caller is told: which quota, what is used of it, and what was wanted."""
    text = (
        f'the quota {it.name} of account "{account.name}" is {it.total}: {it.used} are used and {it.wanted or "some"} '
        "more are wanted; remove what is not needed, or ask the admin for more"
    )
    facts: dict[str, Any] = {"quota": it.name, "used": it.used, "limit": it.total, "wanted": it.wanted}
    return Refused(Code.RESOURCE_EXHAUSTED, Reason.QUOTA_EXCEEDED, text, resource=("account", it.account_uuid), **facts)
