"""Each filter by itself, the chain, the strategies, and what a refusal tells (behaviours 3, OFR-03, user-ask 5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from zcloud.domain.compute import host_allocator as allocator
from zcloud.domain.compute.host_allocator import CHAIN, AllocationReport, Candidate, Wish, judge, no_host, prefer
from zcloud.kernel.errors import Code, Reason

GIB = 1 << 30
HOST = Candidate(
    uuid="1" * 32,
    name="one",
    zone_uuid="z" * 32,
    cluster_uuid="c" * 32,
    state="Enabled",
    status="Connected",
    hypervisor_type="KVM",
    available_cpu_capacity=10,
    available_memory_capacity=8 * GIB,
    l2_network_uuids=frozenset({"l2"}),
    primary_storage_uuids=("ps",),
)
WISH = Wish("v" * 32, 2, GIB, l2_network_uuids=frozenset({"l2"}), zone_uuid="z" * 32, reserved_memory=GIB)


def host(name: str, **changes: Any) -> Candidate:
    return replace(HOST, uuid=name * (32 // len(name)), name=name, **changes)


@pytest.mark.parametrize(
    ("name", "wish", "changes", "words"),
    [
        ("AttachedL2Network", {}, {"l2_network_uuids": frozenset()}, "L2 network l2 is not attached"),
        ("AttachedL2Network", {"l2_network_uuids": frozenset({"l2", "m"})}, {}, "L2 network m"),
        ("Designated", {"host_uuid": "9" * 32}, {}, "was asked for"),
        ("Designated", {"host_uuid": "9" * 32, "pinned": "its disk is elsewhere"}, {}, "its disk is elsewhere"),
        ("Designated", {"cluster_uuid": "9" * 32}, {}, "it is in cluster"),
        ("Designated", {"zone_uuid": "9" * 32}, {}, "it is in zone"),
        ("HostStateAndHypervisor", {}, {"state": "Disabled"}, "it is Disabled"),
        ("HostStateAndHypervisor", {}, {"state": "Maintenance"}, "it is Maintenance"),
        ("HostStateAndHypervisor", {}, {"status": "Connecting"}, "it is Connecting"),
        ("HostStateAndHypervisor", {}, {"status": "Disconnected"}, "it is Disconnected"),
        ("HostStateAndHypervisor", {}, {"cluster_state": "Disabled"}, "its cluster is Disabled"),
        ("HostStateAndHypervisor", {}, {"zone_state": "Disabled"}, "its zone is Disabled"),
        ("ImageBackupStorage", {"image_faults": {"1" * 32: "no copy"}}, {}, "no copy"),
        ("HostCapacity", {"cpu_num": 11}, {}, "10 vCPUs are left, 11 are wanted"),
        ("HostCapacity", {"memory_size": 7 * GIB + 1}, {}, "bytes of memory"),
        ("HostCapacity", {"reserved_memory": 8 * GIB}, {}, "0 bytes of memory"),
        ("HostPrimaryStorage", {"storage_faults": {"1" * 32: "full"}}, {}, "full"),
    ],
)
def test_a_filter_and_its_reason(name: str, wish: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    left, filters = judge(replace(WISH, **wish), [replace(HOST, **changes)], CHAIN)
    assert left == []
    fell = next(step for step in filters if step.left == 0)
    assert fell.name == name
    assert words in fell.rejected[0].reason
    assert (fell.rejected[0].host_uuid, fell.rejected[0].host_name) == (HOST.uuid, "one")


def test_the_order_is_the_references() -> None:
    names = [name for name, _ in CHAIN]
    assert names == [
        "AttachedL2Network",
        "Designated",
        "HostStateAndHypervisor",
        "ImageBackupStorage",
        "HostCapacity",
        "HostPrimaryStorage",
    ]
    left, filters = judge(WISH, [HOST], CHAIN)
    assert left == [HOST]
    assert [(step.name, step.left, step.rejected) for step in filters] == [(name, 1, ()) for name in names]


def test_a_vm_that_takes_exactly_what_is_left_fits() -> None:
    assert judge(replace(WISH, cpu_num=10, memory_size=7 * GIB), [HOST], CHAIN)[0] == [HOST]


def test_a_host_falls_once() -> None:
    bad = host("2", state="Disabled", available_cpu_capacity=0)
    left, filters = judge(WISH, [HOST, bad], CHAIN)
    assert left == [HOST]
    assert [(step.name, len(step.rejected)) for step in filters if step.rejected] == [("HostStateAndHypervisor", 1)]


def test_strategies() -> None:
    hosts = [host("a", vm_number=3), host("b", vm_number=1), host("c", vm_number=2)]

    def first(strategy: str, **wish: Any) -> str:
        return prefer(replace(WISH, strategy=strategy, **wish), hosts)[0].name

    assert first("LeastVmPreferred") == "b"
    assert first("MostVmPreferred") == "a"
    assert first("LastHostPreferred", last_host_uuid="c" * 32) == "c"
    assert first("LastHostPreferred", last_host_uuid="9" * 32) == "b"
    chosen = {first("Default", chance=str(n)) for n in range(40)}
    assert chosen == {"a", "b", "c"}
    assert len({first("Default", chance="same") for _ in range(5)}) == 1, "chance is injected"


def test_equals_are_taken_by_chance() -> None:
    hosts = [host(name) for name in "abcd"]
    firsts = {prefer(replace(WISH, chance=str(n)), hosts)[0].name for n in range(60)}
    assert firsts == set("abcd")


def test_a_refusal_names_every_filter_and_ten_hosts() -> None:
    hosts = [host(f"{n:02d}", state="Disabled" if n % 2 else "Enabled", available_cpu_capacity=0) for n in range(14)]
    left, filters = judge(WISH, hosts, CHAIN)
    assert left == []
    refused = no_host(AllocationReport(filters))
    assert (refused.code, refused.reason) == (Code.RESOURCE_EXHAUSTED, Reason.NO_HOST_AVAILABLE)
    for step, number in zip(filters, (14, 14, 7, 7, 0, 0), strict=True):
        assert f"{step.name} left {number}" in refused.message
        assert refused.facts[step.name] == str(number)
    told = [fact for name, fact in refused.facts.items() if name.startswith("host ")]
    assert len(told) == allocator.TOLD
    assert all(fact.startswith(("HostStateAndHypervisor: it is Disabled", "HostCapacity: 0 vCPUs")) for fact in told)
    assert "4 more hosts: see GetAllocationReport" in refused.message
    assert isinstance(refused.detail, AllocationReport)
    assert sum(len(step.rejected) for step in refused.detail.filters) == 14
    assert len(refused.message) < 2000
    assert refused.message.count("it is Disabled") == 1, "a reason that many hosts have is said once"
