"""What goes wrong on real parts: a server killed in mid-job, hosts and images that are not what was said (HST-03)."""

from __future__ import annotations

import pytest

from tests.e2e.lab import Lab
from tests.support.cloud import ApiError

pytestmark = pytest.mark.real


@pytest.mark.faults
@pytest.mark.parametrize("passes", [2, 5, 9])
def test_the_server_is_killed_in_the_middle_of_a_create(lab: Lab, passes: int) -> None:
    """Each time at another event of the job; the job ends well, and nothing is there twice."""
    lab.server.kill()
    lab.restart(ZCLOUD_FAILPOINT=f"commit.after:kill:{passes + 2}")
    created = None
    try:
        created = lab.create_vm(f"phoenix{passes}")
        lab.admin.wait(created.job_uuid, 60)
    except (ApiError, AssertionError):
        pass  # the answer, or the wait, was lost with the server
    lab.server.ended()
    lab.restart()
    found = lab.admin.call("QueryVmInstance", filter=f'name = "phoenix{passes}"').inventories
    assert len(found) == 1
    jobs = lab.admin.call("QueryJob", filter=f'resource_uuid = "{found[0].uuid}"').inventories
    job = lab.admin.wait(jobs[0].uuid, 240)
    assert job.state == job.STATE_SUCCEEDED, job
    vm = lab.vm(found[0].uuid)
    assert vm.state == vm.STATE_RUNNING
    assert len(lab.domains()) == 1
    lab.done("DeleteVmInstance", uuid=vm.uuid)
    lab.done("ExpungeVmInstance", uuid=vm.uuid)
    assert lab.domains() == []


def test_a_host_that_cannot_be_reached_is_not_kept(lab: Lab) -> None:
    answer = lab.add_host(name="nowhere", ssh_port=1)
    job = lab.admin.wait(answer.job_uuid, 60)
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
    job = lab.admin.wait(answer.job_uuid, 60)
    assert job.state == job.STATE_FAILED
    assert not lab.admin.call("QueryImage", filter='name = "absent"').inventories
    assert not list((lab.directory / "bs" / "images").rglob(f"*{answer.inventory.uuid}*"))
