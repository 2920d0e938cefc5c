"""The simulator as a program, against an API that answers as the real one's contract says."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from agents.simulator import main as program
from agents.simulator.cloud import missing_names
from agents.simulator.fleet import STREAMS_PER_CHANNEL, Fleet
from agents.simulator.host import SimulatedHost
from tests.agents.runtime.node import Authority, Node
from tests.agents.runtime.workbench import until
from zcloud.v1.agent_pb2 import IssueEnrollTokenRequest, IssueEnrollTokenResponse, Task
from zcloud.v1.agent_pb2_grpc import add_AgentServiceServicer_to_server
from zcloud.v1.host_task_pb2 import ConnectHostResult, ConnectHostTask
from zcloud.v1.simulator_host_pb2 import (
    AddSimulatorHostRequest,
    AddSimulatorHostResponse,
    QuerySimulatorHostRequest,
    QuerySimulatorHostResponse,
    SimulatorHost,
)
from zcloud.v1.simulator_host_pb2_grpc import (
    SimulatorHostServiceServicer,
    add_SimulatorHostServiceServicer_to_server,
)

AUTHORITY = Authority()
CLUSTER = "c" * 32


class Api(Node, SimulatorHostServiceServicer):
    """The node with the calls that the simulator makes on its public side."""

    def __init__(self) -> None:
        super().__init__(AUTHORITY)
        self.hosts: list[SimulatorHost] = []
        self.tokens = set()
        self.requests: set[str] = set()

    async def _admit(self, context: Any) -> dict[str, str]:
        metadata = {str(k): str(v) for k, v in context.invocation_metadata()}
        if metadata.get("authorization") != "Bearer admin-session":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "log in first")
        return metadata

    async def QuerySimulatorHost(self, request: QuerySimulatorHostRequest, context: Any) -> QuerySimulatorHostResponse:
        await self._admit(context)
        assert request.filter == f'cluster_uuid = "{CLUSTER}"'
        # Two hosts a page, so that pages are followed.
        begin = int(request.page_token or 0)
        rest = len(self.hosts) > begin + 2
        return QuerySimulatorHostResponse(
            inventories=self.hosts[begin : begin + 2], next_page_token=str(begin + 2) if rest else ""
        )

    async def AddSimulatorHost(self, request: AddSimulatorHostRequest, context: Any) -> AddSimulatorHostResponse:
        metadata = await self._admit(context)
        assert metadata["zcloud-request"] not in self.requests
        self.requests.add(metadata["zcloud-request"])
        assert request.cluster_uuid == CLUSTER
        assert request.management_ip not in {host.management_ip for host in self.hosts}
        host = SimulatorHost(
            uuid=f"{len(self.hosts):032x}",
            name=request.name,
            management_ip=request.management_ip,
            cpu_num=request.cpu_num,
            total_memory_capacity=request.memory_size,
        )
        self.hosts.append(host)
        return AddSimulatorHostResponse(inventory=host, job_uuid="j" * 32)

    async def IssueEnrollToken(self, request: IssueEnrollTokenRequest, context: Any) -> IssueEnrollTokenResponse:
        await self._admit(context)
        self.tokens.add("token-2")
        return IssueEnrollTokenResponse(
            token="token-2",
            ca_fingerprint=AUTHORITY.fingerprint,
            enroll_endpoint=self.enroll_endpoint,
            agent_endpoint=self.endpoint,
        )

    @asynccontextmanager
    async def public(self) -> AsyncIterator[str]:
        """The public port, beside those for agents."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_AgentServiceServicer_to_server(self, server)
        add_SimulatorHostServiceServicer_to_server(self, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with self.serving():
                yield f"127.0.0.1:{port}"
        finally:
            await server.stop(0)


def arguments(server: str, hosts: int, *more: str) -> list[str]:
    return ["--server", server, "--token", "admin-session", "--cluster", CLUSTER, "--hosts", str(hosts), *more]


def hellos(api: Api) -> set[str]:
    return {s.got[0].hello.host_uuid for s in api.streams if s.got}


def test_hosts_are_added_once_connect_do_tasks_and_leave_on_sigterm() -> None:
    async def scenario() -> None:
        api = Api()
        task = Task(task_uuid="task-1", fence=1, resource_uuid="host")
        task.args.Pack(ConnectHostTask())
        api.to_send = [task]
        async with api.public() as server:
            for wanted, there in ((3, 3), (5, 5), (2, 5)):
                api.streams.clear()
                argv = arguments(server, wanted, "--cpu", "8", "--memory", "4GiB")
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "agents.simulator.main", *argv, stdout=asyncio.subprocess.PIPE
                )
                try:
                    await until(lambda n=wanted: sum(bool(s.of("report")) for s in api.streams) == n)
                    await until(lambda: all(s.of("inventory") for s in api.streams))
                finally:
                    process.send_signal(signal.SIGTERM)
                    output, _ = await process.communicate()
                assert process.returncode == 0, output
                assert [h.name for h in api.hosts] == [f"sim-{n:04d}" for n in range(1, there + 1)]
                assert hellos(api) == {h.uuid for h in api.hosts[:wanted]}
                for stream in api.streams:
                    result = ConnectHostResult()
                    assert stream.of("report")[0].result.Unpack(result)
                    assert (result.cpu_num, result.memory_size) == (8, 4 << 30)
            assert api.tokens == set(), "each token was used"

    asyncio.run(scenario())


