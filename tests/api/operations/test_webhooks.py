"""Webhooks against a real HTTP server: signed, in order, at least once, over restarts; what is given up is listed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloud import Api, ApiError, ServerProcess, running_node, until
from tests.support.receiver import Receiver
from zcloud.api import webhook_delivery

SECRET = "a secret that both know"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits a second between tries here."""
    monkeypatch.setattr(webhook_delivery, "PAUSE_SECONDS", 0.02)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver().start()
    yield made
    made.stop()


async def at_once(api: Api) -> None:
    """Loopback is allowed, and pauses between tries are short. A busy machine is given time to answer."""
    for name, value in (("allowedNetworks", "127.0.0.0/8"), ("retry.maxInterval", "1"), ("timeout", "60")):
        await api.call("UpdateGlobalConfig", category="webhook", name=name, value=value)


async def hook(api: Api, receiver: Receiver, **fields: Any) -> Any:
    made = await api.call("CreateWebhook", **{"name": "hook", "url": receiver.url, "secret": SECRET, **fields})
    return made.inventory


def on_cloud(directory: Path, body: Callable[[Api], Awaitable[None]]) -> None:
    async def go() -> None:
        async with running_node(directory) as api:
            await at_once(api)
            await body(api)

    asyncio.run(go())


async def taken(receiver: Receiver, number: int) -> list[dict[str, Any]]:
    async def enough() -> bool:
        return len(receiver.events()) >= number

    await until(enough)
    return receiver.events()


async def inventory(api: Api, uuid: str) -> Any:
    return (await api.call("GetWebhook", uuid=uuid)).inventory


async def status(api: Api, uuid: str, wanted: str) -> Any:
    async def look() -> Any:
        found = await inventory(api, uuid)
        return found if found.status == getattr(found, f"STATUS_{wanted}") else None

    return await until(look)


def test_what_happens_from_now_on_comes_signed_and_in_order(tmp_path: Path, receiver: Receiver) -> None:
    async def body(api: Api) -> None:
        await api.call("CreateZone", name="before")
        made = await hook(api, receiver, filter={"resource_kinds": ["zone"]})
        zones = [(await api.call("CreateZone", name=f"z{n}")).inventory.uuid for n in range(20)]
        await api.call("UpdateZone", {"zcloud-reason": "better"}, uuid=zones[3], name="renamed")
        await api.call("CreateInstanceOffering", name="o", cpu_num=1, memory_size=1 << 30)
        events = await taken(receiver, 21)
        assert [e["resource_uuid"] for e in events] == [*zones, zones[3]]
        assert (events[-1]["type"], events[-1]["reason"]) == ("zone.Updated", "better")
        assert events[-1]["data"] == {"name": "renamed"}
        watched = []
        async for answer in api.stream("WatchEvents", resource_kinds=["zone"]):
            if answer.HasField("event") and answer.event.data.fields["name"].string_value != "before":
                watched.append(answer.event.position)
            if len(watched) == 21:
                break
        assert [e["position"] for e in events] == watched
        for call in receiver.taken:
            assert call.signed_with(SECRET)
            assert not call.signed_with("another")
            assert call.headers["Zcloud-Webhook"] == made.uuid
            assert call.headers["Zcloud-Delivery"] == json.loads(call.body)["delivery"]
        assert len({call.headers["Zcloud-Delivery"] for call in receiver.taken}) == len(receiver.taken)
        assert SECRET not in str(await inventory(api, made.uuid))
        history = (await api.call("GetHistory", resource_uuid=made.uuid)).events
        assert SECRET not in str(history)

    on_cloud(tmp_path, body)


