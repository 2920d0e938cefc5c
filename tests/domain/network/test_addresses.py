"""Addresses of NICs: each one has one, whatever is asked in whatever order (L3-12, L3-15)."""

from __future__ import annotations

import re

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.domain.network.ground import Ground, events, run
from zcloud.domain.network.addresses import mac_of, nics_in, release
from zcloud.domain.network.ip_pool import IpPool
from zcloud.domain.network.l3_network import Strategy
from zcloud.kernel.errors import Code, Reason, Refused

NICS = [f"{n:032x}" for n in range(12)]


def refusal(ground: Ground, *arguments: object) -> Refused:
    with pytest.raises(Refused) as refused:
        ground.allocate(*arguments)  # type: ignore[arg-type]
    return refused.value


def test_first_available_begins_at_the_start_and_the_dhcp_server_stays_out_of_the_way() -> None:
    ground = Ground()
    l3 = ground.l3(ip_allocator_strategy="FirstAvailable")
    ip_range = ground.range(l3)
    first = ground.allocate(l3, NICS[0])
    assert (first.ip, first.netmask, first.gateway) == ("10.0.0.10", "255.255.255.0", "10.0.0.1")
    assert first.ip_range_uuid == ip_range.uuid
    assert ground.addressing(l3).dhcp_server_ip == "10.0.0.20"
    assert ground.allocate(l3, NICS[1]).ip == "10.0.0.11"
    assert ground.pool(ip_range).available_ips == 8
    run(release(ground.unit, ip_range.uuid, NICS[0]))
    assert ground.allocate(l3, NICS[2]).ip == "10.0.0.10"
    assert run(nics_in(ground.unit, ip_range)) == [NICS[1], NICS[2]]


def test_ascending_recycles_late() -> None:
    ground = Ground()
    l3 = ground.l3("10.0.0.2", ip_allocator_strategy="AscDelayRecycle")
    ip_range = ground.range(l3, end_ip="10.0.0.13")
    assert [ground.allocate(l3, nic).ip[-2:] for nic in NICS[:2]] == ["10", "11"]
    run(release(ground.unit, ip_range.uuid, NICS[0]))
    assert [ground.allocate(l3, nic).ip[-2:] for nic in NICS[2:5]] == ["12", "13", "10"]


def test_a_nic_that_asks_again_keeps_what_it_has() -> None:
    ground = Ground()
    l3 = ground.l3()
    ip_range = ground.range(l3)
    first = ground.allocate(l3, NICS[0])
    before = len(ground.pool(ip_range).pending)
    assert ground.allocate(l3, NICS[0]) == first
    assert ground.allocate(l3, NICS[0], first.ip) == first
    assert len(ground.pool(ip_range).pending) == before


def test_a_nic_moves_to_a_wanted_address() -> None:
    ground = Ground()
    l3 = ground.l3()
    first = ground.range(l3)
    other = ground.range(l3, start_ip="10.0.0.40", end_ip="10.0.0.50")
    ground.allocate(l3, NICS[0], "10.0.0.11")
    assert ground.allocate(l3, NICS[0], "10.0.0.12").ip == "10.0.0.12"
    assert ground.allocate(l3, NICS[0], "10.0.0.41").ip == "10.0.0.41"
    assert (run(nics_in(ground.unit, first)), run(nics_in(ground.unit, other))) == ([], [NICS[0]])


def test_a_wanted_address() -> None:
    ground = Ground()
    l3 = ground.l3()
    ground.range(l3)
    ground.range(l3, start_ip="10.0.0.40", end_ip="10.0.0.50")
    assert ground.allocate(l3, NICS[0], "10.0.0.45").ip == "10.0.0.45"
    taken = refusal(ground, l3, NICS[1], "10.0.0.45")
    assert (taken.code, taken.reason) == (Code.FAILED_PRECONDITION, Reason.ADDRESS_TAKEN)
    server = refusal(ground, l3, NICS[1], ground.addressing(l3).dhcp_server_ip)
    assert server.reason is Reason.ADDRESS_TAKEN
    for outside in ("10.0.0.1", "10.0.0.30", "192.168.0.1"):
        wrong = refusal(ground, l3, NICS[1], outside)
        assert (wrong.code, wrong.facts["field"]) == (Code.INVALID_ARGUMENT, "ip")


def test_the_wanted_address_is_not_taken_by_the_dhcp_server() -> None:
    ground = Ground()
    l3 = ground.l3()
    ground.range(l3)
    assert ground.allocate(l3, NICS[0], "10.0.0.20").ip == "10.0.0.20"
    assert ground.addressing(l3).dhcp_server_ip == "10.0.0.19"


def test_the_second_range_is_used_when_the_first_is_full_and_then_nothing_is_left() -> None:
    ground = Ground()
    l3 = ground.l3("10.0.0.2")
    ground.range(l3, end_ip="10.0.0.11")
    ground.range(l3, start_ip="10.0.0.40", end_ip="10.0.0.40")
    assert {ground.allocate(l3, nic).ip for nic in NICS[:3]} == {"10.0.0.10", "10.0.0.11", "10.0.0.40"}
    full = refusal(ground, l3, NICS[3])
    assert (full.code, full.reason) == (Code.RESOURCE_EXHAUSTED, Reason.NO_ADDRESS_AVAILABLE)
    assert full.resource == ("l3_network", l3.uuid)


