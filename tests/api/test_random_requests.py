"""A sample of random requests by way of gRPC: no failure of ours, and refusals that fit in what a client takes."""

from __future__ import annotations

import random

import grpc
import pytest

from tests.api.conftest import Furnished
from tests.fuzz.messages import Messages
from tests.support.cloud import CHANNEL
from zcloud.api.rpcs import Rpc, rpcs

SAMPLE = 4


def answer(channel: grpc.Channel, token: str, rpc: Rpc, data: bytes) -> tuple[str, set[str]]:
    """How a previewed call ends, and what its trailers are called."""
    metadata = (("authorization", f"Bearer {token}"), ("zcloud-validate-only", "true"))
    call = channel.unary_unary(rpc.path).future(data, metadata=metadata, timeout=60)
    return call.code().name, {key for key, _ in call.trailing_metadata()}


@pytest.mark.faults
def test_no_request_breaks_the_socket(furnished: Furnished) -> None:
    """ARC-14."""
    known = {kind: [uuid] for kind, uuid in furnished.known.items()}
    messages, told = Messages(random.Random(1), known, {}, {}), set()
    with grpc.insecure_channel(furnished.server.address, options=CHANNEL) as channel:
        for name, rpc in rpcs().items():
            if rpc.streams or rpc.takes_stream or name.startswith(("Wait", "Log", "Enroll")):
                continue
            for _ in range(SAMPLE):
                data = messages.request(rpc)
                code, trailers = answer(channel, furnished.admin.token, rpc, data)
                told.add(code)
                assert code not in ("INTERNAL", "UNKNOWN"), (name, data)
                assert code == "OK" or "grpc-status-details-bin" in trailers, (name, data, code)
    assert told >= {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}
    assert "Traceback" not in furnished.server.output.read_text()
