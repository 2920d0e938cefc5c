"""One run by a seed: VMs are made while nodes are paused and killed by chance; what must not be, in words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.faults.cluster.nodes import LEASE, Nodes, cluster, violations
from tests.support.cloud import until

NAMES = ("a", "b", "c")
FAULTS = 4


async def live(base: Path, store: str, seed: int, *, faults: int = FAULTS, vms: int = 20) -> list[str]:
    """Nodes are paused for three lease times, one after the other, and at last one is killed.

    Behind each of these faults all invariants are looked at. vms: that are being made during each.
    """
    async with cluster(base, store, *NAMES, seed=seed) as nodes:
        found: list[str] = []
        try:
            for number in range(faults):
                await shared_out(nodes)
                # Who is dead stays dead, so that is the last.
                name, fault = nodes.chance.choice(NAMES), _killed if number + 1 == faults else _paused
                wrong = await _while(nodes, range(number * vms, (number + 1) * vms), fault(nodes, name))
                await shared_out(nodes)
                wrong += [*await _shown(nodes, (number + 1) * vms), *violations(nodes, (number + 1) * vms)]
                found += [f"fault {number + 1}, {name} {fault.__name__.strip('_')}: {w}" for w in wrong]
                if found:
                    break
            return found
        except BaseException:
            print(f"seed {seed}\n{nodes.said()}")
            raise


async def _shown(nodes: Nodes, vms: int) -> list[str]:
    found = []
    for name in nodes.living:
        shown = await (await nodes.at(name)).call("QueryVmInstance", filter="state = Running", count=True)
        if shown.total != vms:
            found.append(f"{name} shows {shown.total} VMs that run, not {vms}")
    return found


async def _while(nodes: Nodes, numbers: range, fault: Any) -> list[str]:
    made = [asyncio.create_task(_create(nodes, n)) for n in numbers]
    await _under_way(nodes, numbers.start + nodes.chance.randrange(1, len(numbers) // 2))
    if all(task.done() for task in made):
        raise AssertionError("too little was under way: the run is invalid")
    await fault
    jobs = await asyncio.gather(*made)
    return [f"job {job.uuid} of {job.rpc}: {job.error}" for job in jobs if job.state != job.STATE_SUCCEEDED]


async def _paused(nodes: Nodes, name: str) -> None:
    nodes.out.add(name)
    nodes.processes[name].pause()
    await asyncio.sleep(3 * LEASE)
    nodes.processes[name].go_on()
    nodes.out.remove(name)


async def _killed(nodes: Nodes, name: str) -> None:
    nodes.out.add(name)
    nodes.processes[name].kill()


async def _create(nodes: Nodes, n: int) -> Any:
    fields = nodes.ground.fields(name=f"vm-{n}", memory_size=1 << 28)
    answer = await nodes.ask("CreateVmInstance", f"create-{n}", **fields)
    return await nodes.ended(answer.job_uuid)


async def _under_way(nodes: Nodes, vms: int) -> None:
    async def enough() -> bool:
        return sum(len(host.world.vms) for host in nodes.ground.hosts) >= vms

    await until(enough, 60)


async def shared_out(nodes: Nodes) -> None:
    """Wait until all work is somebody's who lives, and everybody says the same."""

    async def owned_by(name: str) -> dict[str, list[int]]:
        answer = await (await nodes.at(name)).call("QueryManagementNode")
        return {m.name: list(m.partitions) for m in answer.inventories if m.status == m.STATUS_ALIVE}

    async def look() -> bool:
        told = [await owned_by(name) for name in nodes.living]
        parts = sorted(part for owned in told[0].values() for part in owned)
        return all(t == told[0] for t in told) and set(told[0]) == set(nodes.living) and parts == list(range(64))

    await until(look, 60)
