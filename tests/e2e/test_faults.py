"""What goes wrong on real parts: a server killed in mid-job, hosts and images that are not what was said (HST-03)."""

from __future__ import annotations

import contextlib

import pytest

from tests.e2e.lab import JOB_SECONDS, Lab
from tests.support.cloud import ApiError

pytestmark = pytest.mark.real


@pytest.mark.faults
@pytest.mark.parametrize("passes", [4, 9, 14, 19])
def test_the_server_is_killed_in_the_middle_of_a_create(lab: Lab, passes: int) -> None:
    """Each time after another commit. The client asks again under the same id; one machine comes of it, and runs."""
    lab.server.kill()
    name = f"phoenix{passes}"
    # The answer, or the wait for the job, is lost with the server; it may commit what it found and die at its start.
    with contextlib.suppress(ApiError, AssertionError, RuntimeError):
        lab.restart(ZCLOUD_FAILPOINT=f"commit.after:kill:{passes}")
        lab.ready()
        created = lab.create_vm(name, {"zcloud-request": name})
        lab.admin.wait(created.job_uuid, 60)
    lab.server.kill()
    lab.restart()
    lab.ready()
    again = lab.create_vm(name, {"zcloud-request": name})
    found = lab.admin.call("QueryVmInstance", filter=f'name = "{name}"').inventories
    assert [vm.uuid for vm in found] == [again.inventory.uuid], lab.admin.wait(again.job_uuid, JOB_SECONDS)
    job = lab.admin.wait(again.job_uuid, JOB_SECONDS)
    assert job.state == job.STATE_SUCCEEDED, job
    vm = lab.vm(again.inventory.uuid)
    assert vm.state == vm.STATE_RUNNING
    assert len(lab.domains()) == 1
    lab.done("DeleteVmInstance", uuid=vm.uuid)
    lab.done("ExpungeVmInstance", uuid=vm.uuid)
    assert lab.domains() == []
    assert not list((lab.directory / "ps").rglob(f"*{vm.root_volume_uuid}*.qcow2"))


def test_a_host_that_cannot_be_reached_is_not_kept(lab: Lab) -> None:
    answer = lab.add_host(name="nowhere", ssh_port=1)
    job = lab.admin.wait(answer.job_uuid)
    assert job.state == job.STATE_FAILED
    assert "port 1" in job.error
    assert not lab.admin.call("QueryHost", filter='name = "nowhere"').inventories


def test_an_image_that_is_not_there_is_not_kept(lab: Lab) -> None:
    answer = lab.admin.call(
        "AddImage",
        name="absent",
        url="file:///nowhere/absent.qcow2",
        format="qcow2",
        backup_storage_uuid=lab.uuids["bs"],
    )
    job = lab.admin.wait(answer.job_uuid)
    assert job.state == job.STATE_FAILED
    assert not lab.admin.call("QueryImage", filter='name = "absent"').inventories
    assert not list((lab.directory / "bs" / "images").rglob(f"*{answer.inventory.uuid}*"))
