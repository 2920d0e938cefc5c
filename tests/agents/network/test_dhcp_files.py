"""What tasks may put into dnsmasq's files, and what they must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.network import dhcp_files
from agents.network.dhcp import ApplyDhcp, DhcpServers, ReleaseDhcp, RemoveDhcp
from tests.support.tasks import failure
from zcloud.v1.network_task_pb2 import ApplyDhcpTask, DhcpEntry, ReleaseDhcpTask, RemoveDhcpTask

L3 = "d" * 32
EVIL = "x\ndhcp-script=/bin/sh"


def task(**changes: object) -> ApplyDhcpTask:
    entry = {"mac": "02:00:00:00:00:01", "ip": "10.0.0.5", "hostname": "web", "gateway": "10.0.0.1"}
    entry |= {"netmask": "255.255.255.0"}
    fields: dict[str, object] = {
        "l3_network_uuid": L3,
        "bridge": "zbtest",
        "server_address": "10.0.0.2/24",
        "dns": ["10.0.0.9"],
        "dns_domain": "example.org",
    }
    own = {key: value for key, value in changes.items() if key in fields}
    entry |= {key: value for key, value in changes.items() if key in entry}
    return ApplyDhcpTask(**(fields | own), entries=[DhcpEntry(**entry)])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("l3_network_uuid", "../../etc"),
        ("l3_network_uuid", ""),
        ("bridge", "-x"),
        ("bridge", EVIL),
        ("server_address", "10.0.0.2"),
        ("server_address", "10.0.0.2/31"),
        ("server_address", EVIL),
        ("dns", [EVIL]),
        ("dns", ["1.2.3"]),
        ("dns_domain", EVIL),
        ("dns_domain", "a,b"),
        ("dns_domain", "-a.org"),
        ("mac", "02:00:00:00:00:01,set:other"),
        ("mac", EVIL),
        ("mac", ""),
        ("ip", EVIL),
        ("ip", ""),
        ("ip", "10.0.1.5"),
        ("hostname", EVIL),
        ("hostname", "a,10.0.0.1"),
        ("hostname", "a b"),
        ("gateway", EVIL),
        ("netmask", EVIL),
    ],
)
def test_text_that_is_no_value_never_reaches_a_file(tmp_path: Path, field: str, value: object) -> None:
    error = failure(ApplyDhcp(DhcpServers(tmp_path)), task(**{field: value}))
    assert error.reason == "INVALID"
    assert field in error.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uuid", ["", "..", "A" * 32, "a" * 31, "/" + "a" * 31])
def test_a_uuid_that_is_none_is_no_path(tmp_path: Path, uuid: str) -> None:
    inside = tmp_path / "dhcp"
    inside.mkdir()
    servers = DhcpServers(inside)
    assert failure(RemoveDhcp(servers), RemoveDhcpTask(l3_network_uuid=uuid)).reason == "INVALID"
    assert failure(ReleaseDhcp(servers), ReleaseDhcpTask(l3_network_uuid=uuid)).reason == "INVALID"
    assert inside.exists()


def test_what_was_wanted_is_read_again(tmp_path: Path) -> None:
    wanted = dhcp_files.checked(task())
    assert dhcp_files.read(tmp_path / L3) is None
    dhcp_files.write(tmp_path / L3, wanted)
    assert dhcp_files.read(tmp_path / L3) == wanted
    assert (tmp_path / L3).stat().st_mode & 0o777 == 0o700


def test_only_a_nic_with_a_gateway_is_told_one(tmp_path: Path) -> None:
    wanted = dhcp_files.checked(task())
    plain = dhcp_files.checked(task(mac="02:00:00:00:00:02", ip="10.0.0.6", gateway="", hostname=""))
    wanted.entries |= plain.entries
    options = dhcp_files.render(tmp_path, wanted)[dhcp_files.OPTIONS].splitlines()
    assert "tag:nic020000000001,option:router,10.0.0.1" in options
    assert "tag:nic020000000002,option:router" in options


def test_without_dns_servers_the_server_is_one_itself(tmp_path: Path) -> None:
    wanted = dhcp_files.checked(task(dns=[]))
    assert "option:dns-server,10.0.0.2\n" in dhcp_files.render(tmp_path, wanted)[dhcp_files.CONFIG]
