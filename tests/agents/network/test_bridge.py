"""L2 networks on this host: bridges on real devices, and what is refused."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from agents.network import bridge
from agents.network.bridge import ApplyL2Network, RemoveL2Network
from tests.agents.network.lan import Lan, exists, ip
from tests.support.tasks import failure, probe, run
from zcloud.v1.network_task_pb2 import ApplyL2NetworkTask, RemoveL2NetworkTask

pytestmark = pytest.mark.real


def apply_task(lan: Lan, **changes: str) -> ApplyL2NetworkTask:
    fields = {"l2_network_uuid": lan.l2, "bridge": lan.bridge, "physical_interface": lan.device}
    return ApplyL2NetworkTask(**{**fields, **changes})


def remove_task(lan: Lan, **changes: str) -> RemoveL2NetworkTask:
    fields = {"l2_network_uuid": lan.l2, "bridge": lan.bridge, "physical_interface": lan.device}
    return RemoveL2NetworkTask(**{**fields, **changes})


def show(device: str) -> dict[str, object]:
    output = subprocess.run(["ip", "-json", "address", "show", "dev", device], check=True, capture_output=True).stdout
    return dict(json.loads(output)[0])


def test_frames_pass_between_the_device_and_a_port_however_often_it_is_applied(lan: Lan) -> None:
    assert probe(ApplyL2Network(), apply_task(lan)) is None
    run(ApplyL2Network(), apply_task(lan))
    index = show(lan.bridge)["ifindex"]
    assert probe(ApplyL2Network(), apply_task(lan)) is not None
    run(ApplyL2Network(), apply_task(lan))
    assert show(lan.bridge)["ifindex"] == index
    assert show(lan.device)["master"] == lan.bridge
    assert show(lan.bridge)["addr_info"] == [], "the host is no member of the network"
    other = lan.client("c", "02:00:00:00:00:01")
    ip("-netns", lan.namespace, "address", "add", "10.91.0.1/24", "dev", "eth0")
    ip("-netns", other, "address", "add", "10.91.0.2/24", "dev", "eth0")
    assert lan.pings(lan.namespace, "10.91.0.2")


def test_a_bridge_that_a_crash_left_half_made_is_completed(lan: Lan) -> None:
    ip("link", "add", "name", lan.bridge, "type", "bridge")
    assert probe(ApplyL2Network(), apply_task(lan)) is None
    run(ApplyL2Network(), apply_task(lan))
    ip("link", "set", "dev", lan.device, "nomaster")
    assert probe(ApplyL2Network(), apply_task(lan)) is None
    run(ApplyL2Network(), apply_task(lan))
    assert probe(ApplyL2Network(), apply_task(lan)) is not None


def test_removing_frees_the_device_and_is_well_when_there_is_nothing(lan: Lan) -> None:
    run(ApplyL2Network(), apply_task(lan))
    assert probe(RemoveL2Network(), remove_task(lan)) is None
    run(RemoveL2Network(), remove_task(lan))
    assert not exists(lan.bridge)
    assert exists(lan.device)
    assert "master" not in show(lan.device)
    assert probe(RemoveL2Network(), remove_task(lan)) is not None
    run(RemoveL2Network(), remove_task(lan))


@pytest.mark.parametrize("address", ["10.92.0.1/24", "fd00:92::1/64"])
def test_a_device_with_an_address_is_left_alone(lan: Lan, address: str) -> None:
    ip("address", "add", address, "dev", lan.device)
    error = failure(ApplyL2Network(), apply_task(lan))
    assert error.reason == "INVALID"
    assert lan.device in error.message
    assert address in error.message
    assert not exists(lan.bridge)
    assert "master" not in show(lan.device)


def test_a_missing_device_is_named(lan: Lan) -> None:
    error = failure(ApplyL2Network(), apply_task(lan, physical_interface="ztnothing"))
    assert error.reason == "NOT_FOUND"
    assert "ztnothing" in error.message
    assert not exists(lan.bridge)


def test_a_device_of_another_bridge_stays_there(lan: Lan) -> None:
    run(ApplyL2Network(), apply_task(lan))
    error = failure(ApplyL2Network(), apply_task(lan, bridge="zbother", l2_network_uuid=uuid.uuid4().hex))
    assert error.reason == "REFUSED"
    assert lan.bridge in error.message
    assert not exists("zbother")
    assert show(lan.device)["master"] == lan.bridge


def test_another_networks_bridge_is_neither_taken_nor_removed(lan: Lan) -> None:
    run(ApplyL2Network(), apply_task(lan))
    stranger = uuid.uuid4().hex
    assert failure(ApplyL2Network(), apply_task(lan, l2_network_uuid=stranger)).reason == "REFUSED"
    error = failure(RemoveL2Network(), remove_task(lan, l2_network_uuid=stranger))
    assert error.reason == "REFUSED"
    assert lan.l2 in error.message
    assert exists(lan.bridge)


def test_an_operators_bridge_is_neither_taken_nor_removed(lan: Lan) -> None:
    ip("link", "add", "name", lan.bridge, "type", "bridge")
    ip("address", "add", "10.93.0.1/24", "dev", lan.bridge)
    assert failure(ApplyL2Network(), apply_task(lan)).reason == "REFUSED"
    assert failure(RemoveL2Network(), remove_task(lan)).reason == "REFUSED"
    assert exists(lan.bridge)


def test_a_device_that_is_no_bridge_is_not_taken_for_one(lan: Lan) -> None:
    error = failure(ApplyL2Network(), apply_task(lan, bridge=lan.device))
    assert error.reason == "REFUSED"
    assert "not a bridge" in error.message


@pytest.mark.parametrize("name", ["", "-all", "a b", "..", "x/y", "eth0;id", "sixteen-letters-", "eth0\n", "дом"])
@pytest.mark.parametrize("field", ["bridge", "physical_interface"])
def test_a_name_that_is_none_is_refused(lan: Lan, field: str, name: str) -> None:
    for error in (
        failure(ApplyL2Network(), apply_task(lan, **{field: name})),
        failure(RemoveL2Network(), remove_task(lan, **{field: name})),
    ):
        assert error.reason == "INVALID"
        assert field in error.message


# In a namespace of its own: the policy and the switch are for all bridges.
FIREWALLED = """
import asyncio, subprocess, sys
from pathlib import Path
from agents.network.bridge import ApplyL2Network
from agents.runtime.task import Work
from zcloud.v1.network_task_pb2 import ApplyL2NetworkTask
def sh(*argv): subprocess.run(argv, check=True)
sh("ip", "link", "set", "lo", "up")
for k in ("iptables", "ip6tables", "arptables"):
    Path(f"/proc/sys/net/bridge/bridge-nf-call-{k}").write_text("1")
