"""What a server takes on at a time is bounded, and who is turned away knows that it may come again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.cloud import ApiError, running_node
from zcloud.api import pipeline
from zcloud.api.admission import Admission
from zcloud.kernel.errors import Refused


def test_calls_past_the_limit_are_turned_away(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_node(tmp_path) as api:
            api.node.server.answers.lane.at_once = 2
            names = [f"account-{n}" for n in range(8)]
            answers = await asyncio.gather(
                *(api.call("CreateAccount", name=name, password="a good password") for name in names),
                return_exceptions=True,
            )
            refused = [found for found in answers if isinstance(found, ApiError)]
            assert 0 < len(refused) < len(names)
            assert {(r.code, r.reason) for r in refused} == {("RESOURCE_EXHAUSTED", "TOO_MANY_REQUESTS")}
            assert all("RetryInfo" in r.details and "QuotaFailure" not in r.details for r in refused)
            # nothing of them is left, and room is given back by refused and answered calls alike
            there = {found.name for found in (await api.call("QueryAccount")).inventories}
            assert len(there & set(names)) == len(names) - len(refused)

    asyncio.run(main())


def test_a_full_server_keeps_a_fair_share_for_each() -> None:
    lane = Admission(10)
    for _ in range(10):
        lane.enter("greedy")
    with pytest.raises(Refused):
        lane.enter("greedy")
    for _ in range(5):
        lane.enter("modest")  # half of the places, though all were taken
    with pytest.raises(Refused, match="5 of yours"):
        lane.enter("modest")
    for n in range(5):
        lane.enter(f"late-{n}")
    with pytest.raises(Refused):  # there is an end to it
        lane.enter("last")
    for principal, held in (("greedy", 10), ("modest", 5)):
        for _ in range(held):
            lane.leave(principal)
    for _ in range(10 - 5):
        lane.enter("greedy")
    assert lane.total == 10


def test_secrets_are_redacted_however_deep_they_lie() -> None:
    data = {"a": [{"password": "sealed:v1:x", "n": 1}], "b": {"key_hash": "h"}, "c": ("sealed:v1:y", "open")}
    assert pipeline.redact(data) == {
        "a": [{"password": "***", "n": 1}],
        "b": {"key_hash": "***"},
        "c": ["***", "open"],
    }
