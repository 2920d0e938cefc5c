"""A node behind fronts: the same answers, whoever brings the call; a front that dies is replaced (ARC-01, ARC-14)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import uvloop

from tests.support.cloud import CHANNEL, Api, ApiError, ServerProcess, running_node, until
from zcloud.api.front import calls, frames, fronts, process
from zcloud.api.node import Node
from zcloud.api.pki import Authority
from zcloud.api.rpcs import rpcs
from zcloud.api.tls import Tls


def behind(directory: Path, body: Callable[[Api], Awaitable[None]], count: int = 1, **how: Any) -> None:
    async def go() -> None:
        async with running_node(directory, fronts=count, **how) as api:
            await body(api)

    asyncio.run(go())


def channel_to(api: Api) -> grpc.aio.Channel:
    """A connection of its own."""
    return grpc.aio.insecure_channel(api.node.address, options=(*CHANNEL, ("grpc.use_local_subchannel_pool", 1)))


def a_side() -> calls.Calls:
    """The node's side of a front that brings nothing by itself."""
    return calls.Calls(SimpleNamespace(methods={}), lambda *_: None, lambda: None)  # type: ignore[arg-type]


async def nothing_left(side: calls.Calls) -> bool:
    """Every call has ended, and nothing of it is kept."""
    return not (side._tasks or side._inboxes or side._credits)


