"""A cloud for tests: a server as a process of its own, or a node in this process, and small clients for both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import Message

from agents.runtime.enroll import enroll
from agents.simulator.fleet import Fleet
from agents.simulator.host import SimulatedHost
from tests.support import called
from tests.support.messages import ApiError as ApiError
from tests.support.messages import build, metadata, refused
from zcloud.api.node import Node
from zcloud.api.rpcs import Rpc, rpcs

if TYPE_CHECKING:
    from tests.support.forked import Child

# Calls to this machine are nobody's to forward.
CHANNEL = (("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 32 << 20))
CALL_SECONDS = 60.0
# Of one call that waits for a job.
WAIT_SECONDS = 20


class Client:
    """Calls of one account, without asyncio. meta is metadata, and position the token of the newest answer."""

    def __init__(self, channel: grpc.Channel, token: str = "") -> None:
        self.channel = channel
        self.token = token
        self.position = ""

    def call(self, rpc: str, meta: Mapping[str, str] = {}, /, **fields: Any) -> Any:
        """One unary call by the RPC's name; raises ApiError."""
        return self.send(rpc, build(rpc, fields), meta)

    def send(self, name: str, request: Message | bytes, meta: Mapping[str, str] = {}) -> Any:
        """As call, with a message that is made already, or with bytes that need not be one."""
        rpc = rpcs()[name]
        data = request if isinstance(request, bytes) else request.SerializeToString()
        method = self.channel.unary_unary(rpc.path)
        try:
            answer, call = method.with_call(data, metadata=metadata(self.token, meta), timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise refused(name, error) from None
        called.note(name, "OK")
        self.position = dict(call.trailing_metadata()).get("zcloud-position", "")
        return rpc.response.FromString(answer)

    def stream(self, name: str, meta: Mapping[str, str] = {}, /, timeout: float = CALL_SECONDS, **fields: Any) -> Any:
        """The messages of a streaming RPC; the call is cancelled when the iterator is closed."""
        rpc = rpcs()[name]
        return self.stream_of(rpc, build(name, fields).SerializeToString(), meta, timeout)

    def stream_of(self, rpc: Rpc, data: bytes, meta: Mapping[str, str], timeout: float) -> Iterator[Any]:
        call = self.channel.unary_stream(rpc.path)(data, metadata=metadata(self.token, meta), timeout=timeout)
        try:
            for answer in call:
                called.note(rpc.name, "OK")
                yield rpc.response.FromString(answer)
        except grpc.RpcError as error:
            raise refused(rpc.name, error) from None
        finally:
            call.cancel()

    def logged_in(self, name: str, password: str) -> Client:
        """A client with a session of this account."""
        answer = self.call("LogInByAccount", account_name=name, password=password)
        return Client(self.channel, answer.inventory.token)

    def account(self, name: str, password: str = "a password of its own") -> tuple[str, Client]:
        """A new normal account: its uuid, and a client that is logged in."""
        made = self.call("CreateAccount", name=name, password=password)
        return made.inventory.uuid, self.logged_in(name, password)

    def wait(self, job_uuid: str, seconds: int = 180) -> Any:
        """The job when it has ended, for which no single call waits longer than its own deadline."""
        for _ in range(0, seconds, WAIT_SECONDS):
            answer = self.call("WaitJob", uuid=job_uuid, timeout_seconds=WAIT_SECONDS)
            if answer.ended:
                return answer.inventory
        raise AssertionError(answer)


# Processes that speak gRPC for a node under test: tests of them ask for some, the others are quicker without.
FRONTS = int(os.environ.get("FRONTS", "0"))


class ServerProcess:
    """A `zcloud serve` on free ports, in a process of its own. kill() and start() again are what a power cut is."""

    def __init__(
        self, directory: Path, environment: Mapping[str, str] | None = None, arguments: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self._arguments = arguments
        self.address = ""
        self.output = directory.parent / f"{directory.name}.out"
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        self._process: Child | None = None
        self._channel: grpc.Channel | None = None

    @property
    def admin_password(self) -> str:
        """As the first start left it in the directory."""
        return (self.directory / "admin-password").read_text().strip()

    @property
    def anonymous(self) -> Client:
        """A client without a session."""
        if self._channel is None:
            self._channel = grpc.insecure_channel(self.address, options=CHANNEL)
        return Client(self._channel)

    @property
    def admin(self) -> Client:
        """A client with a new session of the admin."""
        return self.anonymous.logged_in("admin", self.admin_password)

    def start(self, seconds: float = 60.0, **environment: str) -> None:
        """Returns when it serves. environment: more variables, for this start only."""
        argv = [sys.executable, "-m", "zcloud.cli.main", "serve", "--data", str(self.directory)]
        for option in ("--listen", "--listen-agents", "--listen-enrolment"):
            argv += [option, "127.0.0.1:0"]
        if "--fronts" not in self._arguments:
            argv += ["--fronts", str(FRONTS)]
        argv += self._arguments
        begins = self.output.stat().st_size if self.output.exists() else 0
        with self.output.open("ab") as output:
            self._process = self._spawn(argv, output, {**self._environment, **environment})
        for _ in range(int(seconds / 0.05)):
            said = self.output.read_bytes()[begins:].decode(errors="replace")
            for line in said.splitlines(keepends=True):
                if line.startswith("zcloud serves on ") and line.endswith("\n"):
                    self.address = line.split()[-1]
                    return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
                raise RuntimeError(f"the server ended with {self._process.returncode}: {said[-4000:]}")
        raise RuntimeError(f"the server does not serve after {seconds} s: {said[-4000:]}")

    def _spawn(self, argv: list[str], output: Any, environment: dict[str, str]) -> Child:
        from tests.support.nursery import spawn  # it knows this module

        return spawn(argv, output, environment)

    def ended(self, seconds: float = 60.0) -> int:
        """Wait until it has ended by itself; its status."""
        assert self._process is not None
        self._forget_channel()
        return self._process.wait(seconds)

    def stop(self) -> int:
        """As an operator would; its exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """As a power cut would."""
        return self._end(signal.SIGKILL)

    def pause(self) -> None:
        """It stands still; its connections stay open."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """The end of a pause."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _forget_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _end(self, number: int) -> int:
        self._forget_channel()
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(60)


@contextlib.contextmanager
def running_server(directory: Path, **environment: str) -> Iterator[ServerProcess]:
    """A server that is gone afterwards, whatever happens."""
    made = ServerProcess(directory, environment)
    try:
        made.start()
        yield made
    finally:
        made.stop()


class Api:
    """As Client, for a node in this process."""

    def __init__(self, node: Node, channel: grpc.aio.Channel, token: str = "") -> None:
        self.node = node
        self.channel = channel
        self.token = token
        self.position = ""

    async def call(self, rpc: str, meta: Mapping[str, str] = {}, /, **fields: Any) -> Any:
        """One unary call by the RPC's name; raises ApiError."""
        return await self.send(rpc, build(rpc, fields), meta)

    async def send(self, name: str, request: Message | bytes, meta: Mapping[str, str] = {}) -> Any:
        """As call, with a message that is made already, or with bytes."""
        rpc = rpcs()[name]
        data = request if isinstance(request, bytes) else request.SerializeToString()
        call = self.channel.unary_unary(rpc.path)(data, metadata=metadata(self.token, meta), timeout=CALL_SECONDS)
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            raise refused(name, error) from None
        called.note(name, "OK")
        self.position = dict(await call.trailing_metadata()).get("zcloud-position", "")
        return rpc.response.FromString(answer)

    async def stream(self, name: str, meta: Mapping[str, str] = {}, /, **fields: Any) -> AsyncIterator[Any]:
        """The messages of a streaming RPC; close the iterator to cancel."""
        async with contextlib.aclosing(self.stream_of(name, build(name, fields), meta)) as answers:
            async for answer in answers:
                yield answer

    async def stream_of(self, name: str, request: Message | bytes, meta: Mapping[str, str] = {}) -> AsyncGenerator[Any]:
        """As stream, with a message that is made already, or with bytes."""
        rpc = rpcs()[name]
        data = request if isinstance(request, bytes) else request.SerializeToString()
        call = self.channel.unary_stream(rpc.path)(data, metadata=metadata(self.token, meta), timeout=CALL_SECONDS)
        try:
            async for answer in call:
                called.note(name, "OK")
                yield rpc.response.FromString(answer)
        except grpc.aio.AioRpcError as error:
            raise refused(name, error) from None
        finally:
            call.cancel()

    async def take(self, name: str, requests: Iterable[Message]) -> Any:
        """One call of an RPC that takes a stream of messages."""
        rpc = rpcs()[name]
        call = self.channel.stream_unary(rpc.path)(
            (request.SerializeToString() for request in requests), metadata=metadata(self.token, {})
        )
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            raise refused(name, error) from None
        called.note(name, "OK")
        return rpc.response.FromString(answer)

    async def logged_in(self, name: str, password: str) -> Api:
        """A client with a session of this account."""
        answer = await self.call("LogInByAccount", account_name=name, password=password)
        return Api(self.node, self.channel, answer.inventory.token)

    async def account(self, name: str, password: str = "a password of its own") -> tuple[str, Api]:
        """A new normal account: its uuid, and a client that is logged in."""
        made = await self.call("CreateAccount", name=name, password=password)
        return made.inventory.uuid, await self.logged_in(name, password)

    async def wait(self, job_uuid: str, seconds: int = 180) -> Any:
        """The job when it has ended."""
        for _ in range(0, seconds, WAIT_SECONDS):
            answer = await self.call("WaitJob", uuid=job_uuid, timeout_seconds=WAIT_SECONDS)
            if answer.ended:
                return answer.inventory
        raise AssertionError(answer)

    async def done(self, rpc: str, meta: Mapping[str, str] = {}, /, **fields: Any) -> Any:
        """Call, wait for the job if there is one, insist that it succeeded; the answer to the call."""
        answer = await self.call(rpc, meta, **fields)
        if answer.job_uuid:
            job = await self.wait(answer.job_uuid)
            assert job.state == job.STATE_SUCCEEDED, job
        return answer


@contextlib.asynccontextmanager
async def running_node(directory: Path, store: str = "", *, fronts: int = FRONTS, **how: Any) -> AsyncIterator[Api]:
    """A node in this process on free ports; what is given is a client of its admin (node: api.node)."""
    node = Node(directory, store=store, fronts=fronts, **how)
    await node.start("127.0.0.1:0")
    try:
        async with grpc.aio.insecure_channel(node.address, options=CHANNEL) as channel:
            password = (directory / "admin-password").read_text().strip()
            yield await Api(node, channel).logged_in("admin", password)
    finally:
        await node.stop()


@contextlib.asynccontextmanager
async def simulated_hosts(api: Api, *hosts: SimulatedHost) -> AsyncIterator[Fleet]:
    """Lets simulated hosts dial in through the real door, over mutual TLS; they exist in the cloud already."""
    issued = await api.call("IssueEnrollToken")
    with tempfile.TemporaryDirectory(prefix="zcloud-simulated-") as directory:
        identity = await enroll(
            Path(directory), issued.enroll_endpoint, issued.token, issued.ca_fingerprint, "simulator"
        )
        fleet = Fleet(issued.agent_endpoint, identity)
        try:
            for host in hosts:
                fleet.start(host)
            await fleet.connected()
            yield fleet
        finally:
            await fleet.stop()


async def until(condition: Any, seconds: float = 120.0) -> Any:
    """Ask an async function again and again until what it gives is true; gives that."""
    async with asyncio.timeout(seconds):
        while not (found := await condition()):  # noqa: ASYNC110 - what it asks has no event to wait for
            await asyncio.sleep(0.02)
    return found


async def simulator_cluster(api: Api, name: str = "sim") -> tuple[str, str]:
    """A zone and a cluster for simulated hosts; their uuids."""
    zone = (await api.call("CreateZone", name=f"zone of {name}")).inventory.uuid
    made = await api.call("CreateCluster", name=name, zone_uuid=zone, hypervisor_type="Simulator")
    return zone, made.inventory.uuid


async def add_simulator(api: Api, cluster_uuid: str, name: str = "host-1", **changes: Any) -> SimulatedHost:
    """A simulator host in the cloud, and the simulated one that may dial in for it."""
    fields = {"cpu_num": 8, "memory_size": 32 << 30, "management_ip": f"{name}.invalid", **changes}
    made = await api.call("AddSimulatorHost", name=name, cluster_uuid=cluster_uuid, **fields)
    return SimulatedHost(made.inventory.uuid, cpu_num=fields["cpu_num"], memory_size=fields["memory_size"])


async def host_connected(api: Api, host_uuid: str) -> Any:
    """The host, once it is Connected and no job is at work on it."""

    async def look() -> Any:
        found = (await api.call("GetHost", uuid=host_uuid)).inventory
        return found if found.status == found.STATUS_CONNECTED else None

    return await until(look)
