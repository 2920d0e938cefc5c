"""Which storage a volume goes to, by each strategy of the reference (behaviours 4, PS-18, UI-04)."""

from __future__ import annotations

import pytest

from tests.domain.storage.ground import GIB, Ground, events, run
from zcloud.domain.operations.resource_config import ResourceConfig
from zcloud.domain.operations.settings import known
from zcloud.domain.storage import allocation
from zcloud.domain.storage.volume_room import choose_storage
from zcloud.kernel.resource import Resource


def put(ground: Ground, name: str, of: Resource, value: str) -> None:
    key = known("primaryStorage", name)
    made = run(ground.unit.new(ResourceConfig, ResourceConfig.uuids_of(key.category, key.name, of.uuid).uuid))
    made.create(key, value, of.kind, of.uuid)


@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [("Default", "free"), ("LeastVolume", "few"), ("MaximumAvailableCapacity", "unclaimed"), ("CustomOrder", "first")],
)
def test_each_strategy_takes_another(strategy: str, wanted: str) -> None:
    ground = Ground()
    host = ground.host()
    made = {name: ground.primary(host, total=100 * GIB) for name in ("free", "few", "unclaimed", "first", "full")}
    for number, (name, (available, claims)) in enumerate(
        {
            "free": (100, (20, 20, 20)),
            "few": (70, (50,)),
            "unclaimed": (60, (5, 5, 5)),
            "first": (50, (10, 10, 10)),
            "full": (100, ()),
        }.items()
    ):
        for place, size in enumerate(claims):
            run(allocation.claim(ground.unit, made[name], host, f"{number:016x}{place:016x}", size * GIB))
        run(allocation.measured(ground.unit, made[name], host, 100 * GIB, available * GIB))
        put(ground, "priority", made[name], str(9 if name != "first" else 3))
    # what would win everything cannot take it
    made["full"].change_state("disable")
    put(ground, "allocatorStrategy", ground.cluster, strategy)
    uuids = tuple(storage.uuid for storage in made.values())
    told = len(events(ground.books(host)))
    assert run(choose_storage(ground.unit, host, uuids, GIB)).uuid == made[wanted].uuid
    assert len(events(ground.books(host))) == told


def test_a_cluster_without_a_strategy_of_its_own_goes_by_the_default() -> None:
    ground = Ground()
    host = ground.host()
    free, few = ground.primary(host), ground.primary(host, available=50 * GIB)
    run(allocation.claim(ground.unit, free, host, "a" * 32, GIB))
    uuids = (few.uuid, free.uuid)
    assert run(choose_storage(ground.unit, host, uuids, GIB)).uuid == free.uuid
    put(ground, "allocatorStrategy", ground.cluster, "LeastVolume")
    assert run(choose_storage(ground.unit, host, uuids, GIB)).uuid == few.uuid
