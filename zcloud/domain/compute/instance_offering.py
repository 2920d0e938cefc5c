"""Instance offering: CPU, memory and allocation strategy that VMs are made from; VMs keep their numbers (OFR-01)."""

from __future__ import annotations

import enum

from zcloud.kernel.errors import invalid
from zcloud.kernel.resource import Creation, Switched


class AllocatorStrategy(enum.Enum):
    """Which of the hosts that are left is taken; Default takes any."""

    LEAST_VM_PREFERRED = "LeastVmPreferred"
    DEFAULT = "Default"
    LAST_HOST_PREFERRED = "LastHostPreferred"
    MOST_VM_PREFERRED = "MostVmPreferred"


def allocator_strategy_of(text: str) -> AllocatorStrategy:
    """By its name. Raises INVALID_ARGUMENT."""
    known = [strategy.value for strategy in AllocatorStrategy]
    if text not in known:
        raise invalid("allocator_strategy", text, f"must be one of {', '.join(known)}")
    return AllocatorStrategy(text)


class InstanceOffering(Switched, kind="instance_offering"):
    """Its size is never changed, so that what was made from it can be relied on."""

    # A job, since VMs that were made from it forget it first.
    delete_workflow = "delete_resource"

    cpu_num: int = 0
    memory_size: int = 0
    allocator_strategy: AllocatorStrategy = AllocatorStrategy.LEAST_VM_PREFERRED

    class Created(Creation):
        """An offering was made. memory_size: bytes."""

        cpu_num: int
        memory_size: int
        allocator_strategy: AllocatorStrategy

    def create(
        self,
        *,
        name: str,
        cpu_num: int,
        memory_size: int,
        description: str = "",
        allocator_strategy: str = AllocatorStrategy.LEAST_VM_PREFERRED.value,
    ) -> None:
        """Make it, enabled."""
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                cpu_num=cpu_num,
                memory_size=memory_size,
                allocator_strategy=allocator_strategy_of(allocator_strategy),
            )
        )
