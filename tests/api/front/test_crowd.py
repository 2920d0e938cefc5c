"""Ten thousand calls in flight at once, through a front as people have it: each is answered, and none is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import grpc
from google.rpc import error_details_pb2, status_pb2

from tests.support.cloud import CHANNEL, ServerProcess, build
from zcloud.api.rpcs import rpcs

CALLS, CHANNELS = 10_000, 8
OPTIONS = (*CHANNEL, ("grpc.use_local_subchannel_pool", 1))
# Each so manyth call makes something.
MAKES = 10


def test_ten_thousand_calls_in_flight_are_all_answered(tmp_path: Path) -> None:
    """What is turned away is told when to come again, and has changed nothing (ARC-01)."""
    server = ServerProcess(tmp_path / "node", arguments=["--fronts", "1"])
    try:
        server.start()
        admin = server.admin
        zone = admin.call("CreateZone", name="asked for").inventory.uuid
        answers = asyncio.run(_all_at_once(server.address, admin.token, zone))
        assert len(answers) == CALLS
        told = Counter(answers)
        assert set(told) <= {"made", "read", "come again"}
        assert told["read"] > CALLS / 2, told
        found = admin.call("QueryZone", filter='name = "crowd-*"', page_size=1, count=True).total
        assert found == told["made"] > 0
    finally:
        server.stop()


async def _all_at_once(address: str, token: str, zone: str) -> list[str]:
    """What became of each; all are sent before the first answer is looked at."""
    channels = [grpc.aio.insecure_channel(address, options=OPTIONS) for _ in range(CHANNELS)]
    reading, making = rpcs()["GetZone"].path, rpcs()["CreateZone"].path
    get = build("GetZone", {"uuid": zone}).SerializeToString()

    def begin(number: int) -> grpc.aio.UnaryUnaryCall:
        makes = number % MAKES == 0
        request = build("CreateZone", {"name": f"crowd-{number}"}).SerializeToString() if makes else get
        metadata = (("authorization", f"Bearer {token}"), ("zcloud-request", f"crowd-{number}"))
        method = channels[number % CHANNELS].unary_unary(making if makes else reading)
        return method(request, metadata=metadata)

    calls = [begin(number) for number in range(CALLS)]
    try:
        return [await _outcome(call, number) for number, call in enumerate(calls)]
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


async def _outcome(call: grpc.aio.UnaryUnaryCall, number: int) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
        names = [detail.TypeName() for detail in status_pb2.Status.FromString(details).details]
        return "come again" if error_details_pb2.RetryInfo.DESCRIPTOR.full_name in names else "turned away"
    return "read" if number % MAKES else "made"
