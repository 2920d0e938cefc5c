"""What stays on a machine that can't be reached is owed, seen, and collected when it is there again (HST-04)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.runtime.task import TaskError
from agents.simulator.host import SimulatedHost
from tests.api.compute.ground import Ground, on_ground, refused
from tests.support.cloud import add_simulator, host_connected, simulated_hosts, until


async def debts(here: Ground) -> list[Any]:
    return list((await here.api.call("QueryHostDebt")).inventories)


def owed(debt: Any) -> list[str]:
    return sorted(item.owed_kind for item in debt.items)


async def left_behind(here: Ground) -> Any:
    """A VM runs on a host that is cut off and deleted, and the VM is expunged; the host's debt."""
    vm = await here.create()
    await here.fleet.stop()
    await here.becomes(vm.uuid, "UNKNOWN")
    assert await debts(here) == []
    await here.api.done("DeleteHost", uuid=here.host.host_uuid, delete_mode="enforcing")
    (debt,) = await debts(here)
    assert owed(debt) == ["l2_network", "l3_network", "vm_instance"]
    assert (debt.host_uuid, debt.name, debt.management_ip) == (here.host.host_uuid, "host-1", "host-1.invalid")
    assert all(item.reason for item in debt.items)
    await here.api.done("DeleteVmInstance", uuid=vm.uuid)
    await here.api.done("ExpungeVmInstance", uuid=vm.uuid)
    found = (await here.api.call("GetHostDebt", uuid=debt.uuid)).inventory
    (files,) = [item for item in found.items if item.owed_kind == "volume"]
    assert list(files.paths) == list(here.host.world.volumes)
    return found


async def add_again(here: Ground, name: str, **changes: Any) -> SimulatedHost:
    """A host that has what the first one had: its machine."""
    made = await add_simulator(here.api, here.cluster, name, **changes)
    made.world = here.host.world
    return made


def test_it_is_collected_by_a_host_that_is_added_with_the_same_address(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        await left_behind(here)
        world = here.host.world
        assert world.vms
        assert world.volumes
        other = await add_simulator(here.api, here.cluster, "host-2")
        same = await add_again(here, "again", management_ip="host-1.invalid")
        async with simulated_hosts(here.api, other):
            await host_connected(here.api, other.host_uuid)
            assert len(await debts(here)) == 1, "another machine owes nothing"
            async with simulated_hosts(here.api, same):

                async def paid() -> bool:
                    return not await debts(here)

                await until(paid)
                assert not world.vms
                assert not world.volumes
                # The network is its cluster's, as before.
                assert len(world.bridges) == 1

    on_ground(tmp_path, body)


def test_networks_that_nobody_has_there_any_more_are_collected_too(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        debt = await left_behind(here)
        await here.api.done("DeleteL2Network", uuid=here.l2, delete_mode="enforcing")
        same = await add_again(here, "again", resource_uuid=here.host.host_uuid)
        assert same.host_uuid == debt.host_uuid
        same.pace.faults.order("RemoveL2NetworkTask", TaskError("FAILED", "as ordered"), 1)
        async with simulated_hosts(here.api, same) as fleet:

            async def bridge_left() -> bool:
                found = await debts(here)
                return [owed(d) for d in found] == [["l2_network"]]

            await until(bridge_left)
            assert not same.world.vms
            assert not same.world.dhcp
            assert same.world.bridges, "it could not be removed, and is owed still"
            await fleet.stop()
        async with simulated_hosts(here.api, same):

            async def paid() -> bool:
                return not await debts(here)

            await until(paid)
            assert not same.world.bridges

    on_ground(tmp_path, body)


def test_files_of_a_host_that_is_only_away(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        vm = await here.create()
        await here.fleet.stop()
        await here.becomes(vm.uuid, "UNKNOWN")
        await here.api.done("DeletePrimaryStorage", uuid=here.storage, delete_mode="enforcing")
        (debt,) = await debts(here)
        assert owed(debt) == ["vm_instance", "volume"]
        async with simulated_hosts(here.api, here.host):

            async def paid() -> bool:
                return not await debts(here)

            await until(paid)
            assert not here.host.world.vms
            assert not here.host.world.volumes

    on_ground(tmp_path, body)


def test_it_is_written_off(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        debt = await left_behind(here)
        _, stranger = await here.api.account("somebody")
        assert (await refused(stranger.call("WriteOffHostDebt", uuid=debt.uuid))).code in (
            "NOT_FOUND",
            "PERMISSION_DENIED",
        )
        await here.api.call("WriteOffHostDebt", uuid=debt.uuid)
        assert await debts(here) == []
        assert (await refused(here.api.call("WriteOffHostDebt", uuid=debt.uuid))).code == "NOT_FOUND"
        same = await add_again(here, "again", management_ip="host-1.invalid")
        async with simulated_hosts(here.api, same):
            await host_connected(here.api, same.host_uuid)
            assert same.world.volumes, "nobody collects it any more"

    on_ground(tmp_path, body)
