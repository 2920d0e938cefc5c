"""One real guest from power-on to power-off, through libvirtd's death, on a bridge and DHCP server of ours."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess

import libvirt
import pytest

from agents.kvm.domain_xml import NAMESPACE
from agents.kvm.hypervisor import Hypervisor
from agents.runtime.task import TaskError
from tests.agents.kvm.conftest import PATIENCE, Host, eventually
from zcloud.v1.vm_instance_task_pb2 import (
    PauseVmTask,
    RebootVmTask,
    ResumeVmTask,
    StartVmTask,
    StopVmTask,
    VmSpec,
)

pytestmark = pytest.mark.real

ADDRESS = "10.96.0.20"


def inventory(hypervisor: Hypervisor) -> dict[str, str]:
    return {vm.vm_instance_uuid: vm.state for vm in asyncio.run(hypervisor.inventory()).vms}


def boot_of(host: Host, vm: str) -> str:
    connection = libvirt.open(host.daemon.uri)
    try:
        domain = connection.lookupByUUIDString(vm)
        return str(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE))
    finally:
        connection.close()


def wait_ready(host: Host, spec: VmSpec) -> None:
    eventually(lambda: "READY" in host.serial(spec.vm_instance_uuid), "the guest is up")


def answers(host: Host) -> None:
    eventually(lambda: host.lan.pings(host.lan.namespace, ADDRESS), "the guest answers")


def test_life_of_a_guest(host: Host) -> None:
    spec = host.guest()
    vm = spec.vm_instance_uuid
    host.serve_dhcp(spec, ADDRESS)
    start = StartVmTask(spec=spec)
    pause, resume = PauseVmTask(vm_instance_uuid=vm), ResumeVmTask(vm_instance_uuid=vm)
    stop = StopVmTask(vm_instance_uuid=vm, grace_seconds=240)

    assert host.state(vm) == "Stopped"
    assert host.probe(start) is None
    assert host.run(start).state == "Running"
    boot = boot_of(host, vm)
    assert host.probe(start).state == "Running"
    assert host.run(start).state == "Running"
    assert boot_of(host, vm) == boot, "a second start must not touch the VM"

    wait_ready(host, spec)
    told = f"DHCP eth0 {ADDRESS}/24 router=10.96.0.1 dns=10.96.0.2 domain= hostname=web lease="
    assert told in host.serial(vm)
    answers(host)

    assert host.probe(pause) is None
    host.run(pause)
    host.run(pause)
    assert host.probe(pause) is not None
    assert host.state(vm) == "Paused"
    assert not host.lan.pings(host.lan.namespace, ADDRESS)
    assert host.probe(resume) is None
    host.run(resume)
    host.run(resume)
    assert host.probe(resume) is not None
    answers(host)

    # libvirtd dies and comes back; the guest does not notice.
    host.daemon.kill()
    eventually(host.hypervisor.error, "libvirt's death is noticed")
    assert host.daemon.uri in host.hypervisor.error()
    assert host.failure(stop).reason == "UNREACHABLE"
    with pytest.raises(TaskError):
        inventory(host.hypervisor)
    answers(host)
    host.seen.clear()
    host.daemon.start()
    eventually(lambda: not host.hypervisor.error(), "libvirt answers again")
    assert inventory(host.hypervisor) == {vm: "Running"}

    def told() -> bool:
        return any(seen.complete and seen.vms and seen.vms[0].state == "Running" for seen in list(host.seen))

    eventually(told, "it is told without being asked")

    # A reboot is a new boot; one that a crash of the agent broke off after the new start is not done again.
    boot = boot_of(host, vm)
    reboot = RebootVmTask(spec=spec, grace_seconds=240)
    assert host.probe(reboot) is None
    host.run(reboot)
    again = boot_of(host, vm)
    assert again != boot
    mark = host.folder / "vms" / vm / "rebooting"
    assert not mark.exists()
    mark.write_text("an earlier boot")
    assert host.probe(reboot) is not None
    mark.unlink()

    wait_ready(host, spec)
    assert host.probe(stop) is None
    assert not host.run(stop).forced, "the guest stops by itself when it is asked"
    assert host.state(vm) == "Stopped"
    assert host.probe(stop) is not None
    assert not host.run(stop).forced
    assert not subprocess.run(["pgrep", "-f", f"guest={vm}"], capture_output=True).stdout


def test_a_guest_that_powers_itself_off_is_seen(host: Host) -> None:
    spec = host.guest()
    vm = spec.vm_instance_uuid
    host.serve_dhcp(spec, "10.96.0.21")
    host.run(StartVmTask(spec=spec))
    wait_ready(host, spec)
    host.run(PauseVmTask(vm_instance_uuid=vm))
    host.run(ResumeVmTask(vm_instance_uuid=vm))

    def press() -> None:
        """Not by a task: the guest goes as if somebody had pressed its power button."""
        connection = libvirt.open(host.daemon.uri)
        with contextlib.closing(connection), contextlib.suppress(libvirt.libvirtError):
            connection.lookupByUUIDString(vm).shutdown()

    def states() -> list[str]:
        return [each.state for seen in list(host.seen) for each in seen.vms if each.vm_instance_uuid == vm]

    for _ in range(5):  # a guest that has just woken up may miss it
        press()
        with contextlib.suppress(pytest.fail.Exception):
            eventually(lambda: "Stopped" in states(), "the stop is told", PATIENCE / 5)
            break
    assert states()[-1] == "Stopped"
    assert "Paused" in states()
    assert not any(seen.complete for seen in host.seen if seen.vms and seen.vms[0].state == "Stopped")
    assert vm not in inventory(host.hypervisor)


def test_uefi_firmware_runs(host: Host) -> None:
    """IMG-03, VM-07: the guest's own variables lie with its root volume; those of an older agent are brought there."""
    spec = host.blank(boot_mode="Uefi")
    vm = spec.vm_instance_uuid
    old = host.folder / "vms" / vm / "uefi-variables.fd"
    old.parent.mkdir(parents=True)
    shutil.copyfile("/usr/share/OVMF/OVMF_VARS_4M.fd", old)
    size = old.stat().st_size
    assert host.run(StartVmTask(spec=spec)).state == "Running"
    eventually(lambda: "BdsDxe" in host.serial(vm), "UEFI looks for something to boot")
    host.run(StopVmTask(vm_instance_uuid=vm))
    assert (host.folder / f"{vm}.nvram").stat().st_size == size
    assert not old.exists()
