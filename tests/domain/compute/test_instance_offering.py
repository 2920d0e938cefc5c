"""Instance offerings (OFR-01, OFR-02)."""

from __future__ import annotations

import pytest

from tests.domain.network.ground import Ground, run
from zcloud.domain.compute.instance_offering import AllocatorStrategy, InstanceOffering
from zcloud.kernel.errors import Code, Refused


def offering(**given: str) -> InstanceOffering:
    made = run(Ground().unit.new(InstanceOffering))
    made.create(name="small", cpu_num=1, memory_size=1 << 28, **given)
    return made


def test_the_strategy_is_least_vm_preferred_unless_another_is_named() -> None:
    assert offering().allocator_strategy is AllocatorStrategy.LEAST_VM_PREFERRED
    for strategy in AllocatorStrategy:
        assert offering(allocator_strategy=strategy.value).allocator_strategy is strategy


def test_a_strategy_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(Refused) as refused:
        offering(allocator_strategy="Cheapest")
    assert (refused.value.code, refused.value.facts["field"]) == (Code.INVALID_ARGUMENT, "allocator_strategy")
    assert "MostVmPreferred" in refused.value.message
