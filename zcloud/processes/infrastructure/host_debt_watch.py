"""Asks connected hosts again for what they owe: what was busy when it should go may be free by now (HST-04, PS-02)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from zcloud.domain.infrastructure.host import Host
from zcloud.domain.infrastructure.host_debt import HostDebt
from zcloud.domain.operations.global_config import current
from zcloud.kernel.clock import SECOND
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.errors import Refused
from zcloud.kernel.unit import Unit
from zcloud.processes.infrastructure import collect_host_debt
from zcloud.processes.network.bridges import is_connected
from zcloud.processes.watch import Watch, log

INTERVAL = ("host", "debt.interval")
LONGEST_SECONDS = 3600
Due = tuple[tuple[tuple[str, str], ...], int, int]


class HostDebtWatch(Watch, name="host_debt_watch", interval=INTERVAL):
    """Twice as long after each time; what is asked for, and when, is forgotten when the node ends."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        # By debt: what is owed, when to ask next, and how long to wait then.
        self._next: dict[str, Due] = {}

    async def look(self) -> None:
        debts = await self.cloud.ports["views"].where("host_debt")
        self._next = {uuid: due for uuid, due in self._next.items() if uuid in debts}
        first = int(await current(self.cloud, *INTERVAL))
        for uuid in debts:
            asked: dict[str, Due] = {}
            try:
                await self.decide("it could not be given before", self._ask(uuid, first, asked))
            except Refused as refused:
                log.info("what debt %s has is not asked for: %s", uuid, refused.message)
            self._next.update(asked)

    def _ask(self, uuid: str, first: int, asked: dict[str, Due]) -> Callable[[Unit], Awaitable[None]]:
        async def decide(unit: Unit) -> None:
            debt = await unit.find(HostDebt, uuid)
            if debt is None:
                return
            keys = tuple(item.key for item in debt.items)
            known, due, seconds = self._next.get(uuid, ((), 0, 0))
            if known == keys and unit.now < due:
                return
            seconds = min(2 * seconds, max(first, LONGEST_SECONDS)) if known == keys else first
            for host_uuid in await self._machines(unit, debt):
                host = await unit.find(Host, host_uuid)
                if host is not None and await is_connected(unit, host_uuid):
                    await collect_host_debt.connected(unit, host)
                    asked[uuid] = (keys, unit.now + seconds * SECOND, seconds)

        return decide

    async def _machines(self, unit: Unit, debt: HostDebt) -> list[str]:
        """The host, or whichever has its address now."""
        if await unit.find(Host, debt.host_uuid) is not None:
            return [debt.host_uuid]
        return list(await unit.port("views").where("host", management_ip=debt.management_ip))
