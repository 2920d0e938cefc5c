"""A guest that runs becomes an image, and another guest boots from it with what the first one had (VM-17, BS-22)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.lab import JOB_SECONDS, Lab
from tests.e2e.test_snapshots import holds, path_of, write

pytestmark = pytest.mark.real


def test_a_machine_that_runs_is_copied(lab: Lab) -> None:
    first = lab.create_vm("original").inventory
    lab.admin.wait(lab.admin.call("QueryJob", filter=f"resource_uuid = {first.uuid}").inventories[0].uuid, JOB_SECONDS)
    root = lab.vm(first.uuid).root_volume_uuid
    lab.done("ResizeRootVolume", uuid=root, size=256 << 20)
    lab.done("StopVmInstance", uuid=first.uuid, type="cold")
    write(lab, root, 7)
    lab.done("StartVmInstance", uuid=first.uuid)
    before = path_of(lab, root)
    image = lab.done("CreateRootVolumeTemplateFromRootVolume", name="copy", root_volume_uuid=root)
    shown = lab.admin.call("GetImage", uuid=image.uuid).inventory
    file = shown.copies[0].install_path
    told = json.loads(
        subprocess.run(["qemu-img", "info", "--output=json", file], capture_output=True, check=True).stdout
    )
    assert (told["format"], told["virtual-size"], told.get("backing-filename")) == ("qcow2", 256 << 20, None)
    assert shown.actual_size == Path(file).stat().st_size
    assert subprocess.run(["qemu-img", "check", "-q", file], check=False).returncode == 0
    # The first one goes on on the file that it had, and nothing of the copying is left beside it.
    assert path_of(lab, root) == before
    assert [path.name for path in Path(before).parent.iterdir()] == [Path(before).name]
    assert lab.answers(lab.vm(first.uuid).vm_nics[0].ip)
    lab.done("StopVmInstance", uuid=first.uuid, type="cold")
    made = lab.create_vm("second", image_uuid=image.uuid)
    job = lab.admin.wait(made.job_uuid, JOB_SECONDS)
    assert job.state == job.STATE_SUCCEEDED, job
    second = lab.vm(made.inventory.uuid)
    assert lab.answers(second.vm_nics[0].ip)
    lab.done("StopVmInstance", uuid=second.uuid, type="cold")
    assert holds(lab, second.root_volume_uuid, 7)
    for vm in (first.uuid, second.uuid):
        lab.done("DeleteVmInstance", uuid=vm)
        lab.done("ExpungeVmInstance", uuid=vm)
