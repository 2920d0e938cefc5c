"""What waits for the stream stays small and new."""

from __future__ import annotations

import asyncio

from agents.runtime.outbox import Outbox, merged
from zcloud.v1.agent_pb2 import ConnectRequest, Heartbeat, HostInventory, ObservedVm, TaskProgress, TaskReport


def vms(complete: bool = False, total: int = 0, **states: str) -> HostInventory:
    observed = [ObservedVm(vm_instance_uuid=uuid, state=state) for uuid, state in states.items()]
    return HostInventory(vms=observed, complete=complete, local_storage_total=total, local_storage_available=total)


def states(inventory: HostInventory) -> dict[str, str]:
    return {vm.vm_instance_uuid: vm.state for vm in inventory.vms}


def progress(task: str, percent: int) -> ConnectRequest:
    return ConnectRequest(progress=TaskProgress(task_uuid=task, percent=percent))


async def drain(outbox: Outbox) -> list[ConnectRequest]:
    taken: list[ConnectRequest] = []
    try:
        while True:
            taken.append(await asyncio.wait_for(outbox.get(), 0.01))
    except TimeoutError:
        return taken


def test_a_newer_message_takes_the_place_of_the_older() -> None:
    async def scenario() -> None:
        outbox = Outbox()
        outbox.put(progress("t0", 1))
        outbox.open()
        for percent in (1, 2, 3):
            outbox.put(progress("t1", percent))
        outbox.put(progress("t2", 9))
        for text in ("", "gone"):
            outbox.put(ConnectRequest(heartbeat=Heartbeat(hypervisor_error=text)))
        taken = await drain(outbox)
        assert taken == [
            progress("t1", 3),
            progress("t2", 9),
            ConnectRequest(heartbeat=Heartbeat(hypervisor_error="gone")),
        ]
        outbox.put(progress("t1", 4))
        outbox.close()
        outbox.open()
        assert await drain(outbox) == [], "a new stream begins empty"

    asyncio.run(scenario())


def test_when_full_it_drops_reports_and_progress_but_never_heartbeat_or_inventory() -> None:
    async def scenario() -> None:
        outbox = Outbox(limit=2)
        outbox.open()
        for number in range(5):
            outbox.put(ConnectRequest(report=TaskReport(task_uuid=f"t{number}")))
        outbox.put(ConnectRequest(heartbeat=Heartbeat()))
        outbox.put(ConnectRequest(inventory=vms(a="Running")))
        kinds = [m.WhichOneof("message") for m in await drain(outbox)]
        assert kinds == ["report", "report", "heartbeat", "inventory"]

    asyncio.run(scenario())


def test_inventories_that_wait_become_one() -> None:
    whole = merged(vms(complete=True, total=7, a="Running", b="Running"), vms(a="Stopped", c="Paused"))
    assert whole.complete
    assert states(whole) == {"a": "Stopped", "b": "Running", "c": "Paused"}
    assert (whole.local_storage_total, whole.local_storage_available) == (7, 7)
    part = merged(vms(a="Running"), vms(b="Stopped"))
    assert not part.complete
    assert states(part) == {"a": "Running", "b": "Stopped"}
    assert states(merged(vms(a="Running"), vms(complete=True))) == {}
