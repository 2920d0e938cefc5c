"""dnsmasq in its namespace, asked by real DHCP clients on a real bridge."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.network import command, dhcp
from agents.network.bridge import ApplyL2Network
from agents.network.dhcp import ApplyDhcp, DhcpServers, ReleaseDhcp, RemoveDhcp
from agents.runtime.task import TaskError
from tests.agents.network.lan import Lan, exists, ip
from tests.agents.network.test_bridge import apply_task
from tests.support.tasks import failure, probe, run
from zcloud.v1.network_task_pb2 import ApplyDhcpTask, DhcpEntry, ReleaseDhcpTask, RemoveDhcpTask

pytestmark = pytest.mark.real

ONE, TWO = "02:00:00:00:00:01", "02:00:00:00:00:02"
INFINITE = str(2**32 - 1)


class Server:
    """The handlers of one network, as an agent has them; again() is the agent after a restart."""

    def __init__(self, lan: Lan, folder: Path) -> None:
        self.lan, self.folder, self.l3 = lan, folder, uuid.uuid4().hex
        self.again()

    def again(self) -> None:
        self.servers = DhcpServers(self.folder)
        self.apply, self.release, self.remove = (kind(self.servers) for kind in (ApplyDhcp, ReleaseDhcp, RemoveDhcp))

    @property
    def pid(self) -> int | None:
        return self.servers.pid(self.l3)

    def task(self, *entries: DhcpEntry) -> ApplyDhcpTask:
        return ApplyDhcpTask(
            l3_network_uuid=self.l3,
            bridge=self.lan.bridge,
            server_address="10.95.0.2/24",
            dns=["10.95.0.2", "10.95.0.3"],
            dns_domain="vm.example.org",
            entries=entries,
        )

    def removal(self) -> RemoveDhcpTask:
        return RemoveDhcpTask(l3_network_uuid=self.l3, bridge=self.lan.bridge)

    def kill(self) -> None:
        assert self.pid is not None
        os.kill(self.pid, signal.SIGKILL)
        while self.pid is not None:
            pass


def runs(pid: int | None) -> bool:
    """A zombie has no words any more."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def entry(mac: str, address: str, hostname: str = "", gateway: str = "") -> DhcpEntry:
    return DhcpEntry(mac=mac, ip=address, hostname=hostname, gateway=gateway, netmask="255.255.255.0")


FIRST = entry(ONE, "10.95.0.11", "web", "10.95.0.1")


@pytest.fixture
def server(lan: Lan, tmp_path: Path) -> Iterator[Server]:
    run(ApplyL2Network(), apply_task(lan))
    made = Server(lan, tmp_path / "dhcp")
    try:
        yield made
    finally:
        run(made.remove, made.removal())


def test_each_nic_is_told_what_is_its_own(server: Server) -> None:
    run(server.apply, server.task(FIRST, entry(TWO, "10.95.0.12")))
    one, two = server.lan.client("a", ONE), server.lan.client("b", TWO)
    told = server.lan.ask_dhcp(one)
    assert (told["ip"], told["subnet"], told["router"]) == ("10.95.0.11", "255.255.255.0", "10.95.0.1")
    assert (told["dns"], told["domain"]) == ("10.95.0.2 10.95.0.3", "vm.example.org")
    assert (told["hostname"], told["lease"]) == ("web", INFINITE)
    told = server.lan.ask_dhcp(two)
    assert told["ip"] == "10.95.0.12"
    assert "router" not in told, "a NIC that is not the default one must not draw the guest's default route"
    # Names are known, asked by a machine of the network.
    ip("-netns", one, "address", "add", "10.95.0.11/24", "dev", "eth0")
    argv = ["ip", "netns", "exec", one, "busybox", "nslookup", "web.vm.example.org", "10.95.0.2"]
    assert "10.95.0.11" in subprocess.run(argv, capture_output=True, text=True).stdout


def test_a_stranger_gets_no_address(server: Server) -> None:
    run(server.apply, server.task(FIRST))
    assert server.lan.dhcp_is_silent(server.lan.client("s", "02:00:00:00:00:99"))


def test_entries_come_one_at_a_time_and_the_server_stays(server: Server) -> None:
    run(server.apply, server.task(FIRST))
    pid = server.pid
    assert probe(server.apply, server.task(FIRST)) is not None
    second = server.task(entry(TWO, "10.95.0.12"))
    assert probe(server.apply, second) is None
    server.again()
    run(server.apply, second)
    run(server.apply, second)
    assert server.pid == pid, "the server must outlive the agent"
    assert server.lan.ask_dhcp(server.lan.client("a", ONE))["ip"] == "10.95.0.11"
    assert server.lan.ask_dhcp(server.lan.client("b", TWO))["ip"] == "10.95.0.12"


