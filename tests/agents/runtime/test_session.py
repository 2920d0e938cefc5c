"""The agent's stream over real mTLS: greeting, tasks, losses, and what is sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from agents.runtime import session as sessions
from agents.runtime.channel import MOST_DOORS, Doors
from agents.runtime.dispatch import Dispatcher
from agents.runtime.identity import Identity
from agents.runtime.journal import Journal
from agents.runtime.outbox import Outbox
from agents.runtime.session import BACKOFF_LAST, BACKOFF_NOBODY, Session, backoff
from tests.agents.runtime.node import Authority, Node, Stream
from tests.agents.runtime.workbench import Start, start_task, until
from zcloud.v1 import agent_pb2
from zcloud.v1.agent_pb2 import AbortTask, ConnectRequest, HostInventory, ObservedVm, Task, TaskProgress
from zcloud.v1.vm_instance_task_pb2 import StartVmTask

AUTHORITY = Authority()


class Host:
    """An agent's parts around a session."""

    def __init__(self, node: Node, identity: Identity | None = None, kept: Path | None = None) -> None:
        self.node = node
        self.kept = kept
        self.identity = identity or AUTHORITY.issue("host-1")
        self.start = Start()
        self.journal = Journal()
        self.error = ""
        self.changes: asyncio.Queue[HostInventory] = asyncio.Queue()
        self.looks = 0
        self.waits: list[float] = []
        self.beats = True

    async def inventory(self) -> HostInventory:
        self.looks += 1
        return HostInventory(vms=[ObservedVm(vm_instance_uuid="vm-1", state="Running")], local_storage_total=7)

    async def sleep(self, seconds: float) -> None:
        """Back-offs and heartbeats (of one second) take no time here; looks for drift never come."""
        self.waits.append(seconds)
        never = seconds == sessions.INVENTORY_SECONDS or (seconds == 1 and not self.beats)
        await asyncio.sleep(3600 if never else 0.02)

    @property
    def backoffs(self) -> list[float]:
        """Seconds between one try and the next."""
        return [w for w in self.waits if w not in (1, sessions.INVENTORY_SECONDS)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Host]:
        async with aclosing(Doors(self.node.endpoint, self.identity, self.kept)) as self.doors:
            self.outbox = outbox = Outbox()
            self.dispatcher = Dispatcher(self.journal, [self.start], outbox.put)
            self.session = Session(
                "host-1",
                self.doors,
                self.dispatcher,
                outbox,
                lambda: self.inventory(),
                lambda: self.error,
                changes=self.changes,
                sleep=self.sleep,
                chance=lambda: 0.5,
            )
            task = asyncio.create_task(self.session.run())
            try:
                yield self
            finally:
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled(), task
                await self.dispatcher.close()


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(120):
            await scenario()

    asyncio.run(bounded())


def test_greeting_heartbeats_inventory_and_a_task_from_end_to_end() -> None:
    async def scenario() -> None:
        async with Node(AUTHORITY).serving() as node, Host(node).running() as host:
            await until(lambda: node.streams and node.streams[0].of("inventory"))
            [stream] = node.streams
            hello = stream.got[0].hello
            assert (hello.host_uuid, hello.unacknowledged_reports) == ("host-1", 0)
            assert hello.agent_version
            assert len(hello.incarnation) == 32
            [inventory] = stream.of("inventory")
            assert (inventory.complete, inventory.vms[0].state) == (True, "Running")
            await stream.send(task=start_task())
            await until(lambda: stream.of("report"))
            assert stream.of("report")[0].succeeded
            await until(lambda: not host.dispatcher.unacknowledged())
            host.error = "libvirt does not answer"
            await until(lambda: stream.of("heartbeat")[-1].hypervisor_error)
            assert stream.of("heartbeat")[0].hypervisor_error == ""
            assert stream.of("heartbeat")[-1].hypervisor_error == "libvirt does not answer"
            assert host.start.starts == ["vm-1"]

    play(scenario)


def test_an_abort_reaches_the_task() -> None:
    async def scenario() -> None:
        async with Node(AUTHORITY).serving() as node, Host(node).running() as host:
            host.start.gate = asyncio.Event()
            await until(lambda: node.streams and node.streams[0].of("heartbeat"))
            [stream] = node.streams
            await stream.send(task=start_task())
            await until(lambda: host.start.running)
            await stream.send(abort=AbortTask(task_uuid="task-1"))
            await stream.send(task=start_task(2, resource="vm-2"))
            await until(lambda: host.start.running == 2)
            host.start.gate.set()
            await until(lambda: len(stream.of("report")) == 2)
            assert {r.task_uuid: r.error_reason for r in stream.of("report")} == {"task-1": "ABORTED", "task-2": ""}

    play(scenario)


