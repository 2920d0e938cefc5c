"""A real machine from birth to its end, by a client in another process (VM-01, VM-02, VM-04, VM-05, NSV-06, L3-12)."""

from __future__ import annotations

import time

import pytest

from tests.e2e.lab import JOB_SECONDS, SUBNET, Lab
from tests.support.cloud import ApiError

pytestmark = pytest.mark.real


def state(lab: Lab, uuid: str) -> str:
    vm = lab.vm(uuid)
    return vm.State.Name(vm.state).removeprefix("STATE_")


def eventually(condition, seconds: float = 240.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def test_a_machine_lives(lab: Lab) -> None:
    created = lab.create_vm("life", static_ips=[{"l3_network_uuid": lab.uuids["l3"], "ip": f"{SUBNET}.77"}])
    uuid = created.inventory.uuid
    job = lab.admin.wait(created.job_uuid, JOB_SECONDS)
    assert job.state == job.STATE_SUCCEEDED, job
    vm = lab.vm(uuid)
    assert state(lab, uuid) == "RUNNING"
    assert vm.host_uuid == lab.uuids["host"]
    assert [nic.ip for nic in vm.vm_nics] == [f"{SUBNET}.77"]
    assert len(lab.domains()) == 1
    # The address is the one that DHCP gave: the guest has no other way to know it.
    assert lab.answers(f"{SUBNET}.77")

    lab.done("PauseVmInstance", uuid=uuid)
    assert state(lab, uuid) == "PAUSED"
    assert not lab.lan.pings(lab.lan.namespace, f"{SUBNET}.77")
    lab.done("ResumeVmInstance", uuid=uuid)
    assert state(lab, uuid) == "RUNNING"
    assert lab.answers(f"{SUBNET}.77")

    lab.done("StopVmInstance", uuid=uuid)
    assert state(lab, uuid) == "STOPPED"
    assert lab.domains() == []
    assert lab.vm(uuid).host_uuid == ""
    host = lab.admin.call("GetKvmHost", uuid=lab.uuids["host"]).inventory
    assert host.available_memory_capacity == host.total_memory_capacity

    lab.done("StartVmInstance", uuid=uuid)
    assert state(lab, uuid) == "RUNNING"
    assert lab.answers(f"{SUBNET}.77")

    lab.done("DeleteVmInstance", uuid=uuid)
    assert state(lab, uuid) == "DESTROYED"
    assert lab.domains() == []
    lab.done("RecoverVmInstance", uuid=uuid)
    assert state(lab, uuid) == "STOPPED"
    lab.done("DeleteVmInstance", uuid=uuid)
    volume = vm.root_volume_uuid
    assert list((lab.directory / "ps").rglob(f"*{volume}*"))
    lab.done("ExpungeVmInstance", uuid=uuid)
    with pytest.raises(ApiError) as refused:
        lab.vm(uuid)
    assert refused.value.code == "NOT_FOUND"
    assert not list((lab.directory / "ps").rglob(f"*{volume}*.qcow2"))
    # It is gone, and what it was is not forgotten.
    types = [e.type for e in lab.admin.call("GetHistory", resource_uuid=uuid, page_size=1000).events]
    assert types[0] == "vm_instance.Created"
    assert "vm_instance.Removed" in types[-3:]


def test_libvirt_dies_and_returns_while_a_machine_runs(lab: Lab) -> None:
    created = lab.create_vm("survivor")
    uuid = created.inventory.uuid
    job = lab.admin.wait(created.job_uuid, JOB_SECONDS)
    assert job.state == job.STATE_SUCCEEDED, job
    address = lab.vm(uuid).vm_nics[0].ip
    assert lab.answers(address)

    def host() -> str:
        found = lab.admin.call("GetKvmHost", uuid=lab.uuids["host"]).inventory
        return found.Status.Name(found.status).removeprefix("STATUS_")

    lab.libvirtd.kill()
    assert eventually(lambda: host() == "DISCONNECTED")
    assert eventually(lambda: state(lab, uuid) == "UNKNOWN")
    with pytest.raises(ApiError) as refused:
        lab.admin.call("RebootVmInstance", uuid=uuid)
    assert refused.value.code == "FAILED_PRECONDITION"
    lab.libvirtd.start()
    assert eventually(lambda: host() == "CONNECTED")
    assert eventually(lambda: state(lab, uuid) == "RUNNING")
    assert lab.answers(address)
    lab.done("DeleteVmInstance", uuid=uuid)
    lab.done("ExpungeVmInstance", uuid=uuid)
    assert lab.domains() == []
