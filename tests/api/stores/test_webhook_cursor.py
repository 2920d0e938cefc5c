"""How far a webhook is lies in the log's own store, whichever that is: another start of a node goes on from there."""

from __future__ import annotations

import asyncio

from tests.api.stores.conftest import Cloud
from tests.support.cloud import until
from tests.support.receiver import Receiver


def test_no_event_is_left_out_or_sent_again_after_a_restart(cloud: Cloud) -> None:
    receiver = Receiver().start()

    async def names(number: int) -> list[str]:
        async def enough() -> bool:
            return len(receiver.events()) >= number

        await until(enough)
        return [event["data"]["name"] for event in receiver.events()]

    async def run() -> None:
        async with cloud() as api:
            await api.call("UpdateGlobalConfig", category="webhook", name="allowedNetworks", value="127.0.0.0/8")
            hook = {"name": "hook", "url": receiver.url, "secret": "s", "filter": {"types": ["zone.Created"]}}
            await api.call("CreateWebhook", **hook)
            await api.call("CreateZone", name="one")
            assert await names(1) == ["one"]
        async with cloud() as api:
            await api.call("CreateZone", name="two")
            assert await names(2) == ["one", "two"]
            recorder = api.node.recorder
            recorder.follow_to("somebody", 7)
            recorder.follow_to("somebody", 3)  # forward only
            assert (recorder.followed("somebody"), recorder.followed("nobody")) == (7, 0)

    try:
        asyncio.run(run())
    finally:
        receiver.stop()
