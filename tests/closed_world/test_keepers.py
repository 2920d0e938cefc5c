"""What a node does all the time is closed: each such work is known, and goes on whatever breaks it off (ARC-12)."""

from __future__ import annotations

import ast
import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.closed_world.test_sources import ROOT, sources
from tests.support.cloud import Api, running_node, until
from zcloud.api.node import load_everything
from zcloud.processes.infrastructure import host_watch
from zcloud.processes.watch import WATCHES

load_everything()
# All that a node with a front keeps going, beside its watches.
KEPT = {
    "agents' silence",
    "call-log",
    "follower",
    "front-0",
    "host-watch",
    "old-calls",
    "proof",
    "scheduler-fire",
    "scheduler-follow",
    "webhooks",
}
# Where tasks and threads are begun otherwise, and why nobody misses one that broke off.
ENDS = {
    "agents/kvm/hypervisor.py": "both threads catch whatever it is (tests/agents/kvm/test_hypervisor.py)",
    "agents/kvm/machines.py": "asks a guest once, and is asked again",
    "agents/kvm/main.py": "of the storage networks; a look that failed is followed by the next",
    "agents/kvm/migration_door.py": "both ways of a connection, which ends with either",
    "agents/runtime/agent.py": "the agent itself: it ends loudly, and is started again",
    "agents/runtime/dispatch.py": "the tasks of one resource: what breaks them is kept, and said",
    "agents/runtime/session.py": "parts of a session, which ends with any of them and is begun again",
    "agents/simulator/fleet.py": "a session, which goes on whatever breaks it off",
    "agents/simulator/main.py": "the program itself: it ends loudly",
    "agents/storage/bounded.py": "a thread that looks once, and tells whatever comes of it",
    "agents/storage/helper.py": "hears the end of the input of a program that does one thing",
    "projections/worker.py": "says that its process lives, and ends when nobody hears it",
    "zcloud/api/agent_sessions.py": "a message, and a report that is recorded again and again until it is",
    "zcloud/api/call_worker.py": "of calls of an earlier version, which wait for the next start",
    "zcloud/api/front/calls.py": "the answer to a call, to whom its error is told",
    "zcloud/api/front/process.py": "hands on what a caller sends, and ends with the call",
    "zcloud/api/operations/watch_resources.py": "of one caller, to whom its error is told",
    "zcloud/api/webhooks.py": "a delivery, which is begun again by who keeps them",
    "zcloud/cli/workers.py": "catches whatever it is (tests/cli/test_workers.py)",
    "zcloud/kernel/adoption.py": "kept (tests/kernel/test_keep.py)",
    "zcloud/kernel/keep.py": "this is what keeps",
    "zcloud/kernel/log.py": "both threads catch whatever it is (tests/kernel/test_log.py)",
    "zcloud/kernel/relay.py": "tries again, until the step's time is over",
    "zcloud/kernel/runner.py": "a job, which is stuck visibly (tests/kernel/test_keep.py)",
    "zcloud/processes/infrastructure/host_watch.py": "what an agent said, tried again some times",
    "zcloud/processes/operations/scheduling/running.py": "an occurrence, which is gone on with in a moment",
}


class Injected(Exception):
    """What nobody has foreseen."""


def begins(path: Path) -> bool:
    """Whether it begins a task or a thread."""
    return any(
        isinstance(node, ast.Call)
        and (ast.unparse(node.func).rpartition(".")[2] in ("create_task", "Thread", "TaskGroup"))
        and "volume" not in ast.unparse(node)  # a task of an agent's
        for node in ast.walk(ast.parse(path.read_text()))
    )


def test_what_is_begun_and_not_kept_is_known() -> None:
    found = {str(path.relative_to(ROOT)) for path in sources() if begins(path)}
    assert found <= set(ENDS), "let zcloud.kernel.keep.keeper keep it, or say here why it may end"
    assert found == set(ENDS), "it begins nothing any more"


def ours() -> dict[str, asyncio.Task[Any]]:
    """Everything of ours that goes on in this loop, by name."""
    found = {}
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        # That one of them sleeps, is no work of its own.
        if code is not None and code.co_name != "sleep" and Path(code.co_filename).is_relative_to(ROOT / "zcloud"):
            found[task.get_name()] = task
    return found


def break_off(task: asyncio.Task[Any]) -> bool:
    """What it waits for, however deep, ends with an exception; False when it waits for nothing just now."""
    waiter: Any = task
    while isinstance(waiter, asyncio.Task):
        waiter = waiter._fut_waiter  # type: ignore[attr-defined]
    if waiter is None or waiter.done():
        return False
    waiter.set_exception(Injected())
    return True


def test_whatever_a_node_keeps_goes_on_after_any_exception(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them is broken off at whatever it waits for, in the loop that nodes run in."""
    monkeypatch.setattr(host_watch, "GRACE_SECONDS", 3600.0)
    caplog.set_level(logging.ERROR)
    kept = KEPT | {watch.name for watch in WATCHES}

    async def all_there() -> bool:
        return set(ours()) == kept

    async def broken(name: str) -> None:
        async def break_it_off() -> bool:
            return break_off(ours()[name])

        async def said() -> bool:
            return any(r.getMessage().startswith(f"{name}: ") and r.exc_info for r in caplog.records)

        await until(break_it_off, 60)
        await until(said, 60)

    async def go() -> None:
        async with running_node(tmp_path, fronts=1, follow_apart=True) as api:
            await until(all_there, 60)
            await api.node.calls.flush()
            assert all(task.get_coro().__name__ == "keep" for task in ours().values())  # type: ignore[union-attr]
            before = ours()
            await asyncio.gather(*(broken(name) for name in sorted(kept)))
            assert ours() == before
            await still_at_work(api)

    uvloop.run(go())


async def still_at_work(api: Api) -> None:
    """Read models are written, calls are kept."""
    zone = (await api.call("CreateZone", name="z")).inventory
    assert [found.uuid for found in (await api.call("QueryZone")).inventories] == [zone.uuid]
    kept = (await api.call("QueryOperationLog", filter="name = CreateZone")).inventories
    assert [call.code for call in kept] == ["OK"]