def test_what_it_misses_while_it_is_down_comes_later_and_nothing_twice_in_a_row(
    tmp_path: Path, receiver: Receiver
) -> None:
    async def body(api: Api) -> None:
        made = await hook(api, receiver, filter={"resource_kinds": ["zone"]})
        await api.call("CreateZone", name="z0")
        await taken(receiver, 1)
        receiver.stop()
        for n in range(1, 6):
            await api.call("CreateZone", name=f"z{n}")
        failing = await status(api, made.uuid, "FAILING")
        assert "cannot be reached" in failing.status_reason
        receiver.start()
        events = await taken(receiver, 6)
        assert [e["data"]["name"] for e in events] == [f"z{n}" for n in range(6)]
        assert not (await status(api, made.uuid, "HEALTHY")).status_reason
        receiver.status = 503
        await api.call("CreateZone", name="z6")
        assert "503: no, thank you" in (await status(api, made.uuid, "FAILING")).status_reason
        receiver.status = 200
        assert (await taken(receiver, 7))[-1]["data"]["name"] == "z6"
        # A delivery that is tried again bears the same name.
        tries = [call.headers["Zcloud-Delivery"] for call in receiver.calls if "z6" in call.body.decode()]
        assert len(tries) > 3
        assert len(set(tries)) == 1

    on_cloud(tmp_path, body)


def test_no_gap_over_restarts_of_the_node(tmp_path: Path, receiver: Receiver) -> None:
    async def go() -> None:
        async with running_node(tmp_path) as api:
            await at_once(api)
            made = await hook(api, receiver, filter={"types": ["zone.Created"]}, batch_size=2)
            receiver.delay = 0.05
            for n in range(15):
                await api.call("CreateZone", name=f"z{n}")
            await taken(receiver, 4)  # in the middle of it the node stops
        receiver.delay = 0.0
        before = len(receiver.events())
        async with running_node(tmp_path) as api:
            await api.call("CreateZone", name="z15")

            async def all_there() -> bool:
                return len({e["position"] for e in receiver.events()}) == 16

            await until(all_there)
            assert before < 16
            names = [e["data"]["name"] for e in receiver.events()]
            assert list(dict.fromkeys(names)) == [f"z{n}" for n in range(16)]
            assert len(names) <= 16 + 2  # at most the batch that was under way came twice
            assert all(len(call.events) <= 2 for call in receiver.calls)
            # Disabled, it misses nothing; it is told when it is enabled again.
            await api.call("ChangeWebhookState", uuid=made.uuid, state_event="disable")
            await api.call("CreateZone", name="meanwhile")
            number = len(receiver.calls)
        async with running_node(tmp_path) as api:
            await api.call("CreateZone", name="later")
            assert len(receiver.calls) == number
            await api.call("ChangeWebhookState", uuid=made.uuid, state_event="enable")
            events = await taken(receiver, len(names) + 2)
            assert [e["data"]["name"] for e in events[-2:]] == ["meanwhile", "later"]
            await api.call("DeleteWebhook", uuid=made.uuid)
            await api.call("CreateZone", name="nobody is told")
            again = await hook(api, receiver, resource_uuid=made.uuid, filter={"types": ["zone.Created"]})
            await api.call("CreateZone", name="of the new life")
            events = await taken(receiver, len(names) + 3)
            assert events[-1]["data"]["name"] == "of the new life"
            assert (await inventory(api, again.uuid)).delivered_position

    asyncio.run(go())


