"""The base of all simulated handlers: first the pace, then the effect on the world at once."""

from __future__ import annotations

from abc import abstractmethod

from agents.runtime.task import Args, Handler, Result, Work
from agents.simulator.faults import Pace
from agents.simulator.world import World


class Simulated(Handler[Args, Result]):
    """Does its task in a world; the effect is one synchronous step, so that it is there wholly or not at all."""

    def __init__(self, world: World, pace: Pace) -> None:
        self.world = world
        self.pace = pace

    async def run(self, args: Args, work: Work) -> Result:
        await self.pace.before(self.task.DESCRIPTOR.name, work)
        return self.apply(args)

    @abstractmethod
    def apply(self, args: Args) -> Result:
        """Change the world, or raise TaskError and change nothing."""
