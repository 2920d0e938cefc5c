"""Tasks of VMs on a real libvirtd, with VMs that have no system: refusals, strangers, force, crashes in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import uuid
from collections.abc import Callable

import libvirt
import pytest

from agents.kvm import domain_xml
from agents.kvm.connect_host import ConnectHost
from agents.kvm.hypervisor import Hypervisor
from tests.agents.kvm.conftest import Host, eventually
from tests.agents.network.lan import exists
from tests.support.tasks import failure, new_work
from zcloud.v1.host_task_pb2 import ConnectHostTask
from zcloud.v1.vm_instance_task_pb2 import (
    ChangeCdTask,
    PauseVmTask,
    ReadVmTask,
    RebootVmTask,
    ResumeVmTask,
    StartVmTask,
    StopVmTask,
    VmCdDrive,
    VmDisk,
    VmInterface,
    VmSpec,
)

pytestmark = pytest.mark.real

Start = Callable[..., VmSpec]


def nic(host: Host, **changes: str) -> VmInterface:
    fields = {"nic_uuid": uuid.uuid4().hex, "mac": "02:00:00:00:10:01", "bridge": host.lan.bridge}
    return VmInterface(**(fields | changes))


def test_connecting_tells_what_the_host_is(host: Host, started: Start) -> None:
    vm = started().vm_instance_uuid
    result = host.run(ConnectHostTask(host_uuid=host.uuid))
    with open("/proc/meminfo") as meminfo:
        kib = int(meminfo.readline().split()[1])
    assert result.cpu_num >= 1
    assert result.memory_size // 1024 == pytest.approx(kib, rel=0.01)
    assert result.hypervisor_version.startswith("QEMU ")
    assert "kernel" in result.os_version
    assert [(seen.vm_instance_uuid, seen.state) for seen in result.vms] == [(vm, "Paused")]


def test_the_agent_of_another_host_is_no_help(host: Host) -> None:
    assert host.failure(ConnectHostTask(host_uuid="f" * 32)).reason == "REFUSED"


def test_without_libvirt_connecting_says_where_it_was_looked_for() -> None:
    hypervisor = Hypervisor("qemu+unix:///system?socket=/nowhere/sock", ping_seconds=0.2)
    hypervisor.start()
    try:
        error = failure(ConnectHost(hypervisor, "a" * 32, patience=0.5), ConnectHostTask(host_uuid="a" * 32))
    finally:
        hypervisor.close()
    assert error.reason == "UNREACHABLE"
    assert "/nowhere/sock" in error.message


def test_a_start_that_a_crash_broke_off_is_finished(host: Host, started: Start) -> None:
    spec = started()
    assert host.probe(StartVmTask(spec=spec)) is None, "its CPUs do not run yet"
    assert host.run(StartVmTask(spec=spec)).state == "Running"
    assert host.probe(StartVmTask(spec=spec)).state == "Running"


def test_a_paused_start_stays_paused_when_it_is_sent_again(host: Host, started: Start) -> None:
    spec = started()
    assert host.probe(StartVmTask(spec=spec, paused=True)).state == "Paused"
    assert host.run(StartVmTask(spec=spec, paused=True)).state == "Paused"


def test_a_guest_that_does_not_listen_is_forced(host: Host, started: Start) -> None:
    vm = started().vm_instance_uuid
    assert host.run(StopVmTask(vm_instance_uuid=vm, grace_seconds=1)).forced
    assert host.state(vm) == "Stopped"
    assert not host.run(StopVmTask(vm_instance_uuid=vm, grace_seconds=1)).forced


def test_cold_asks_nobody(host: Host, started: Start) -> None:
    vm = started().vm_instance_uuid
    # With such a grace the test would never end.
    assert host.run(StopVmTask(vm_instance_uuid=vm, cold=True, grace_seconds=100000)).forced
    assert host.probe(StopVmTask(vm_instance_uuid=vm, cold=True)) is not None


def test_a_stop_that_is_given_up_takes_no_power_away(host: Host, started: Start) -> None:
    stop = StopVmTask(vm_instance_uuid=started().vm_instance_uuid, grace_seconds=100000)
    work = new_work()
    work.aborted.set()
    assert failure(host.handlers[StopVmTask], stop, work).reason == "ABORTED"
    assert host.state(stop.vm_instance_uuid) == "Running"


def test_a_reboot_that_died_after_the_stop_starts_the_vm(host: Host, started: Start) -> None:
    spec = started()
    vm = spec.vm_instance_uuid
    reboot = RebootVmTask(spec=spec)
    mark = host.folder / "vms" / vm / "rebooting"
    mark.write_text("the boot that was ended")
    host.run(StopVmTask(vm_instance_uuid=vm, cold=True))
    assert host.probe(reboot) is None
    host.run(reboot)
    assert host.state(vm) == "Running"
    assert not mark.exists()


def test_what_does_not_run_is_neither_paused_nor_resumed(host: Host) -> None:
    vm = uuid.uuid4().hex
    for task in (PauseVmTask(vm_instance_uuid=vm), ResumeVmTask(vm_instance_uuid=vm)):
        assert host.probe(task) is None
        error = host.failure(task)
        assert error.reason == "NOT_FOUND"
        assert vm in error.message


@pytest.mark.parametrize("vm", ["", "../x", "A" * 32, "a" * 31])
def test_a_uuid_that_is_none_is_refused_everywhere(host: Host, vm: str) -> None:
    spec = VmSpec(vm_instance_uuid=vm, cpu_num=1, memory_size=2**20, platform="Linux")
    for task in (
        StartVmTask(spec=spec),
        RebootVmTask(spec=spec),
        StopVmTask(vm_instance_uuid=vm),
        StopVmTask(vm_instance_uuid=vm, cold=True),
        PauseVmTask(vm_instance_uuid=vm),
        ResumeVmTask(vm_instance_uuid=vm),
        ReadVmTask(vm_instance_uuid=vm),
    ):
        assert host.failure(task).reason == "INVALID"


def test_a_name_full_of_markup_starts_a_vm_and_nothing_else(host: Host, started: Start) -> None:
    evil = "</zcloud:name></zcloud:vm></metadata><devices><hostdev/></devices>\x00\x1b']]>&quot;<!--"
    spec = started(name=evil)
    connection = libvirt.open(host.daemon.uri)
    try:
        xml = connection.lookupByUUIDString(spec.vm_instance_uuid).XMLDesc()
    finally:
        connection.close()
    assert "<hostdev/>" not in xml
    assert "&lt;hostdev/&gt;" in xml


@pytest.mark.parametrize("platform", ["Windows", "WindowsVirtio"])
def test_every_platform_is_one_that_qemu_takes(host: Host, started: Start, platform: str) -> None:
    interface = nic(host)
    disks = []
    for number in range(5):
        disk = host.folder / f"{platform}{number}.raw"
        disk.write_bytes(bytes(4096))
        disks.append(VmDisk(volume_uuid=uuid.uuid4().hex, path=str(disk), format="raw", device_id=number))
    spec = started(platform=platform, interfaces=[interface], disks=disks)
    assert host.state(spec.vm_instance_uuid) == "Paused"
    assert exists(domain_xml.tap_name(interface.nic_uuid))
    host.run(StopVmTask(vm_instance_uuid=spec.vm_instance_uuid, cold=True))
    assert not exists(domain_xml.tap_name(interface.nic_uuid))


def test_missing_parts_are_named_and_nothing_starts(host: Host) -> None:
    spec = host.blank(disks=[VmDisk(volume_uuid="d" * 32, path="/nowhere/disk", format="raw")])
    error = host.failure(StartVmTask(spec=spec))
    assert (error.reason, "/nowhere/disk" in error.message) == ("NOT_FOUND", True)
    spec = host.blank(interfaces=[nic(host, bridge="zbnowhere")])
    error = host.failure(StartVmTask(spec=spec))
    assert (error.reason, "zbnowhere" in error.message) == ("NOT_FOUND", True)
    assert host.state(spec.vm_instance_uuid) == "Stopped"


def test_what_qemu_says_reaches_the_operator(host: Host) -> None:
    spec = host.blank()
    spec.disks[0].format = "qcow2"
    error = host.failure(StartVmTask(spec=spec))
    assert error.reason == "FAILED"
    assert "qcow2" in error.message
    assert host.state(spec.vm_instance_uuid) == "Stopped"


def test_a_strangers_domain_is_neither_listed_nor_touched(host: Host) -> None:
    vm = uuid.uuid4().hex
    connection = libvirt.open(host.daemon.uri)
    body = f"<name>{vm}</name><uuid>{vm}</uuid><memory unit='MiB'>16</memory><os><type>hvm</type></os>"
    xml = f"<domain type='qemu'>{body}</domain>"
    domain = connection.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED)
    try:
        assert vm not in {seen.vm_instance_uuid for seen in asyncio.run(host.hypervisor.inventory()).vms}
        spec = host.blank()
        spec.vm_instance_uuid = vm
        for task in (
            StartVmTask(spec=spec),
            StopVmTask(vm_instance_uuid=vm, cold=True),
            RebootVmTask(spec=spec),
            ResumeVmTask(vm_instance_uuid=vm),
        ):
            assert host.failure(task).reason == "REFUSED"
        assert domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED
        assert not any(seen.vm_instance_uuid == vm for each in host.seen for seen in each.vms)
    finally:
        domain.destroy()
        connection.close()


def test_what_ended_while_libvirtd_was_away_is_told_when_it_is_back(host: Host, started: Start) -> None:
    vm = started().vm_instance_uuid
    eventually(lambda: any(seen.vms and seen.vms[0].vm_instance_uuid == vm for seen in host.seen), "the start is told")
    pid = int((host.daemon.directory / f"run/libvirt/qemu/{vm}.pid").read_text())
    host.daemon.kill()
    os.kill(pid, signal.SIGKILL)
    host.seen.clear()
    host.daemon.start()

    def told() -> list[str]:
        return [each.state for seen in list(host.seen) for each in seen.vms if each.vm_instance_uuid == vm]

    eventually(told, "its end is told")
    assert told()[-1] == "Stopped"
    assert host.state(vm) == "Stopped"


def test_a_libvirtd_that_hangs_is_noticed(host: Host) -> None:
    pid = host.daemon.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(host.hypervisor.error, "silence is noticed")
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: not host.hypervisor.error(), "the answer is noticed")


def test_isos_are_put_in_and_taken_out(host: Host, started: Start) -> None:
    """VM-06, VM-31, VM-08: of a guest that runs; what it boots from is in the order asked for."""
    iso, other = host.folder / "one.iso", host.folder / "two.iso"
    for path in (iso, other):
        path.write_bytes(b"\0" * 65536)
    spec = started(cd_drives=[VmCdDrive(device_id=0, path=str(iso)), VmCdDrive(device_id=2)], boot_order=["CdRom"])
    vm = spec.vm_instance_uuid

    def lie() -> dict[str, str]:
        argv = ["virsh", "-q", "-c", host.daemon.uri, "domblklist", vm, "--details"]
        told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        return {row.split()[2]: row.split()[3] for row in told.splitlines() if "cdrom" in row}

    assert lie() == {"sda": str(iso), "sdc": "-"}
    for _ in range(2):
        host.run(ChangeCdTask(vm_instance_uuid=vm, drive=VmCdDrive(device_id=2, path=str(other))))
    assert lie() == {"sda": str(iso), "sdc": str(other)}
    for _ in range(2):
        host.run(ChangeCdTask(vm_instance_uuid=vm, drive=VmCdDrive(device_id=0)))
    assert lie() == {"sda": "-", "sdc": str(other)}
    gone = host.failure(ChangeCdTask(vm_instance_uuid=vm, drive=VmCdDrive(device_id=0, path="/nowhere.iso")))
    assert gone.reason == "NOT_FOUND"
    assert lie() == {"sda": "-", "sdc": str(other)}
    host.run(ChangeCdTask(vm_instance_uuid=uuid.uuid4().hex, drive=VmCdDrive(device_id=0)))
