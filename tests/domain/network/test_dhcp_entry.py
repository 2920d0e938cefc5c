"""What guests are told by DHCP (L3-16, NSV-06)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.domain.network.ground import Ground
from zcloud.processes.network.dhcp import entry, hostname


@dataclass(frozen=True)
class Nic:
    mac: str = "fa:00:00:00:00:01"
    ip: str = "10.0.0.7"
    netmask: str = "255.255.255.0"
    gateway: str = "10.0.0.1"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("web-1", "web-1"),
        ("Web Server #2", "web-server-2"),
        ("-- a.b --", "a-b"),
        ("Maschine für Ä", "maschine-f-r"),
        ("虚拟机", "ip-10-0-0-7"),
        ("x" * 80, "x" * 63),
        ("y" * 62 + " z", "y" * 62),
    ],
)
def test_names_become_dns_labels(name: str, label: str) -> None:
    assert hostname(name, "10.0.0.7") == label


def test_only_the_default_nic_leads_out() -> None:
    l3 = Ground().l3()
    assert entry(Nic(), "vm", True, l3).gateway == "10.0.0.1"
    other = entry(Nic(), "vm", False, l3)
    assert (other.gateway, other.netmask, other.ip, other.mac) == ("", "255.255.255.0", "10.0.0.7", Nic().mac)
