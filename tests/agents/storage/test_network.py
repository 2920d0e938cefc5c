"""Storage networks as an agent sees them: who answers there, and exports by their servers' addresses (PS-05)."""

from __future__ import annotations

import asyncio

import pytest

from agents.runtime import ping
from agents.runtime.outbox import merged
from agents.storage import network
from agents.storage.addresses import addresses
from agents.storage.network import StorageNetworks, over
from zcloud.v1.agent_pb2 import HostInventory
from zcloud.v1.primary_storage_task_pb2 import StorageNetwork, StorageNetworkSeen

HOME = StorageNetwork(cidr="127.0.0.0/8", peers=["127.0.0.9"])


def test_an_export_by_the_servers_address_in_the_network() -> None:
    for cidr, url, way in (
        ("127.0.0.0/8", "localhost:/x", "127.0.0.1:/x"),
        ("10.9.0.0/24", "localhost:/x", "localhost:/x"),
        ("10.9.0.0/24", "nas.invalid:/x", "nas.invalid:/x"),
        ("", "localhost:/x", "localhost:/x"),
    ):
        assert asyncio.run(over(url, StorageNetwork(cidr=cidr))) == way, (cidr, url)


def test_who_answers_is_asked_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping, "TRIES", 1)
    for address, seconds, answers in (("127.0.0.9", 60.0, True), ("192.0.2.1", 0.2, False)):
        monkeypatch.setattr(ping, "WAIT_SECONDS", seconds)
        assert asyncio.run(ping.answers(address, "127.0.0.1")) is answers


def test_only_news_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    silent: set[str] = set()

    async def answers(address: str, source: str) -> bool:
        assert source == "127.0.0.1"
        return address not in silent

    monkeypatch.setattr(network, "answers", answers)

    async def main() -> None:
        networks = StorageNetworks()
        seen = await networks.watch("s", HOME, "localhost")
        assert (list(seen.answering), list(seen.silent), seen.server_error) == (["127.0.0.9", "127.0.0.1"], [], "")
        assert list(seen.addresses) == addresses()
        assert await networks.news() == []
        silent.add("127.0.0.9")
        (news,) = await networks.news()
        assert list(news.silent) == ["127.0.0.9"]
        assert list(networks.add_to(HostInventory(complete=True)).storage_networks) == [news]
        # what waits to be sent is not lost by what comes after it
        waiting = merged(HostInventory(storage_networks=[seen]), HostInventory(storage_networks=[news]))
        assert list(waiting.storage_networks) == [news]
        assert list(merged(waiting, HostInventory()).storage_networks) == [news]
        astray = await networks.watch("s", StorageNetwork(cidr="203.0.113.0/24", peers=["203.0.113.1"]), "localhost")
        assert (list(astray.answering), list(astray.silent)) == ([], [])
        assert "localhost has no address in 203.0.113.0/24" in astray.server_error
        await networks.watch("s", StorageNetwork())
        assert not networks.add_to(HostInventory()).storage_networks

    asyncio.run(main())


def test_one_that_is_forgotten_while_another_is_looked_at_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found of the other is told."""

    async def main() -> list[StorageNetworkSeen]:
        networks = StorageNetworks()
        for uuid in ("one", "other"):
            await networks.watch(uuid, StorageNetwork(cidr="203.0.113.0/24"))

        def found() -> list[str]:
            networks.forget("other")
            return ["203.0.113.7"]

        monkeypatch.setattr(network, "addresses", found)
        return await networks.news()

    (seen,) = asyncio.run(main())
    assert (seen.primary_storage_uuid, list(seen.addresses)) == ("one", ["203.0.113.7"])


def test_looks_go_on_after_one_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "LOOK_SECONDS", 0.0)
    failures = [OSError("no sockets left"), ZeroDivisionError()]

    async def main() -> HostInventory:
        networks, changes = StorageNetworks(), asyncio.Queue[HostInventory]()

        async def news() -> list[StorageNetworkSeen]:
            if failures:
                raise failures.pop()
            return [StorageNetworkSeen(cidr="10.0.0.0/8")]

        monkeypatch.setattr(networks, "news", news)
        reporting = asyncio.create_task(networks.report(changes))
        async with asyncio.timeout(60):
            told = await changes.get()
        reporting.cancel()
        return told

    assert [seen.cidr for seen in asyncio.run(main()).storage_networks] == ["10.0.0.0/8"]
