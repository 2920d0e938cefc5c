"""The rules of IP ranges (L3-02, L3-03, behaviours 12)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.domain.network.ground import ZONE, Ground, events, run
from zcloud.domain.network.ip_range import IpRange, of_cidr
from zcloud.kernel.errors import Code, Reason, Refused

GOOD = {"start_ip": "10.0.0.10", "end_ip": "10.0.0.20", "netmask": "255.255.255.0", "gateway": "10.0.0.1"}


def create(**changes: str) -> IpRange:
    made = run(Ground().unit.new(IpRange))
    made.create(name="r", l3_network_uuid="c" * 32, zone_uuid=ZONE, **{**GOOD, **changes})
    return made


def test_a_range_knows_its_subnet_and_its_size() -> None:
    made = create()
    assert (made.network_cidr, made.total_ips) == ("10.0.0.0/24", 11)
    assert create(end_ip="10.0.0.10").total_ips == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"start_ip": "10.0.0.21"}, "end_ip"),
        ({"end_ip": "10.0.1.20"}, "end_ip"),
        ({"gateway": "10.0.1.1"}, "gateway"),
        ({"gateway": "10.0.0.10"}, "gateway"),
        ({"gateway": "10.0.0.20"}, "gateway"),
        ({"gateway": "10.0.0.15"}, "gateway"),
        ({"gateway": "10.0.0.0"}, "gateway"),
        ({"gateway": "10.0.0.255"}, "gateway"),
        ({"start_ip": "10.0.0.0", "gateway": "10.0.0.30"}, "start_ip"),
        ({"end_ip": "10.0.0.255"}, "end_ip"),
        ({"netmask": "255.255.255.254", "end_ip": "10.0.0.11"}, "netmask"),
        ({"netmask": "0.0.0.0"}, "netmask"),
        ({"start_ip": "224.0.0.10", "end_ip": "224.0.0.20", "gateway": "224.0.0.1"}, "start_ip"),
        ({"start_ip": "239.255.0.10", "end_ip": "239.255.0.20", "gateway": "239.255.0.1"}, "start_ip"),
        ({"start_ip": "240.0.0.10", "end_ip": "240.0.0.20", "gateway": "240.0.0.1"}, "start_ip"),
        ({"start_ip": "127.0.0.10", "end_ip": "127.0.0.20", "gateway": "127.0.0.1"}, "start_ip"),
        ({"start_ip": "169.254.0.10", "end_ip": "169.254.0.20", "gateway": "169.254.0.1"}, "start_ip"),
        ({"start_ip": "0.0.0.10", "end_ip": "0.0.0.20", "gateway": "0.0.0.1"}, "start_ip"),
        (
            {"start_ip": "126.0.0.1", "end_ip": "128.0.0.1", "netmask": "128.0.0.0", "gateway": "1.0.0.1"},
            "end_ip",
        ),
        (
            {"start_ip": "100.0.0.1", "end_ip": "127.200.0.1", "netmask": "128.0.0.0", "gateway": "1.0.0.1"},
            "start_ip",
        ),
    ],
)
def test_what_is_wrong_in_itself(changes: dict[str, str], field: str) -> None:
    with pytest.raises(Refused) as refused:
        create(**changes)
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert [name for name, _ in refused.value.fields] == [field]


@pytest.mark.parametrize(
    ("cidr", "gateway", "bounds"),
    [
        ("10.0.0.0/24", "", ("10.0.0.2", "10.0.0.254", "10.0.0.1")),
        ("10.0.0.0/24", "10.0.0.1", ("10.0.0.2", "10.0.0.254", "10.0.0.1")),
        ("10.0.0.0/24", "10.0.0.254", ("10.0.0.1", "10.0.0.253", "10.0.0.254")),
        ("10.0.0.4/30", "", ("10.0.0.6", "10.0.0.6", "10.0.0.5")),
        ("10.8.0.0/13", "", ("10.8.0.2", "10.15.255.254", "10.8.0.1")),
    ],
)
def test_a_whole_network(cidr: str, gateway: str, bounds: tuple[str, str, str]) -> None:
    found = of_cidr(cidr, gateway)
    assert (found["start_ip"], found["end_ip"], found["gateway"]) == bounds
    assert create(**found).network_cidr == cidr


@pytest.mark.parametrize(
    ("cidr", "gateway", "field"),
    [
        ("10.0.0.0/24", "10.0.0.7", "gateway"),
        ("10.0.0.0/24", "10.0.1.1", "gateway"),
        ("10.0.0.0/31", "", "network_cidr"),
        ("10.0.0.1/32", "", "network_cidr"),
        ("127.0.0.0/8", "", "network_cidr"),
        ("224.1.0.0/16", "", "network_cidr"),
        ("169.254.7.0/24", "", "network_cidr"),
        ("0.0.0.0/0", "", "network_cidr"),
        ("96.0.0.0/3", "", "network_cidr"),
    ],
)
def test_a_network_that_can_not_be_used(cidr: str, gateway: str, field: str) -> None:
    with pytest.raises(Refused) as refused:
        of_cidr(cidr, gateway)
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert refused.value.facts["field"] == field


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        ({"start_ip": "10.0.0.20", "end_ip": "10.0.0.30"}, Reason.OVERLAP),
        ({"start_ip": "10.0.0.5", "end_ip": "10.0.0.10"}, Reason.OVERLAP),
        ({"start_ip": "10.0.0.12", "end_ip": "10.0.0.13"}, Reason.OVERLAP),
        ({"start_ip": "10.0.0.5", "end_ip": "10.0.0.50"}, Reason.OVERLAP),
        ({"start_ip": "10.0.0.30", "end_ip": "10.0.0.40", "gateway": "10.0.0.2"}, Reason.DIFFERENT_SUBNET),
        ({"start_ip": "10.0.0.30", "end_ip": "10.0.0.40", "netmask": "255.255.255.128"}, Reason.DIFFERENT_SUBNET),
        (
            {"start_ip": "10.0.1.30", "end_ip": "10.0.1.40", "gateway": "10.0.1.1"},
            Reason.DIFFERENT_SUBNET,
        ),
    ],
)
def test_a_range_that_does_not_go_with_the_first(new: dict[str, str], reason: Reason) -> None:
    ground = Ground()
    l3 = ground.l3()
    ground.range(l3)
    with pytest.raises(Refused) as refused:
        ground.range(l3, **new)
    assert (refused.value.code, refused.value.reason) == (Code.FAILED_PRECONDITION, reason)
    assert len(ground.addressing(l3).spans) == 1


def test_ranges_side_by_side_and_another_subnet_after_the_last_is_gone() -> None:
    ground = Ground()
    l3 = ground.l3()
    ranges = [ground.range(l3), ground.range(l3, start_ip="10.0.0.21", end_ip="10.0.0.30")]
    addressing = ground.addressing(l3)
    for each in ranges:
        addressing.remove(each.uuid)
    ground.range(l3, start_ip="10.9.0.10", end_ip="10.9.0.20", gateway="10.9.0.1")
    assert addressing.network_cidr == "10.9.0.0/24"


@pytest.mark.parametrize(
    ("dhcp_server_ip", "reason"),
    [("10.1.0.2", Reason.DIFFERENT_SUBNET), ("10.0.0.1", Reason.ADDRESS_TAKEN), ("10.0.0.255", Reason.ADDRESS_TAKEN)],
)
def test_a_chosen_dhcp_server_must_fit_the_first_range(dhcp_server_ip: str, reason: Reason) -> None:
    ground = Ground()
    l3 = ground.l3(dhcp_server_ip)
    with pytest.raises(Refused) as refused:
        ground.range(l3)
    assert refused.value.reason is reason


def test_l3_networks_know_nothing_of_each_others_ranges() -> None:
    ground = Ground()
    for l3 in (ground.l3(), ground.l3()):
        assert events(ground.pool(ground.range(l3))) == ["Opened"]


def test_a_network_made_anew_under_an_old_uuid_begins_empty() -> None:
    ground = Ground()
    l3 = ground.l3("10.0.0.2")
    ground.range(l3)
    addressing: Any = ground.addressing(l3)
    addressing.close()
    assert (addressing.spans, addressing.network_cidr, addressing.dhcp_server_ip, addressing.dhcp_chosen) == (
        (),
        "",
        "",
        False,
    )