def test_answers_refusals_and_streams_are_the_same(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        zone = (await api.call("CreateZone", name="z")).inventory
        assert api.position
        assert (await api.call("GetZone", uuid=zone.uuid)).inventory == zone
        with pytest.raises(ApiError) as refused:
            await api.call("CreateZone", name="")
        assert (refused.value.code, refused.value.fields) == ("INVALID_ARGUMENT", ["name"])
        with pytest.raises(ApiError) as refused:
            await Api(api.node, api.channel).call("GetZone", uuid=zone.uuid)
        assert refused.value.code == "UNAUTHENTICATED"
        stream = api.stream("WatchResources", kind="zone")
        assert (await anext(stream)).uuid == zone.uuid
        await stream.aclose()
        log = (await api.call("QueryOperationLog", filter="name = GetZone")).inventories
        assert [entry.source.rpartition(":")[0] for entry in log] == ["127.0.0.1"] * 2
        # All of them have ended, and nothing of them is left.
        (front,) = api.node.server._fronts
        assert await until(lambda: nothing_left(front.calls))

    behind(tmp_path, body)


def test_a_front_that_dies_is_replaced_and_a_retry_does_the_work_once(tmp_path: Path) -> None:
    """ARC-05: the client that was on its way asks again with the same request id."""

    async def body(api: Api) -> None:
        # Nothing reaches a front that stands still, but its end.
        (front,) = api.node.server._fronts
        waiting = asyncio.ensure_future(api.call("WaitJob", uuid=api.node.cloud.ids.new(), timeout_seconds=60))
        await asyncio.wait([waiting], timeout=0.1)
        with pytest.raises(ApiError):
            await waiting
        os.kill(front.process.pid, signal.SIGSTOP)
        first = asyncio.ensure_future(api.call("CreateZone", {"zcloud-request": "once"}, name="z"))
        await asyncio.wait([first], timeout=0.1)
        os.kill(front.process.pid, signal.SIGKILL)
        with pytest.raises(ApiError) as lost:
            await first
        assert lost.value.code == "UNAVAILABLE"

        async def again() -> Any:
            try:
                return (await api.call("CreateZone", {"zcloud-request": "once"}, name="z")).inventory.uuid
            except ApiError as error:
                assert error.code == "UNAVAILABLE"  # noqa: PT017 - while nobody listens
                return None

        made = await until(again)
        assert [zone.uuid for zone in (await api.call("QueryZone")).inventories] == [made]
        assert api.node.server._fronts[0] is not front

    behind(tmp_path, body)


def test_a_front_that_cannot_be_started_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has no process to spare at the moment has one later."""
    monkeypatch.setattr(fronts, "AGAIN_SECONDS", 0.01)
    failures = [OSError("no process is to be had")] * 2
    begin = fronts.Front.begin

    async def fails_at_first(front: fronts.Front) -> None:
        if failures:
            raise failures.pop()
        await begin(front)

    async def body(api: Api) -> None:
        monkeypatch.setattr(fronts.Front, "begin", fails_at_first)
        api.node.server._fronts[0].process.kill()

        async def again() -> bool:
            with contextlib.suppress(ApiError):
                await api.call("QueryZone")
                return True
            return False

        await until(again)
        assert not failures

    behind(tmp_path, body)


def test_connections_are_shared_out_and_all_of_them_see_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought: set[Any] = set()
    begin = calls.Calls._begin

    def noted(side: calls.Calls, number: int, body: bytes) -> None:
        brought.add(side)
        begin(side, number, body)

    monkeypatch.setattr(calls.Calls, "_begin", noted)

    async def body(api: Api) -> None:
        zone = (await api.call("CreateZone", name="z")).inventory
        channels = [channel_to(api) for _ in range(24)]
        for channel in channels:
            assert (await Api(api.node, channel, api.token).call("GetZone", uuid=zone.uuid)).inventory == zone
            await channel.close()
        assert brought == {front.calls for front in api.node.server._fronts}

    behind(tmp_path, body, count=2)


def test_who_hangs_up_is_not_waited_for(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        (front,) = api.node.server._fronts

        stream = api.stream("WatchResources", kind="zone")
        await anext(stream)
        assert front.calls._tasks
        await stream.aclose()
        assert await until(lambda: nothing_left(front.calls))

    behind(tmp_path, body)


def test_the_certificate_is_the_nodes_and_a_new_one_is_served_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fronts, "CERTIFICATE_SECONDS", 0.05)
    authorities = [Authority(tmp_path / f"authority-{n}") for n in range(2)]
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"

    def renew(by: Authority) -> None:
        made, chain = by.certificate(["127.0.0.1"])
        key.write_bytes(made)
        certificate.write_bytes(chain)

    async def go() -> None:
        renew(authorities[0])
        node = fronts_node(tmp_path / "node", Tls(certificate, key))
        async with node as address:
            assert await greeted(address, authorities[0])
            assert not await greeted(address, authorities[1])
            renew(authorities[1])

            async def renewed() -> bool:
                return await greeted(address, authorities[1])

            await until(renewed)

    asyncio.run(go())


def fronts_node(directory: Path, tls: Tls) -> Any:
    """A node with a front and TLS; gives its address."""

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[str]:
        node = Node(directory, fronts=1, tls=tls)
        await node.start("127.0.0.1:0")
        try:
            yield node.address
        finally:
            await node.stop()

    return running()


async def greeted(address: str, authority: Authority) -> bool:
    """Whether a client that trusts only this authority gets an answer."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    credentials = grpc.ssl_channel_credentials(authority.pem)
    async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
        try:
            await channel.unary_unary(rpcs()["LogInByAccount"].path)(b"")
        except grpc.aio.AioRpcError as error:
            return error.code() is not grpc.StatusCode.UNAVAILABLE
    return True


def test_a_node_that_is_killed_leaves_its_address_to_the_next_one(tmp_path: Path) -> None:
    """What was under way is answered with UNAVAILABLE by the front that is left, which then ends."""
    server = ServerProcess(tmp_path / "node", arguments=["--fronts", "1"])
    server.start()
    address, admin = server.address, server.admin
    with grpc.insecure_channel(address, options=CHANNEL) as channel:
        watch = channel.unary_stream(rpcs()["WatchResources"].path)
        metadata = (("authorization", f"Bearer {admin.token}"),)
        stream = watch(rpcs()["WatchResources"].request(kind="zone").SerializeToString(), metadata=metadata, timeout=60)
        next(stream)
        server.kill()
        with pytest.raises(grpc.RpcError) as gone:
            next(stream)
        assert gone.value.code() is grpc.StatusCode.UNAVAILABLE
    again = ServerProcess(tmp_path / "node", arguments=["--fronts", "1", "--listen", address])
    again.start()
    try:
        assert again.address == address
        assert again.admin.call("QueryZone").total == 0
    finally:
        assert again.stop() == 0
        server.stop()


def test_a_slow_reader_holds_up_nobody_but_itself() -> None:
    """The node sends no more of a stream than the front has room for."""

    async def go() -> None:
        sent: list[int] = []
        given = 0

        async def behaviour(_data: bytes, _call: Any) -> AsyncIterator[bytes]:
            nonlocal given
            while True:
                given += 1
                yield b"x"

        class Wire:
            def write(self, data: bytes) -> None:
                sent.extend([1] * (len(data) // (frames.HEAD.size + 1)))

            def is_closing(self) -> bool:
                return False

        side = a_side()
        side.transport = Wire()  # type: ignore[assignment]
        rpc = next(rpc for rpc in rpcs().values() if rpc.streams and not rpc.takes_stream)
        side._methods = [calls.Method(rpc, behaviour)]
        side.taken(7, frames.OPEN, frames.opening(0, "ipv4:192.0.2.1:1", (), b""))
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(sent) == frames.CREDIT
        side.taken(7, frames.TAKEN, b"")
        for _ in range(10):
            await asyncio.sleep(0)
        assert (len(sent), given) == (frames.CREDIT + 1, frames.CREDIT + 2)
        side.taken(7, frames.GONE, b"")
        for _ in range(10):
            await asyncio.sleep(0)
        assert await nothing_left(side)

    asyncio.run(go())


def test_a_call_that_goes_before_it_begins_leaves_nothing() -> None:
    async def go() -> None:
        side = a_side()
        rpc = rpcs()["GetZone"]

        async def behaviour(_data: bytes, _call: Any) -> bytes:
            raise AssertionError("nobody waits for it")

        side._methods = [calls.Method(rpc, behaviour)]
        side.taken(1, frames.OPEN, frames.opening(0, "ipv4:192.0.2.1:1", (), b""))
        side.taken(1, frames.GONE, b"")
        for _ in range(5):
            await asyncio.sleep(0)
        assert not side._tasks

    asyncio.run(go())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_front_without_its_node_answers_at_once(run: Any) -> None:
    """In either loop, in one of which writing to what is closed is an error of its own."""

    async def go() -> None:
        ours, its = socket.socketpair()
        _, front = await asyncio.get_running_loop().create_connection(process.Front, sock=ours)

        class Context:
            def peer(self) -> str:
                return "ipv4:192.0.2.1:1"

            def invocation_metadata(self) -> tuple[Any, ...]:
                return ()

            async def abort(self, code: grpc.StatusCode, details: str, trailers: Any) -> None:
                raise RuntimeError(f"{code.name}: {details}")

        answer = front.behaviour(rpcs()["GetZone"], 0)
        waiting = asyncio.ensure_future(answer(b"", Context()))
        await asyncio.sleep(0)
        its.close()
        with pytest.raises(RuntimeError, match="UNAVAILABLE"):
            await waiting
        await front.gone.wait()
        with pytest.raises(RuntimeError, match="UNAVAILABLE"):
            await answer(b"", Context())
        assert not front._calls

    run(go())
