"""What a server takes on at a time is bounded, and who is turned away knows that it may come again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.cloud import ApiError, running_node
from zcloud.api import pipeline, server


def test_calls_past_the_limit_are_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running_node(tmp_path) as api:
            monkeypatch.setattr(server, "AT_ONCE", 2)
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


def test_secrets_are_redacted_however_deep_they_lie() -> None:
    data = {"a": [{"password": "sealed:v1:x", "n": 1}], "b": {"key_hash": "h"}, "c": ("sealed:v1:y", "open")}
    assert pipeline.redact(data) == {
        "a": [{"password": "***", "n": 1}],
        "b": {"key_hash": "***"},
        "c": ["***", "open"],
    }
