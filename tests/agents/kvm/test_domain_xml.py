"""The XML of a domain: what each platform gets, and that no text of a caller becomes markup."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from agents.kvm import domain_xml
from agents.runtime.task import TaskError
from zcloud.v1.vm_instance_task_pb2 import VmDisk, VmInterface, VmSpec

PLACE = domain_xml.Place("qemu", "x86_64", Path("/logs/serial.log"), "b" * 32)
EVIL = "</zcloud:name></zcloud:vm></metadata><devices><disk type='file'/></devices>&x;\x00\x1b"


def spec(**changes: object) -> VmSpec:
    fields: dict[str, object] = {
        "vm_instance_uuid": "a" * 32,
        "name": "web",
        "cpu_num": 2,
        "memory_size": 2**30,
        "platform": "Linux",
        "disks": [VmDisk(volume_uuid="d" * 32, path="/disks/root.qcow2", format="qcow2")],
        "interfaces": [VmInterface(nic_uuid="e" * 32, mac="02:00:00:00:00:01", bridge="zbtest")],
    }
    return VmSpec(**(fields | changes))


def built(**changes: object) -> ET.Element:
    return ET.fromstring(domain_xml.build(spec(**changes), PLACE))


def at(domain: ET.Element, path: str, attribute: str) -> list[str | None]:
    return [node.get(attribute) for node in domain.findall(path)]


@pytest.mark.parametrize(
    ("platform", "bus", "model", "clock"),
    [
        ("Linux", "virtio", "virtio", "utc"),
        ("Paravirtualization", "virtio", "virtio", "utc"),
        ("WindowsVirtio", "virtio", "virtio", "localtime"),
        ("Windows", "ide", "e1000", "localtime"),
        ("Other", "ide", "e1000", "utc"),
    ],
)
def test_each_platform_gets_devices_it_has_drivers_for(platform: str, bus: str, model: str, clock: str) -> None:
    domain = built(platform=platform)
    assert at(domain, "devices/disk/target", "bus") == [bus]
    assert at(domain, "devices/interface/model", "type") == [model]
    assert at(domain, "clock", "offset") == [clock]


def test_firmware(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """BIOS unless the image says UEFI, whose variables are the guest's own (IMG-03)."""
    for mode in ("", "Legacy"):
        assert built(boot_mode=mode).find("os/loader") is None
    code, variables = tmp_path / "code", tmp_path / "variables"
    monkeypatch.setattr(domain_xml, "FIRMWARE", ((str(tmp_path / "none"), str(variables)), (str(code), str(variables))))
    with pytest.raises(TaskError, match="install the package ovmf"):
        built(boot_mode="Uefi")
    code.touch()
    variables.touch()
    domain = built(boot_mode="Uefi")
    assert domain.findtext("os/loader") == str(code)
    assert at(domain, "os/nvram", "template") == [str(variables)]
    assert domain.findtext("os/nvram") == f"/disks/{'d' * 32}.nvram"
    assert built(boot_mode="Uefi", disks=[]).findtext("os/nvram") == "/logs/uefi-variables.fd"
    with pytest.raises(TaskError, match="boot_mode"):
        built(boot_mode="Coreboot")


def test_a_name_stays_text() -> None:
    domain = built(name=EVIL)
    kept = domain.findtext(f"metadata/{{{domain_xml.NAMESPACE}}}vm/{{{domain_xml.NAMESPACE}}}name")
    assert kept == EVIL.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    assert len(domain.findall("devices/disk")) == 1
    assert domain.findtext("name") == "a" * 32


def test_a_path_stays_text() -> None:
    path = "/disks/a'\"<&>,b.qcow2"
    domain = built(disks=[VmDisk(path=path, format="raw")])
    assert at(domain, "devices/disk/source", "file") == [path]


def test_devices_are_in_the_order_of_their_ids_and_the_first_disk_boots() -> None:
    disks = [VmDisk(path=f"/{n}", format="raw", device_id=n) for n in (7, 0, 2)]
    nics = [VmInterface(nic_uuid=f"{n}" * 32, mac=f"02:00:00:00:00:0{n}", bridge="b", device_id=n) for n in (3, 1)]
    domain = built(disks=disks, interfaces=nics)
    assert at(domain, "devices/disk/source", "file") == ["/0", "/2", "/7"]
    assert at(domain, "devices/disk/target", "dev") == ["vda", "vdc", "vdh"]
    assert [disk.find("boot") is not None for disk in domain.findall("devices/disk")] == [True, False, False]
    assert at(domain, "devices/interface/mac", "address") == ["02:00:00:00:00:01", "02:00:00:00:00:03"]


def test_past_four_places_disks_leave_ide() -> None:
    disks = [VmDisk(path=f"/{n}", format="raw", device_id=n) for n in range(5)]
    domain = built(platform="Other", disks=disks)
    assert at(domain, "devices/disk/target", "bus") == ["ide"] * 4 + ["sata"]
    assert at(domain, "devices/disk/target", "dev") == ["hda", "hdb", "hdc", "hdd", "sde"]


def test_hardware_virtualization_has_no_settings_of_the_emulator() -> None:
    place = domain_xml.Place("kvm", "x86_64", Path("/l"), "b" * 32)
    domain = ET.fromstring(domain_xml.build(spec(), place))
    assert domain.get("type") == "kvm"
    assert domain.find("features/tcg") is None
    assert built().get("type") == "qemu"


def test_the_mark_tells_which_boot_it_is() -> None:
    mark = built().find(f"metadata/{{{domain_xml.NAMESPACE}}}vm")
    assert mark is not None
    assert domain_xml.boot_id(ET.tostring(mark, encoding="unicode")) == PLACE.boot_id


def test_nics_whose_uuids_begin_alike_get_interfaces_of_their_own() -> None:
    names = {domain_xml.tap_name(f"{n:032x}") for n in range(100)}
    assert len(names) == 100
    assert max(map(len, names)) <= 15


BAD_NIC = {"nic_uuid": "e" * 32, "mac": "02:00:00:00:00:01", "bridge": "zbtest"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"vm_instance_uuid": "../x"}, "vm_instance_uuid"),
        ({"vm_instance_uuid": "a" * 32 + "\n"}, "vm_instance_uuid"),
        ({"platform": "BeOS"}, "BeOS"),
        ({"cpu_num": 0}, "cpu_num"),
        ({"memory_size": 0}, "memory_size"),
        ({"disks": [VmDisk(path="relative", format="raw")]}, "relative"),
        ({"disks": [VmDisk(path="/a\x00b", format="raw")]}, "absolute"),
        ({"disks": [VmDisk(path="/a", format="vmdk")]}, "vmdk"),
        ({"disks": [VmDisk(path="/a", format="")]}, "format"),
        ({"disks": [VmDisk(path="/a", format="raw", device_id=26)]}, "26"),
        ({"disks": [VmDisk(path="/a", format="raw"), VmDisk(path="/b", format="raw")]}, "device_id"),
        ({"interfaces": [VmInterface(**(BAD_NIC | {"mac": "02:00:00:00:00"}))]}, "mac"),
        ({"interfaces": [VmInterface(**(BAD_NIC | {"bridge": "a'b"}))]}, "bridge"),
        ({"interfaces": [VmInterface(**(BAD_NIC | {"nic_uuid": "x"}))]}, "nic_uuid"),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes: dict[str, object], named: str) -> None:
    with pytest.raises(TaskError) as caught:
        built(**changes)
    assert caught.value.reason == "INVALID"
    assert named in caught.value.message