def test_what_it_never_takes_is_a_dead_letter_and_the_others_come(tmp_path: Path, receiver: Receiver) -> None:
    async def body(api: Api) -> None:
        receiver.refused = {"zone.Updated"}
        receiver.stop()  # so that all come in one batch
        made = await hook(api, receiver)  # everything, its own deliveries left out
        zone = (await api.call("CreateZone", name="z")).inventory.uuid
        for n in range(2):
            await api.call("UpdateZone", uuid=zone, name=f"z{n}")
        await api.call("ChangeZoneState", uuid=zone, state_event="disable")
        receiver.start()

        async def letters() -> Any:
            found = list((await inventory(api, made.uuid)).dead_letters)
            return found if len(found) == 2 else None

        first, second = await until(letters)
        assert (first.type, first.event_resource_uuid, first.attempts) == ("zone.Updated", zone, 3)
        assert "422: no, thank you" in first.error
        types = [e["type"] for e in await taken(receiver, 2)]
        assert types == ["zone.Created", "zone.StateChanged"]
        # Sent once more: refused again, then taken.
        await api.call("RedeliverWebhookDeadLetters", uuid=made.uuid, positions=[second.position])

        async def tried_again() -> bool:
            return [d.attempts for d in (await inventory(api, made.uuid)).dead_letters] == [3, 4]

        await until(tried_again)
        receiver.refused = set()
        await api.call("RedeliverWebhookDeadLetters", uuid=made.uuid, positions=[second.position])
        assert (await taken(receiver, 3))[-1]["position"] == second.position
        assert json.loads(receiver.taken[-1].body)["redelivery"] is True

        async def one_left() -> bool:
            return [d.position for d in (await inventory(api, made.uuid)).dead_letters] == [first.position]

        await until(one_left)
        with pytest.raises(ApiError, match="no dead letter"):
            await api.call("DropWebhookDeadLetters", uuid=made.uuid, positions=["nothing"])
        await api.call("DropWebhookDeadLetters", uuid=made.uuid)
        assert not (await inventory(api, made.uuid)).dead_letters
        assert len(receiver.events()) == 3

    on_cloud(tmp_path, body)


def test_what_is_too_old_is_given_up_and_what_is_new_is_not(tmp_path: Path, receiver: Receiver) -> None:
    async def body(api: Api) -> None:
        receiver.status = 500
        made = await hook(api, receiver, filter={"resource_kinds": ["zone"]})
        await api.call("CreateZone", name="old")

        async def tried() -> bool:
            return bool(receiver.calls)

        await until(tried)
        await api.call("UpdateGlobalConfig", category="webhook", name="giveUpPeriod", value="1")

        async def letters() -> Any:
            return list((await inventory(api, made.uuid)).dead_letters)

        (letter,) = await until(letters)
        assert "500" in letter.error
        receiver.status = 200
        await api.call("CreateZone", name="new")
        assert [e["data"]["name"] for e in await taken(receiver, 1)] == ["new"]

    on_cloud(tmp_path, body)


def test_a_receiver_that_is_slow_holds_up_nobody(tmp_path: Path, receiver: Receiver) -> None:
    async def body(api: Api) -> None:
        slow = Receiver(delay=3600.0).start()
        await api.call("UpdateGlobalConfig", category="webhook", name="timeout", value="1")
        try:
            lame = await hook(api, slow, filter={"resource_kinds": ["zone"]})
            await hook(api, receiver, name="quick", filter={"resource_kinds": ["zone"]})
            for n in range(30):
                await api.call("CreateZone", name=f"z{n}")
            await taken(receiver, 30)
            assert "no answer within 1 seconds" in (await status(api, lame.uuid, "FAILING")).status_reason
            # Never what comes later before what came first.
            assert all(call.events[0]["data"]["name"] == "z0" for call in slow.calls)
        finally:
            slow.stop()

    on_cloud(tmp_path, body)


def test_an_account_is_told_of_its_own_and_no_address_inside_is_called(tmp_path: Path, receiver: Receiver) -> None:
    async def body(api: Api) -> None:
        bob, as_bob = await api.account("bob")
        own = await hook(as_bob, receiver)
        await api.call("CreateZone", name="of the admin")
        tag = (await as_bob.call("CreateTag", name="mine")).inventory.uuid
        events = await taken(receiver, 2)  # that it counts as a webhook of the account is the first
        told = [(e["type"], e["account_uuid"]) for e in events]
        assert told == [("account_usage.Changed", bob), ("tag.Created", bob)]
        assert events[1]["resource_uuid"] == tag
        with pytest.raises(ApiError) as missing:
            await (await api.account("eve"))[1].call("GetWebhook", uuid=own.uuid)
        assert missing.value.code == "NOT_FOUND"
        number = len(receiver.calls)
        await api.call("UpdateGlobalConfig", category="webhook", name="allowedNetworks", value="")
        await as_bob.call("CreateTag", name="not told")
        assert "inside the data centre" in (await status(as_bob, own.uuid, "FAILING")).status_reason
        assert len(receiver.calls) == number

    on_cloud(tmp_path, body)


