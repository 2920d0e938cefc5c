"""A host that mounts with its kernel's NFS, beside one that has none: one storage, and VMs on both (PS-07, PS-03)."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.storage.nfs.client import KERNEL
from tests.e2e.machines import running_site
from tests.nested.machine import running_machine

# The machine's disk has an address in it.
SUBNET = "10.199.9"
pytestmark = pytest.mark.real


def test_a_kernels_client_and_a_users_share_a_storage(tmp_path: Path) -> None:
    with running_site(1, SUBNET) as site, running_machine(site.switch, f"{SUBNET}.50", tmp_path) as nested:
        site.build()
        site.add(nested)
        assert site.admin.call("GetKvmHost", uuid=nested.uuid).inventory.nfs_client == KERNEL
        place = f"/var/lib/zcloud/nfs/{site.uuids['ps']}"
        kind, source = nested.ssh(f"findmnt --noheadings --output FSTYPE,SOURCE {place}").stdout.split()
        assert kind in ("nfs", "nfs4")
        assert source == site.nfs.url
        first, second = site.create_vm("one", site.machines[0]), site.create_vm("two", nested)
        assert nested.ssh("virsh list --name").stdout.split() == [second.uuid]
        for vm in (first, second):
            root = site.admin.call("GetVolume", uuid=site.vm(vm.uuid).root_volume_uuid).inventory
            file = Path(root.install_path).relative_to(place)
            assert (site.nfs.directory / file).exists()
            assert nested.ssh(f"test -f {root.install_path}", check=False).returncode == 0
        # What one host has written, the other one boots from.
        for vm in (first, second):
            site.done("StopVmInstance", uuid=vm.uuid, type="cold")
        site.done("ChangeHostState", uuid=site.machines[0].uuid, state_event="disable")
        site.done("StartVmInstance", uuid=first.uuid)
        assert nested.ssh("virsh list --name").stdout.split() == [first.uuid]
        site.done("StopVmInstance", uuid=first.uuid, type="cold")
        for vm in (first, second):
            site.done("DeleteVmInstance", uuid=vm.uuid)
            site.done("ExpungeVmInstance", uuid=vm.uuid)
        assert not list((site.nfs.directory / "rootVolumes").rglob("*.qcow2"))