def test_after_a_restart_of_the_node_the_agent_is_back_with_its_unacknowledged_reports() -> None:
    async def scenario() -> None:
        node = Node(AUTHORITY)
        node.record = False
        host = Host(node)
        async with node.serving():
            pass  # Only to learn the port.
        async with host.running():
            async with node.serving():
                await until(lambda: node.streams and node.streams[0].of("heartbeat"))
                [first] = node.streams
                await first.send(task=start_task(1))
                await until(lambda: first.of("report"))
                host.start.gate = asyncio.Event()
                await first.send(task=start_task(2, resource="vm-2"))
                await until(lambda: host.start.running)
            # From now on only the welcome can cause a report to be sent again.
            host.beats = False
            await until(lambda: not host.session.connected.is_set())
            host.outbox.put(ConnectRequest(progress=TaskProgress(task_uuid="task-2", percent=50)))
            # Ends while there is nobody to tell.
            host.start.gate.set()
            await host.dispatcher.idle()
            node.record = True
            async with node.serving():
                await until(lambda: len(node.streams) > 1 and len(node.streams[-1].of("report")) >= 2)
                stream = node.streams[-1]
                hello = stream.got[0].hello
                assert hello.unacknowledged_reports == 2
                assert {r.task_uuid for r in stream.of("report")} == {"task-1", "task-2"}
                assert hello.incarnation == node.streams[0].got[0].hello.incarnation
                await until(lambda: not host.dispatcher.unacknowledged())
                await until(lambda: stream.of("inventory"))
                assert stream.of("progress") == [], "what was said to nobody is out of date"
        assert sorted(host.start.starts) == ["vm-1", "vm-2"]

    play(scenario)


def test_a_report_that_is_not_recorded_is_sent_again_on_the_same_stream() -> None:
    async def scenario() -> None:
        node = Node(AUTHORITY)
        node.record = False
        async with node.serving(), Host(node).running() as host:
            await until(lambda: node.streams and node.streams[0].of("heartbeat"))
            [stream] = node.streams
            await stream.send(task=start_task())
            await until(lambda: len(stream.of("report")) >= 3)
            node.record = True
            await until(lambda: not host.dispatcher.unacknowledged())
            assert host.start.starts == ["vm-1"]
            assert len(node.streams) == 1

    play(scenario)


async def _cancelled(stream: Stream) -> None:
    await stream.context.abort(grpc.StatusCode.CANCELLED, "the node has enough")


async def _refused(stream: Stream) -> None:
    await stream.context.abort(grpc.StatusCode.PERMISSION_DENIED, "host-1 was deleted")


async def _silent(stream: Stream) -> None:
    await asyncio.Event().wait()


async def _closed(stream: Stream) -> None:
    return


async def _out_of_order(stream: Stream) -> None:
    await stream.send(task=start_task())
    await asyncio.Event().wait()