def test_an_address_goes_to_its_next_owner_though_it_was_leased_for_ever(server: Server) -> None:
    run(server.apply, server.task(FIRST))
    one, two = server.lan.client("a", ONE), server.lan.client("b", TWO)
    assert server.lan.ask_dhcp(one)["ip"] == "10.95.0.11"
    release = ReleaseDhcpTask(l3_network_uuid=server.l3, macs=[ONE.upper()])
    run(server.release, release)
    run(server.release, release)
    assert server.lan.dhcp_is_silent(one)
    run(server.apply, server.task(entry(TWO, "10.95.0.11")))
    assert server.lan.ask_dhcp(two)["ip"] == "10.95.0.11"
    # Without a release in between as well: the cloud's word is the last one.
    run(server.apply, server.task(FIRST))
    assert server.lan.ask_dhcp(one)["ip"] == "10.95.0.11"
    assert server.lan.dhcp_is_silent(two)


def test_a_server_that_died_is_started_again(server: Server) -> None:
    run(server.apply, server.task(FIRST))
    server.kill()
    assert probe(server.apply, server.task(FIRST)) is None
    run(server.apply, server.task(FIRST))
    assert probe(server.apply, server.task(FIRST)) is not None
    assert server.lan.ask_dhcp(server.lan.client("a", ONE))["ip"] == "10.95.0.11"


def test_a_server_that_dies_before_it_is_told_is_started_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    run(server.apply, server.task(FIRST))

    def dies(pid: int, sign: int) -> None:
        kill(pid, signal.SIGKILL)
        while runs(pid):
            pass
        raise ProcessLookupError

    kill = os.kill
    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", dies)
        run(server.apply, server.task(entry(TWO, "10.95.0.12")))
    assert probe(server.apply, server.task(FIRST, entry(TWO, "10.95.0.12"))) is not None


def test_after_a_restart_of_the_host_all_comes_back(server: Server) -> None:
    run(server.apply, server.task(FIRST))
    server.kill()
    ip("netns", "delete", dhcp.namespace(server.l3))
    run(server.release, ReleaseDhcpTask(l3_network_uuid=server.l3, macs=[ONE]))
    run(server.apply, server.task(entry(TWO, "10.95.0.12")))
    assert server.lan.ask_dhcp(server.lan.client("b", TWO))["ip"] == "10.95.0.12"
    assert server.lan.dhcp_is_silent(server.lan.client("a", ONE))


def test_a_crash_between_writing_and_telling_is_seen(server: Server) -> None:
    run(server.apply, server.task(FIRST))
    second = server.task(FIRST, entry(TWO, "10.95.0.12"))
    wanted = dhcp.dhcp_files.checked(second)
    dhcp.dhcp_files.write(server.folder / server.l3, wanted)
    assert probe(server.apply, second) is None, "the files say so, but the server was not told"
    run(server.apply, second)
    assert server.lan.ask_dhcp(server.lan.client("b", TWO))["ip"] == "10.95.0.12"


def test_a_cable_that_the_kernel_takes_away_meanwhile_is_no_failure(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes with the namespace of its other end, but some time after."""
    ip("link", "add", "name", dhcp.port(server.l3), "type", "veth", "peer", "name", f"zt{server.lan.mark}x")

    async def late(*argv: str, check: bool = True) -> str:
        if argv == ("ip", "link", "delete", "dev", dhcp.port(server.l3)):
            ip(*argv[1:])
        return await command_run(*argv, check=check)

    command_run = command.run
    monkeypatch.setattr(command, "run", late)
    run(server.apply, server.task(FIRST))
    assert probe(server.apply, server.task(FIRST)) is not None


def test_an_interface_that_cannot_go_says_why() -> None:
    with pytest.raises(TaskError, match=r"ip link delete dev lo: "):
        asyncio.run(command.delete_link("lo"))


def test_half_a_cable_is_replaced(server: Server) -> None:
    ip("link", "add", "name", dhcp.port(server.l3), "type", "veth", "peer", "name", f"zt{server.lan.mark}x")
    run(server.apply, server.task(FIRST))
    assert server.lan.ask_dhcp(server.lan.client("a", ONE))["ip"] == "10.95.0.11"


def test_removing_leaves_nothing(server: Server) -> None:
    run(server.apply, server.task(FIRST))
    pid = server.pid
    assert probe(server.remove, server.removal()) is None
    run(server.remove, server.removal())
    assert probe(server.remove, server.removal()) is not None
    assert not exists(dhcp.port(server.l3))
    assert not Path("/run/netns", dhcp.namespace(server.l3)).exists()
    assert not (server.folder / server.l3).exists()
    assert not runs(pid)
    run(server.remove, server.removal())


def test_a_process_whose_file_is_lost_is_found(server: Server) -> None:
    run(server.apply, server.task(FIRST))
    (server.folder / server.l3 / "pid").unlink()
    run(server.apply, server.task(FIRST))
    pid = server.pid
    assert pid is not None
    (server.folder / server.l3 / "pid").unlink()
    run(server.remove, server.removal())
    assert not runs(pid)


def test_without_its_bridge_it_says_which(server: Server) -> None:
    ip("link", "delete", "dev", server.lan.bridge)
    error = failure(server.apply, server.task(FIRST))
    assert error.reason == "NOT_FOUND"
    assert server.lan.bridge in error.message
    assert not Path("/run/netns", dhcp.namespace(server.l3)).exists()
