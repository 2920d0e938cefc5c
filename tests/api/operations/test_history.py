"""GetHistory over a socket: old and new values of each change, who, why, and the job whose steps did it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from tests.api.compute.ground import Ground, on_ground
from tests.support.cloud import Api, running_node


async def history(api: Api, uuid: str, size: int = 0) -> list[Any]:
    """All pages."""
    found: list[Any] = []
    token = ""
    while True:
        page = await api.call("GetHistory", resource_uuid=uuid, page_size=size, page_token=token)
        found += page.events
        token = page.next_page_token
        if not token:
            return found


def changed(event: Any) -> dict[str, tuple[Any, Any]]:
    return {c.field: (MessageToDict(c.before), MessageToDict(c.after)) for c in event.changes}


def test_each_change_with_old_and_new_values(tmp_path: Path) -> None:
    async def go() -> None:
        async with running_node(tmp_path) as api:
            zone = (await api.call("CreateZone", name="a")).inventory.uuid
            await api.call("UpdateZone", {"zcloud-reason": "a better name"}, uuid=zone, name="b", description="rack")
            await api.call("ChangeZoneState", uuid=zone, state_event="disable")
            await api.call("UpdateZone", uuid=zone, description="")
            await api.done("DeleteZone", uuid=zone)
            own = [e for e in await history(api, zone) if e.resource_kind == "zone"]
            created = changed(own[0])
            assert created["name"] == (None, "a")
            assert created["state"] == (None, "Enabled")
            assert not {"uuid", "version", "last_op_date"} & set(created)
            updated, disabled, emptied = own[1:4]
            assert changed(updated) == {"name": ("a", "b"), "description": (None, "rack")}
            assert (updated.reason, updated.origin, updated.actor.account_name) == (
                "a better name",
                "UpdateZone",
                "admin",
            )
            assert changed(disabled) == {"state": ("Enabled", "Disabled")}
            assert changed(emptied) == {"description": ("rack", None)}
            (removed,) = [e for e in own if e.type == "zone.Removed"]
            assert changed(removed)["name"] == ("b", None)
            # a uuid that is used again begins with nothing
            await api.call("CreateZone", name="again", resource_uuid=zone)
            assert changed((await history(api, zone))[-1])["name"] == (None, "again")

    asyncio.run(go())


def test_pages_of_any_size_tell_the_same(tmp_path: Path) -> None:
    async def go() -> None:
        async with running_node(tmp_path) as api:
            zone = (await api.call("CreateZone", name="z")).inventory.uuid
            for n in range(12):
                await api.call("UpdateZone", uuid=zone, name=f"z{n}")
            whole = await history(api, zone)
            assert [changed(e) for e in whole[2:]] == [{"name": (f"z{n - 1}", f"z{n}")} for n in range(1, 12)]
            for size in (1, 3, 13, 100):
                assert await history(api, zone, size) == whole
            await asyncio.gather(*(history(api, zone, 2) for _ in range(8)))

    asyncio.run(go())


def test_the_steps_of_its_jobs_are_told(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        api = here.api
        vm = (await here.create()).uuid
        stop = (await api.done("StopVmInstance", {"zcloud-reason": "night"}, uuid=vm)).job_uuid
        events = await history(api, vm)
        of_stop = [e for e in events if e.job_uuid == stop]
        assert {e.reason for e in of_stop} == {"night"}
        steps = [e.step for e in of_stop if e.type == "job.StepDone"]
        assert steps
        job = (await api.call("GetJob", uuid=stop)).inventory
        assert set(steps) <= {step.name for step in job.steps}
        states = [changed(e)["state"] for e in events if "state" in changed(e)]
        assert states[0][0] is None
        assert [before for before, _ in states[1:]] == [after for _, after in states[:-1]]
        assert states[-1] == ("Stopping", "Stopped")
        first = next(e for e in of_stop if e.type == "job.Created")
        assert (first.origin, first.actor.account_name) == ("StopVmInstance", "admin")
        # facts that stand beside it (its addresses) are fields like any other
        assert any(changed(e).get("vm_nics", (0, 0))[0] is None for e in events if "vm_nics" in changed(e))

    on_ground(tmp_path, body)


def test_secrets_are_not_told(tmp_path: Path) -> None:
    async def body(here: Ground) -> None:
        for event in await history(here.api, here.backup):
            assert "sealed:" not in str(event)
        for event in await history(here.api, (await here.api.call("GetZone", uuid=here.zone)).inventory.account_uuid):
            assert "argon2" not in str(event)

    on_ground(tmp_path, body)
