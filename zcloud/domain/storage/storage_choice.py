"""Which primary storage a volume goes to where several can take it: the strategies of the reference (behaviours 4)."""

from __future__ import annotations

import enum

from zcloud.domain.infrastructure.host import Host
from zcloud.domain.operations.global_config import setting, setting_int
from zcloud.domain.storage.claimed import is_volume
from zcloud.domain.storage.host_storage import HostStorage
from zcloud.domain.storage.over_provisioning import percent
from zcloud.domain.storage.primary_storage import PrimaryStorage, PrimaryStorageCapacity
from zcloud.kernel.unit import Unit


class StorageStrategy(enum.Enum):
    """Among equals the one that is physically emptiest."""

    DEFAULT = "Default"
    LEAST_VOLUME = "LeastVolume"
    MAXIMUM_AVAILABLE_CAPACITY = "MaximumAvailableCapacity"
    CUSTOM_ORDER = "CustomOrder"


async def best(unit: Unit, host: Host, able: list[PrimaryStorage]) -> PrimaryStorage | None:
    """Of storages that can take it on this host, by the strategy of its cluster; None where there are none."""
    if len(able) < 2:
        return able[0] if able else None
    strategy = StorageStrategy(await setting(unit, "primaryStorage", "allocatorStrategy", host))
    books = await unit.companion(HostStorage, host)
    ranks = {}
    for storage in able:
        rank = await _rank(unit, host, storage, strategy)
        ranks[storage.uuid] = (rank, -books.shares[storage.uuid].available, storage.uuid)
    return min(able, key=lambda storage: ranks[storage.uuid])


async def _rank(unit: Unit, host: Host, storage: PrimaryStorage, strategy: StorageStrategy) -> int:
    """The lowest is best."""
    if strategy is StorageStrategy.LEAST_VOLUME:
        return await _volumes(unit, host, storage)
    if strategy is StorageStrategy.MAXIMUM_AVAILABLE_CAPACITY:
        return -await _left(unit, host, storage)
    if strategy is StorageStrategy.CUSTOM_ORDER:
        return await setting_int(unit, "primaryStorage", "priority", storage)
    return 0


async def _left(unit: Unit, host: Host, storage: PrimaryStorage) -> int:
    """Bytes that are not given out: on this host, or where hosts share them on the whole."""
    ratio = await percent(unit, storage)
    if storage.spans_hosts:
        capacity = await unit.companion(PrimaryStorageCapacity, storage)
        return capacity.total_capacity - capacity.used(ratio)
    share = (await unit.companion(HostStorage, host)).shares[storage.uuid]
    return share.total - share.used(ratio)


async def _volumes(unit: Unit, host: Host, storage: PrimaryStorage) -> int:
    """How many lie there. Books of other hosts are only looked at: they must not guard the decision."""
    look = Unit(unit.cloud, unit.context, unit.now)
    found = 0
    hosts = (await unit.companion(PrimaryStorageCapacity, storage)).hosts if storage.spans_hosts else (host.uuid,)
    for uuid in hosts:
        where = unit if uuid == host.uuid else look
        share = (await where.companion_of(HostStorage, uuid)).shares.get(storage.uuid)
        found += sum(map(is_volume, share.claims)) if share is not None else 0
    return found