sh("ip", "link", "add", "name", "docker0", "type", "bridge")
sh("iptables", "-P", "FORWARD", "DROP")
sh("ip", "link", "add", "name", "phys", "type", "veth", "peer", "name", "eth0", "netns", sys.argv[1])
sh("ip", "link", "add", "name", "port", "type", "veth", "peer", "name", "eth0", "netns", sys.argv[2])
task = ApplyL2NetworkTask(l2_network_uuid="a" * 32, bridge="zbtest", physical_interface="phys")
asyncio.run(ApplyL2Network().run(task, Work("t", "r", 1, lambda p, d: None)))
sh("ip", "link", "set", "dev", "port", "master", "zbtest", "up")
for ns, a in ((sys.argv[1], "1"), (sys.argv[2], "2")):
    sh("ip", "-netns", ns, "address", "add", f"10.94.0.{a}/24", "dev", "eth0")
    sh("ip", "-netns", ns, "link", "set", "dev", "eth0", "up")
sh("ip", "netns", "exec", sys.argv[1], "ping", "-q", "-c", "3", "-i", "0.3", "-W", "1", "10.94.0.2")
print("docker0", Path("/sys/class/net/docker0/bridge/nf_call_iptables").read_text().strip())
"""


def test_a_firewall_that_drops_what_it_forwards_does_not_see_the_frames(lan: Lan) -> None:
    if not Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists():
        pytest.skip("this kernel does not show frames of bridges to iptables")
    names = [f"zt-{lan.mark}-{part}" for part in ("host", "one", "two")]
    try:
        for name in names:
            ip("netns", "add", name)
        argv = ["ip", "netns", "exec", names[0], sys.executable, "-c", FIREWALLED, *names[1:]]
        done = subprocess.run(argv, capture_output=True, text=True)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "docker0 1" in done.stdout, "bridges of others keep their firewall"


def test_a_bridge_that_goes_while_it_is_looked_at_needs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its switch goes first; the device itself is still seen for a moment."""
    own = tmp_path / "devices/docker0/bridge/nf_call_iptables"
    switch = tmp_path / "bridge-nf-call-iptables"
    own.parent.mkdir(parents=True)
    own.write_text("0")
    switch.write_text("1")
    monkeypatch.setattr(bridge, "DEVICES", tmp_path / "devices")
    monkeypatch.setattr(bridge, "NETFILTER", tmp_path)
    write = Path.write_text

    def goes(path: Path, text: str) -> int:
        if path != own:
            return write(path, text)
        own.unlink()
        raise OSError(errno.ENODEV, "gone")

    monkeypatch.setattr(Path, "write_text", goes)
    bridge.let_frames_pass("zbtest")
    assert switch.read_text() == "0"
