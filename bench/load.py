"""The client: unary calls over several connections with so many in flight, the same for the limit and for zcloud."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import grpc
import uvloop

CHANNELS = 8
OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
# What is not counted, so that connections are up and caches warm.
WARM_SECONDS = 0.3


@dataclass
class Load:
    """What came of it. seconds: of each counted call; counted_seconds: for how long calls were counted."""

    rate: float = 0.0
    seconds: list[float] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    counted_seconds: float = 0.0
    # In words, by process.
    costs: str = ""


@dataclass(frozen=True)
class Target:
    """Where to, with whose session. keep: the answers are wanted."""

    address: str
    path: str
    token: str = ""
    keep: bool = False


def drive(
    target: Target, requests: Iterable[bytes], seconds: float, in_flight: int = 128, rate: float = 0, ids: str = ""
) -> Load:
    """Call for so long. rate: calls a second that begin, whatever the answers do; 0 for as many as are answered.

    ids: every call has a request id that begins so.
    """
    return uvloop.run(_drive(target, iter(requests), seconds, in_flight, rate, ids))


async def _drive(
    target: Target, requests: Iterator[bytes], seconds: float, in_flight: int, rate: float, ids: str
) -> Load:
    channels = [grpc.aio.insecure_channel(target.address, options=OPTIONS) for _ in range(CHANNELS)]
    methods = [channel.unary_unary(target.path) for channel in channels]
    own = (("authorization", f"Bearer {target.token}"),) if target.token else ()
    load = Load()
    begin = time.perf_counter() + WARM_SECONDS
    end = begin + seconds
    numbers = iter(range(1 << 62))
    counted = 0

    async def call(method: grpc.aio.UnaryUnaryMultiCallable, request: bytes) -> None:
        nonlocal counted
        metadata = (*own, ("zcloud-request", f"{ids}{next(numbers)}")) if ids else own
        began = time.perf_counter()
        try:
            answer = await method(request, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            load.refused.append(f"{error.code().name}: {error.details()}")
            return
        ended = time.perf_counter()
        if target.keep:
            load.answers.append(answer)
        if begin <= ended <= end:
            counted += 1
            load.seconds.append(ended - began)

    async def as_answered(method: grpc.aio.UnaryUnaryMultiCallable) -> None:
        while time.perf_counter() < end:
            request = next(requests, None)
            if request is None:
                return
            await call(method, request)

    async def as_planned() -> None:
        tasks: set[asyncio.Task[None]] = set()
        began = time.perf_counter()
        for n, request in enumerate(requests):
            due = began + n / rate
            if due >= end:
                break
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(call(methods[n % CHANNELS], request))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    if rate:
        await as_planned()
    else:
        await asyncio.gather(*(as_answered(methods[n % CHANNELS]) for n in range(in_flight)))
    load.counted_seconds = min(time.perf_counter(), end) - begin
    load.rate = counted / load.counted_seconds
    await asyncio.gather(*(channel.close() for channel in channels))
    return load


def same(request: bytes) -> Iterator[bytes]:
    """It, for ever."""
    while True:
        yield request


def in_turn(requests: Sequence[bytes]) -> Iterator[bytes]:
    """Each, again and again."""
    while True:
        yield from requests
