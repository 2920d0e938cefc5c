"""What a runner has sent and waits for, by task; what an agent must be sent again is found by its host."""

from __future__ import annotations

from collections import defaultdict

from zcloud.kernel.transport import Sending


class Pending(dict[str, tuple[str, Sending | None]]):
    """Task uuid -> job uuid, and what is sent. Thousands of agents that come at once must not each look at all."""

    def __init__(self) -> None:
        super().__init__()
        # Of jobs that were cancelled: an agent that is sent these again is told so, for it may know of neither.
        self.unwanted: set[str] = set()
        self._targets: defaultdict[str, set[str]] = defaultdict(set)

    def __setitem__(self, task_uuid: str, value: tuple[str, Sending | None]) -> None:
        self._forget(task_uuid)
        super().__setitem__(task_uuid, value)
        if value[1] is not None:
            self._targets[value[1].target].add(task_uuid)

    def __delitem__(self, task_uuid: str) -> None:
        self._forget(task_uuid)
        super().__delitem__(task_uuid)

    def take(self, task_uuid: str) -> str:
        """The job, which waits for this no longer; empty when nobody did."""
        self._forget(task_uuid)
        return super().pop(task_uuid, ("", None))[0]

    def of(self, target: str) -> list[Sending]:
        """What is sent to this one, as it was asked for."""
        found = [self[task_uuid][1] for task_uuid in self._targets.get(target, ())]
        return sorted((s for s in found if s is not None), key=lambda sending: sending.fence)

    def _forget(self, task_uuid: str) -> None:
        self.unwanted.discard(task_uuid)
        sending = self.get(task_uuid, ("", None))[1]
        if sending is not None:
            self._targets[sending.target].discard(task_uuid)
            if not self._targets[sending.target]:
                del self._targets[sending.target]
