"""What a runner has sent: found by task and by host, and by neither once it is taken or sent elsewhere."""

from __future__ import annotations

from typing import Any

from zcloud.kernel.pending import Pending
from zcloud.kernel.transport import Sending


def sending(task_uuid: str, target: str, fence: int) -> Sending:
    args: Any = None
    return Sending(task_uuid, fence, "resource", target, args, 60)


def test_a_host_is_sent_its_own_tasks_in_the_order_in_which_they_were_decided() -> None:
    pending = Pending()
    for fence in (3, 1, 2):
        pending[f"task-{fence}"] = ("job", sending(f"task-{fence}", f"host-{fence % 2}", fence))
    pending["child"] = ("job", None)
    assert [s.fence for s in pending.of("host-1")] == [1, 3]
    assert [s.fence for s in pending.of("host-0")] == [2]
    assert pending.of("nobody") == []


def test_what_is_taken_dropped_or_sent_elsewhere_is_sent_to_nobody() -> None:
    pending = Pending()
    for task in ("taken", "dropped", "moved"):
        pending[task] = (f"job of {task}", sending(task, "old", 1))
    assert pending.take("taken") == "job of taken"
    assert pending.take("taken") == ""
    del pending["dropped"]
    pending["moved"] = ("job of moved", sending("moved", "new", 2))
    assert pending.of("old") == []
    assert [s.fence for s in pending.of("new")] == [2]
    assert list(pending) == ["moved"]
