"""What is under way and what was done, with its jobs, who asked for it, and all of it about one thing (LOG-01..08)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.api.compute.ground import Ground, on_ground
from tests.api.operations.test_jobs import slow
from tests.support.cloud import Api, ApiError


async def calls(api: Api, **asked: Any) -> Any:
    return await api.call("QueryOperationLog", **asked)


def test_what_is_under_way_is_seen_with_progress_and_cancelled(tmp_path: Path) -> None:
    """LOG-01, LOG-02"""

    async def body(ground: Ground) -> None:
        api = ground.api
        assert not (await calls(api, ongoing=True)).inventories
        go_on = await slow(ground.host)
        asked = await api.call("CreateVmInstance", {"zcloud-reason": "for the web"}, **ground.fields())
        other = await api.call("ReconnectHost", uuid=ground.host.host_uuid)
        now = await calls(api, ongoing=True, count=True)
        assert [c.name for c in now.inventories] == ["ReconnectHost", "CreateVmInstance"]
        assert now.total == 2
        jobs = {job.uuid: job for job in now.jobs}
        assert set(jobs) == {asked.job_uuid, other.job_uuid}
        made, job = now.inventories[1], jobs[asked.job_uuid]
        assert (job.call_uuid, job.rpc, job.account_name, job.reason) == (
            made.uuid,
            "CreateVmInstance",
            "admin",
            "for the web",
        )
        assert (job.session_uuid, job.source) == (made.session_uuid, made.source)
        assert job.percent < 100
        only = await calls(api, ongoing=True, filter="name = ReconnectHost")
        assert [c.job_uuid for c in only.inventories] == [other.job_uuid]
        await api.call("CancelJob", uuid=asked.job_uuid)
        go_on()
        canceled = await api.wait(asked.job_uuid)
        assert canceled.state == canceled.STATE_CANCELED
        await api.wait(other.job_uuid)
        assert not (await calls(api, ongoing=True)).inventories
        done = await calls(api, filter="name = CreateVmInstance")
        assert [job.state for job in done.jobs] == [canceled.STATE_CANCELED]
        by_operator = (
            await api.call("QueryJob", filter=f'call_uuid = "{made.uuid}" AND source : "127.0.0.1"')
        ).inventories
        assert asked.job_uuid in {job.uuid for job in by_operator}

    on_ground(tmp_path, body)


def test_all_that_was_done_about_a_host_and_about_a_vm(tmp_path: Path) -> None:
    """HST-17, VM-53"""

    async def body(ground: Ground) -> None:
        api = ground.api
        vm = (await ground.create()).uuid
        await api.done("StopVmInstance", uuid=vm)
        with pytest.raises(ApiError):
            await api.call("StopVmInstance", uuid="f" * 32)
        with pytest.raises(ApiError):
            await api.call("UpdateVmInstance", uuid=vm, name=" bad ")
        (nic,) = (await api.call("GetVmInstance", uuid=vm)).inventory.vm_nics
        assert nic
        about = [c.name for c in (await calls(api, about_uuid=vm, filter="reads = false")).inventories]
        assert about == ["UpdateVmInstance", "StopVmInstance", "CreateVmInstance", "LogInByAccount"]
        # A call that names no host changes its books all the same, by its job.
        host = [
            c.name for c in (await calls(api, about_uuid=ground.host.host_uuid, filter="reads = false")).inventories
        ]
        assert {"AddSimulatorHost", "CreateVmInstance", "StopVmInstance", "LogInByAccount"} <= set(host)
        assert "UpdateVmInstance" not in host
        network = (await calls(api, about_uuid=ground.l3, filter="success = true")).inventories
        assert {"CreateL3Network", "CreateVmInstance"} <= {c.name for c in network}
        pages, token = [], ""
        while True:
            page = await calls(api, about_uuid=vm, filter="reads = false", page_size=1, page_token=token)
            pages += [c.name for c in page.inventories]
            token = page.next_page_token
            if not token:
                break
        assert pages == about
        first = await calls(api, about_uuid=vm, page_size=1)
        with pytest.raises(ApiError, match="page_token"):
            await calls(api, about_uuid=ground.host.host_uuid, page_size=1, page_token=first.next_page_token)
        text = "".join([a.csv async for a in api.stream("ExportOperationLog", about_uuid=vm, filter="reads = false")])
        assert len(text.splitlines()) == 1 + len(about)
        _, bob = await api.account("bob")
        assert {c.name for c in (await calls(bob, about_uuid=vm)).inventories} == set()

    on_ground(tmp_path, body)