def test_what_is_wrong_is_said(tmp_path: Path, receiver: Receiver) -> None:
    async def body(api: Api) -> None:
        for fields, field in (
            ({"url": "ftp://h/x"}, "url"),
            ({"url": "http://u:p@h/x"}, "url"),
            ({"filter": {"resource_kinds": ["zoen"]}}, "filter.resource_kinds"),
            ({"filter": {"types": ["zone.Made"]}}, "filter.types"),
            ({"from_position": "x"}, "from_position"),
        ):
            with pytest.raises(ApiError) as wrong:
                await hook(api, receiver, **fields)
            assert (wrong.value.code, wrong.value.fields) == ("INVALID_ARGUMENT", [field])
        first = (await api.call("CreateZone", name="first")).inventory
        at = api.position
        await api.call("CreateZone", name="second")
        made = await hook(api, receiver, from_position=at, filter={"types": ["zone.Created"]})
        assert [e["data"]["name"] for e in await taken(receiver, 1)] == ["second"]
        await api.call("UpdateWebhook", uuid=made.uuid, filter={"resource_uuids": [first.uuid]}, secret="changed")
        await api.call("CreateZone", name="third")
        await api.call("UpdateZone", uuid=first.uuid, name="renamed")
        assert [e["data"]["name"] for e in await taken(receiver, 2)] == ["second", "renamed"]
        assert receiver.taken[-1].signed_with("changed")
        shown = (await api.call("QueryWebhook", filter='name = "hook" AND status = Healthy')).inventories
        assert [list(w.filter.resource_uuids) for w in shown] == [[first.uuid]]

    on_cloud(tmp_path, body)


def test_the_document_says_what_is_sent() -> None:
    text = (Path(__file__).parents[3] / "docs/webhooks.md").read_text()
    space: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], space)
    body, stamp = b'{"events": []}', "1700000000"
    signature = f"v1={webhook_delivery.sign(SECRET.encode(), stamp, body)}"
    headers = {"Zcloud-Timestamp": stamp, "Zcloud-Signature": signature}
    assert space["is_ours"](SECRET, headers, body, now=1700000100)
    assert not space["is_ours"](SECRET, headers, body, now=1700009999)
    assert not space["is_ours"](SECRET, headers, body + b" ", now=1700000100)


def test_no_gap_when_the_node_is_killed(tmp_path: Path, receiver: Receiver) -> None:
    """As a power cut would: what was sent since the place was last kept may come twice, and nothing is left out."""
    server = ServerProcess(tmp_path / "data")
    server.start()
    try:
        admin = server.admin
        admin.call("UpdateGlobalConfig", category="webhook", name="allowedNetworks", value="127.0.0.0/8")
        wanted = {"types": ["zone.Created"]}
        admin.call("CreateWebhook", name="hook", url=receiver.url, secret=SECRET, filter=wanted, batch_size=3)
        receiver.enough = 3
        for n in range(12):
            admin.call("CreateZone", name=f"z{n}")
        asyncio.run(taken(receiver, 3))
        server.kill()
        before = len(receiver.events())
        receiver.enough = 0
        server.start()
        server.admin.call("CreateZone", name="z12")

        async def last() -> bool:
            return "z12" in [event["data"]["name"] for event in receiver.events()]

        asyncio.run(until(last))
    finally:
        server.stop()
    assert before < 12
    names = [event["data"]["name"] for event in receiver.events()]
    assert list(dict.fromkeys(names)) == [f"z{n}" for n in range(13)]