@pytest.mark.parametrize("rude", [_cancelled, _refused, _silent, _closed, _out_of_order])
def test_whatever_the_node_does_the_agent_comes_back(
    rude: Callable[[Stream], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "WELCOME_PATIENCE", 0.2 if rude in (_silent,) else 30.0)

    async def scenario() -> None:
        node = Node(AUTHORITY)
        node.rude = [rude, rude]
        async with node.serving(), Host(node).running() as host:
            # A busy machine may miss a welcome, too, where the agent does not wait for long.
            await until(lambda: any(stream.of("inventory") for stream in node.streams[2:]))
            assert node.streams[0].of("inventory") == [], "nothing is said to a node that did not welcome"
            assert host.waits[:2] == [0.1, 0.2], "half of 0.2 and of 0.4"
            assert host.start.starts == []

    play(scenario)


def test_the_back_off_grows_while_sessions_die_young_and_ends_with_one_that_lives() -> None:
    async def scenario() -> None:
        node = Node(AUTHORITY)
        node.rude = [_closed] * 3
        host = Host(node)
        async with node.serving(), host.running():
            await until(lambda: len(node.streams) == 4 and len(node.streams[3].of("heartbeat")) >= 3)
            assert [w for w in host.waits if w < 1] == [0.1, 0.2, 0.4]
            node.rude = [_closed] * 4
            host.waits.clear()
            node.streams[3].hang_up = True
            await until(lambda: len(node.streams) == 9 and node.streams[8].of("inventory"))
            assert host.backoffs == [0.1, 0.2, 0.4, 0.8, 1.6]

    play(scenario)


def test_a_node_that_comes_back_at_its_door_is_dialled_within_seconds_however_often_and_long_it_was_gone() -> None:
    """ARC-14: what a channel or a back-off remembers of the time without a node must not hold up the agent."""

    async def scenario() -> None:
        node = Node(AUTHORITY)
        async with node.serving():
            pass  # Only to learn the port.
        host = Host(node)
        host.beats = False  # No session lives long enough to end a back-off.
        async with host.running():
            for _ in range(3):
                host.waits.clear()
                await until(lambda: len(host.backoffs) > 8)
                assert host.backoffs[0] <= 0.4, "what had grown before the session counts no more"
                assert max(host.backoffs) == BACKOFF_NOBODY / 2
                async with node.serving():
                    tries = len(host.backoffs)
                    await until(host.session.connected.is_set)
                    # One try may have been under way when the door was opened; no other is in vain.
                    assert len(host.backoffs) <= tries + 1
                await until(lambda: not host.session.connected.is_set())

    play(scenario)


def test_an_agent_learns_of_nodes_while_it_is_connected_and_outlives_all_that_it_was_installed_with(
    tmp_path: Path,
) -> None:
    """MN-02: also its own restart."""

    async def scenario() -> None:
        kept = tmp_path / "doors"
        newer = Node(AUTHORITY)
        async with newer.serving():
            async with Node(AUTHORITY).serving() as old, Host(old, kept=kept).running() as host:
                await until(lambda: old.streams and old.streams[0].of("heartbeat"))
                assert newer.streams == []
                await old.streams[0].send(doors=agent_pb2.Doors(endpoints=[newer.endpoint]))
                await until(lambda: newer.endpoint in host.doors.known)
                assert len(old.streams) == 1
            newer.streams.clear()
            async with Host(old, kept=kept).running():
                await until(lambda: newer.streams and newer.streams[0].of("heartbeat"))

    play(scenario)


def test_nodes_that_are_gone_for_good_are_forgotten_and_those_of_the_installation_are_not(tmp_path: Path) -> None:
    kept = tmp_path / "doors"
    doors = Doors("first:1,second:1", AUTHORITY.issue("host-1"), kept)
    for n in range(100):
        doors.learn([f"node:{n}", f"node:{n + 1}"])
    assert len(doors.known) == MOST_DOORS
    assert {"first:1", "second:1", "node:99", "node:100"} <= set(doors.known)
    assert set(Doors("first:1", AUTHORITY.issue("host-1"), kept).known) == set(doors.known)
    kept.write_bytes(b"\xff\xfe")
    assert Doors("first:1", AUTHORITY.issue("host-1"), kept).known == ("first:1",)


def test_full_jitter_between_nothing_and_thirty_seconds() -> None:
    assert [backoff(n, lambda: 1.0) for n in range(10)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]
    assert backoff(10**6, lambda: 1.0) == BACKOFF_LAST
    assert backoff(5, lambda: 0.0) == 0


@pytest.mark.parametrize("stranger", ["agent", "node"])
def test_neither_end_talks_with_a_certificate_of_another_authority(stranger: str) -> None:
    async def scenario() -> None:
        other = Authority("another authority")
        node = Node(other if stranger == "node" else AUTHORITY)
        ours = (other if stranger == "agent" else AUTHORITY).issue("host-1")
        # Each end believes the authority that it should; only the certificate shown to it is a stranger's.
        ours = Identity(ours.private_key, ours.certificate, AUTHORITY.pem)
        async with node.serving(), Host(node, ours).running() as host:
            await until(lambda: len(host.waits) >= 3)
            assert node.streams == []

    play(scenario)


def test_changes_are_sent_at_once_and_have_the_last_word_over_a_look_that_was_under_way() -> None:
    async def scenario() -> None:
        async with Node(AUTHORITY).serving() as node:
            host = Host(node)
            looking, done = asyncio.Event(), asyncio.Event()
            look = host.inventory

            async def slow() -> HostInventory:
                seen = await look()
                looking.set()
                await done.wait()
                return seen

            host.inventory = slow  # type: ignore[method-assign]
            async with host.running():
                await looking.wait()
                host.changes.put_nowait(HostInventory(vms=[ObservedVm(vm_instance_uuid="vm-1", state="Stopped")]))
                await until(lambda: node.streams[0].of("inventory"))
                [partial] = node.streams[0].of("inventory")
                assert (partial.complete, partial.vms[0].state) == (False, "Stopped")
                done.set()
                await until(lambda: any(i.complete for i in node.streams[0].of("inventory")))
                await until(lambda: node.streams[0].of("inventory")[-1].vms[0].state == "Stopped")

    play(scenario)


def test_a_look_that_fails_is_tried_again_and_harms_nothing() -> None:
    async def scenario() -> None:
        async with Node(AUTHORITY).serving() as node:
            host = Host(node)
            look = host.inventory

            async def flaky() -> HostInventory:
                seen = await look()
                if host.looks < 3:
                    raise ConnectionError("libvirt is gone")
                return seen

            host.inventory = flaky  # type: ignore[method-assign]
            async with host.running():
                await until(lambda: node.streams and node.streams[0].of("inventory"))
                assert host.looks == 3
                assert len(node.streams) == 1

    play(scenario)


def test_tasks_go_on_while_there_is_no_session() -> None:
    async def scenario() -> None:
        node = Node(AUTHORITY)
        host = Host(node)
        task = Task(task_uuid="task-1", fence=1, resource_uuid="vm-1")
        task.args.Pack(StartVmTask(spec={"vm_instance_uuid": "vm-1"}))
        async with node.serving():
            pass
        async with host.running():
            host.dispatcher.receive(task)
            await host.dispatcher.idle()
            async with node.serving():
                await until(lambda: node.streams and node.streams[-1].of("report"))

    play(scenario)
