"""A seed of its own kind: a node stands still between a decision and its writing until the work is another's."""

from __future__ import annotations

import asyncio

from tests.faults.cluster.account import Account
from tests.faults.cluster.child import HELD, HOLD
from tests.faults.cluster.nodes import LEASE
from tests.faults.cluster.seed import Fault, Life, TooLittle

STANDS_SECONDS = 120.0


class Late(Life):
    """Who takes the work over is paused in turn before it has written anything: no version of any stream has moved,
    and the epoch alone keeps out what the first one writes when it goes on. So does the second one's, later."""

    def __init__(self, account: Account, seed: int, settled: float) -> None:
        super().__init__(account, seed, settled)
        self.faults: list[Fault] = []

    async def _harm(self) -> None:
        first, part = await self._stands({self.chance.choice(self.nodes.names): ""})
        await self._stands({name: str(part) for name in self.nodes.names if name != first})
        self.nodes.go_on(first)
        # By then what the second one holds is another's again.
        await asyncio.sleep(2 * LEASE)
        for name in self.nodes.names:
            self.nodes.go_on(name)

    async def _stands(self, wanted: dict[str, str]) -> tuple[str, int]:
        """Which of these nodes stands still before it decides about its partition ("": any), and about which."""
        for name, part in wanted.items():
            (self.nodes.base / name / HELD).unlink(missing_ok=True)  # of one that came too late for who asked
            (self.nodes.base / name / HOLD).write_text(part)
        try:
            for _ in range(int(STANDS_SECONDS / 0.01)):
                await asyncio.sleep(0.01)
                for name in wanted:
                    if (held := self.nodes.base / name / HELD).exists() and (text := held.read_text()):
                        held.unlink()
                        return name, int(text)
        finally:
            for name in wanted:
                (self.nodes.base / name / HOLD).unlink(missing_ok=True)
        raise TooLittle(f"none of {', '.join(wanted)} has decided anything")
