"""Rules of L3 networks: categories, strategies, DNS (L3-01, L3-05)."""

from __future__ import annotations

import pytest

from tests.domain.network.ground import Ground, events
from zcloud.domain.network.l3_network import Category, Strategy
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.resource import State


def test_defaults() -> None:
    l3 = Ground().l3()
    assert (l3.category, l3.system, l3.ip_allocator_strategy) == (Category.PRIVATE, False, Strategy.RANDOM)
    assert (l3.state, l3.dns) == (State.ENABLED, ())


@pytest.mark.parametrize("category", ["Public", "Private"])
def test_only_a_network_of_category_system_may_be_a_system_network(category: str) -> None:
    with pytest.raises(Refused) as refused:
        Ground().l3(category=category, system=True)
    assert (refused.value.code, refused.value.facts["field"]) == (Code.INVALID_ARGUMENT, "system")
    assert Ground().l3(category="System", system=True).category is Category.SYSTEM


@pytest.mark.parametrize(
    ("given", "field"),
    [({"ip_allocator_strategy": "Best"}, "ip_allocator_strategy"), ({"dns": ("8.8.8.8", "8.8.8.8")}, "dns")],
)
def test_what_is_wrong_in_itself(given: dict[str, object], field: str) -> None:
    with pytest.raises(Refused) as refused:
        Ground().l3(**given)  # type: ignore[arg-type]
    assert (refused.value.code, refused.value.facts["field"]) == (Code.INVALID_ARGUMENT, field)


def test_each_dns_server_once() -> None:
    l3 = Ground().l3(dns=("8.8.8.8",))
    l3.add_dns("1.1.1.1")
    assert l3.dns == ("8.8.8.8", "1.1.1.1")
    with pytest.raises(Refused) as twice:
        l3.add_dns("8.8.8.8")
    assert twice.value.reason is Reason.ALREADY_ATTACHED
    l3.remove_dns("8.8.8.8")
    assert l3.dns == ("1.1.1.1",)
    with pytest.raises(Refused) as absent:
        l3.remove_dns("8.8.8.8")
    assert absent.value.reason is Reason.NOT_ATTACHED


def test_no_more_dns_servers_than_a_guest_can_be_told() -> None:
    l3 = Ground().l3(dns=tuple(f"10.0.0.{n}" for n in range(1, 9)))
    with pytest.raises(Refused) as refused:
        l3.add_dns("10.0.0.9")
    assert refused.value.code is Code.FAILED_PRECONDITION


def test_saying_what_is_so_is_no_event() -> None:
    l3 = Ground().l3(dns_domain="lan")
    l3.update(name="flat", dns_domain="lan")
    l3.change_state("enable")
    assert events(l3) == ["Created"]
    l3.update(dns_domain="example.org")
    l3.change_state("disable")
    assert (l3.dns_domain, l3.state) == ("example.org", State.DISABLED)