def test_a_refused_login_and_an_absent_server_end_it_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        async with Api().public() as server:
            argv = arguments(server, 1)
            argv[argv.index("admin-session")] = "canary-session"
            status = await asyncio.to_thread(_run_elsewhere, argv)
            assert status == 1

    asyncio.run(scenario())
    error = capsys.readouterr().err
    assert "UNAUTHENTICATED: log in first" in error
    assert "canary" not in error
    assert program.main(arguments("127.0.0.1:1", 1)) == 3
    assert "127.0.0.1:1: UNAVAILABLE" in capsys.readouterr().err


def _run_elsewhere(argv: list[str]) -> int:
    # Signal handlers belong to the main thread, where the server's loop runs.
    try:
        asyncio.run(program.simulate(program.parser().parse_args(argv)))
    except grpc.aio.AioRpcError as error:
        print(f"{error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    return 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--hosts", "0"], "'0' is no number above zero"),
        (["--cluster", 'x" OR name = "y'], "is no uuid"),
        (["--memory", "lots"], "'lots' is no size"),
        (["--fail", "NoSuchTask=5"], "there is no task 'NoSuchTask'"),
        (["--fail", "StartVmTask=101"], "'101' is no percentage"),
    ],
)
def test_wrong_arguments_are_named(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        program.main([*arguments("127.0.0.1:1", 1), *argv])
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err


def test_without_a_session_it_says_how_to_get_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZCLOUD_TOKEN", raising=False)
    assert program.main(["--cluster", CLUSTER, "--hosts", "1"]) == 2
    assert "ZCLOUD_TOKEN" in capsys.readouterr().err


def test_arguments_are_read_as_meant() -> None:
    options = program.parser().parse_args(arguments("h:1", 2, "--fail", "StartVmTask=12.5", "--memory", "1TiB"))
    assert (options.fail, options.memory, options.cpu) == ([("StartVmTask", 12.5)], 1 << 40, 64)


def test_names_fill_the_gaps() -> None:
    assert missing_names([], 2) == ["sim-0001", "sim-0002"]
    assert missing_names(["sim-0002", "mine"], 4) == ["sim-0001", "sim-0003"]
    assert missing_names(["a", "b", "c"], 2) == []


def test_many_hosts_share_few_connections() -> None:
    async def scenario() -> None:
        node = Node(AUTHORITY)
        wanted = STREAMS_PER_CHANNEL + 20
        async with node.serving():
            fleet = Fleet(node.endpoint, AUTHORITY.issue("simulator"))
            for number in range(wanted):
                fleet.start(SimulatedHost(f"{number:032x}"))
            await fleet.connected()
            peers = {stream.context.peer() for stream in node.streams}
            assert len({s.got[0].hello.host_uuid for s in node.streams}) == wanted
            assert len(peers) == 2
            await fleet.stop()

    asyncio.run(scenario())