def test_no_range_and_no_room_for_the_dhcp_server() -> None:
    ground = Ground()
    l3 = ground.l3()
    assert refusal(ground, l3, NICS[0]).reason is Reason.NO_ADDRESS_AVAILABLE
    assert refusal(ground, l3, NICS[0], "10.0.0.10").reason is Reason.NO_ADDRESS_AVAILABLE
    ground.range(l3, end_ip="10.0.0.10")
    assert refusal(ground, l3, NICS[0]).reason is Reason.NO_ADDRESS_AVAILABLE


def test_the_dhcp_server_moves_only_with_the_range_it_came_from() -> None:
    ground = Ground()
    l3 = ground.l3()
    first = ground.range(l3)
    other = ground.range(l3, start_ip="10.0.0.40", end_ip="10.0.0.50")
    addressing = ground.addressing(l3)
    ground.allocate(l3, NICS[0], "10.0.0.41")
    assert addressing.dhcp_server_ip == "10.0.0.20"
    addressing.remove(first.uuid)
    assert addressing.dhcp_server_ip == ""
    ground.allocate(l3, NICS[1])
    assert ground.pool(other).holder_of(addressing.dhcp_server_ip) == l3.uuid


def test_a_chosen_dhcp_server_stays_when_its_range_goes() -> None:
    ground = Ground()
    l3 = ground.l3("10.0.0.15")
    first = ground.range(l3)
    assert ground.pool(first).holder_of("10.0.0.15") == l3.uuid
    ground.addressing(l3).remove(first.uuid)
    assert ground.addressing(l3).dhcp_server_ip == "10.0.0.15"


def test_release_of_what_is_not_held_or_gone() -> None:
    ground = Ground()
    l3 = ground.l3()
    ip_range = ground.range(l3)
    run(release(ground.unit, ip_range.uuid, NICS[0]))
    run(release(ground.unit, "f" * 32, NICS[0]))
    assert events(ground.pool(ip_range)) == ["Opened"]


def test_macs_are_locally_administered_unicast_and_stay_the_same() -> None:
    macs = {mac_of(nic) for nic in NICS}
    assert len(macs) == len(NICS)
    assert all(re.fullmatch(r"fa(:[0-9a-f]{2}){5}", mac) for mac in macs)
    assert mac_of(NICS[0]) == mac_of(NICS[0])


def expectation(wanted: str, inside: set[str], free: set[str], room: bool) -> Reason | None:
    """The reason of the refusal, None for an address."""
    if wanted and wanted not in inside:
        return Reason.INVALID_FIELD
    if wanted and wanted not in free:
        return Reason.ADDRESS_TAKEN
    return None if room else Reason.NO_ADDRESS_AVAILABLE


@settings(max_examples=150, deadline=None)
@given(
    strategy=st.sampled_from(list(Strategy)),
    chosen=st.sampled_from(["", "10.0.0.2", "10.0.0.12"]),
    last=st.integers(10, 18),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["any", "any", "wanted", "release"]),
            st.sampled_from(NICS),
            st.integers(9, 20),
        ),
        max_size=40,
    ),
)
def test_never_two_on_one_address(
    strategy: Strategy, chosen: str, last: int, steps: list[tuple[str, str, int]]
) -> None:
    """Held against a plain dictionary: NIC to address."""
    ground = Ground()
    l3 = ground.l3(chosen, ip_allocator_strategy=strategy.value)
    ip_range = ground.range(l3, end_ip=f"10.0.0.{last}")
    pool, addressing = ground.pool(ip_range), ground.addressing(l3)
    inside = {f"10.0.0.{n}" for n in range(10, last + 1)}
    held: dict[str, str] = {}
    for what, nic, number in steps:
        server = {addressing.dhcp_server_ip} & inside
        if what == "release":
            run(release(ground.unit, ip_range.uuid, nic))
            held.pop(nic, None)
        else:
            wanted = f"10.0.0.{number}" if what == "wanted" else ""
            free = inside - {ip for holder, ip in held.items() if holder != nic} - server
            # The first NIC brings the DHCP server along, which needs an address too.
            room = len(free) >= (1 if addressing.dhcp_server_ip else 2)
            expected = expectation(wanted, inside, free, room)
            try:
                got = ground.allocate(l3, nic, wanted).ip
            except Refused as refused:
                event(refused.reason.value)
                if refused.reason is not expected:
                    raise
                # What was decided on the way to a refusal is dropped with its unit: so the test ends here.
                break
            assert expected is None
            assert got in free
            assert got == (wanted or held.get(nic, got))
            held[nic] = got
        assert addressing.dhcp_server_ip not in held.values()
        assert ip_range.gateway not in held.values()
        assert {nic: pool.address_of(nic) for nic in held} == held
        assert len(set(held.values())) == len(held)
        server = {addressing.dhcp_server_ip} & inside
        assert pool.available_ips == len(inside) - len(held) - len(server)
    replayed = IpPool.blank(ip_range.uuid)
    for happened in pool.pending:
        replayed.fold(happened, 1)
    assert (replayed.by_address, replayed.by_holder, replayed.claimed) == (
        pool.by_address,
        pool.by_holder,
        pool.claimed,
    )


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_range_of_several_blocks_is_given_out_to_the_last_address(strategy: Strategy) -> None:
    ground = Ground()
    l3 = ground.l3("10.0.0.2", ip_allocator_strategy=strategy.value)
    ip_range = ground.range(l3, netmask="255.255.252.0", start_ip="10.0.0.250", end_ip="10.0.2.3")
    pool = ground.pool(ip_range)
    got = {pool.claim_any(f"{n:032x}", strategy, n * 7919) for n in range(ip_range.total_ips)}
    assert (len(got), pool.available_ips) == (266, 0)
    with pytest.raises(Refused):
        pool.claim_any("f" * 32, strategy, 1)
