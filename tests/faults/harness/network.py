"""The stream between an agent and the node: it may lose, repeat, hold up and break, as its weather says."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any

from agents.runtime.session import END, ConnectionLost
from tests.faults.harness.loop import OWNER, Owner
from zcloud.api.pki import SCHEME


@dataclass
class Weather:
    """Chances, and seconds. A lost message breaks its stream within break_seconds, as a connection does."""

    chance: random.Random
    loss: float = 0.0
    duplicates: float = 0.0
    delay: float = 0.0
    break_seconds: float = 5.0
    # So rarely that others' deadlines pass meanwhile, a message is held up for up to so long.
    late: float = 0.0
    late_seconds: float = 900.0

    def clear(self) -> None:
        """No more faults."""
        self.loss = self.duplicates = self.delay = self.late = 0.0


class Link:
    """One stream: messages up to the node and down to the agent. The greeting always arrives."""

    def __init__(self, weather: Weather) -> None:
        self.weather = weather
        self.up: asyncio.Queue[Any] = asyncio.Queue()
        self.down: asyncio.Queue[Any] = asyncio.Queue()
        self.broken = False
        self._greeted = {id(self.up): False, id(self.down): False}

    def send(self, queue: asyncio.Queue[Any], message: Any) -> None:
        """On its way."""
        if self.broken:
            return
        w, loop = self.weather, asyncio.get_running_loop()
        if not self._greeted[id(queue)]:
            self._greeted[id(queue)] = True
            queue.put_nowait(message)
            return
        if w.loss and w.chance.random() < w.loss:
            loop.call_later(w.chance.random() * w.break_seconds, self.close)
            return
        for _ in range(2 if w.duplicates and w.chance.random() < w.duplicates else 1):
            if w.late and w.chance.random() < w.late:
                loop.call_later(w.chance.random() * w.late_seconds, self._arrive, queue, message)
            elif w.delay:
                # Each on its own, so that the later may be the first.
                loop.call_later(w.chance.random() * w.delay, self._arrive, queue, message)
            else:
                queue.put_nowait(message)

    def _arrive(self, queue: asyncio.Queue[Any], message: Any) -> None:
        if not self.broken:
            queue.put_nowait(message)

    def close(self) -> None:
        """Both ends see it."""
        if not self.broken:
            self.broken = True
            self.up.put_nowait(END)
            self.down.put_nowait(END)


class Context:
    """What the node's door asks of a gRPC call: messages, and whose certificate it is."""

    def __init__(self, host_uuid: str, link: Link) -> None:
        self.host_uuid = host_uuid
        self.link = link
        self.node = OWNER.get()

    async def read(self) -> Any:
        message = await self.link.up.get()
        return END if message is END else message.SerializeToString()

    async def write(self, message: Any) -> None:
        if self.node is None or not self.node.dead:
            self.link.send(self.link.down, message)

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_subject_alternative_name": [f"{SCHEME}host/{self.host_uuid}".encode()]}

    async def abort(self, code: Any, words: str) -> None:
        raise ConnectionLost(f"{code.name}: {words}")


class Channel:
    """What an agent's session dials: the node that lives now, if one does."""

    def __init__(self, network: Network, host_uuid: str) -> None:
        self.network = network
        self.host_uuid = host_uuid

    def unary_unary(self, *_: Any, **__: Any) -> None:
        """Enrolment is no part of a session."""

    def stream_stream(self, *_: Any, **__: Any) -> Any:
        return lambda: _Call(self.network, self.host_uuid)


class _Call:
    def __init__(self, network: Network, host_uuid: str) -> None:
        self.link = Link(network.weather)
        network.links[self.link] = None
        self.network = network
        if network.node is None or network.node.dead:
            self.link.close()
        else:
            network.node.own(self._serve(network.node.door, host_uuid), f"stream of {host_uuid}")

    async def _serve(self, door: Any, host_uuid: str) -> None:
        try:
            await door._connect(None, Context(host_uuid, self.link))
        except ConnectionLost:
            pass
        finally:
            self.link.close()
            self.network.links.pop(self.link, None)

    async def write(self, message: Any) -> None:
        if self.link.broken:
            raise ConnectionLost("the stream is broken")
        self.link.send(self.link.up, message)

    async def read(self) -> Any:
        return await self.link.down.get()

    def cancel(self) -> None:
        self.link.close()


class Network:
    """All streams to the node; which one that is changes."""

    def __init__(self, weather: Weather) -> None:
        self.weather = weather
        self.node: Any = None
        # In the order in which they were opened.
        self.links: dict[Link, None] = {}

    def cut(self) -> None:
        """The node has died: every stream ends."""
        for link in list(self.links):
            link.close()
        self.links.clear()


__all__ = ["Link", "Network", "Owner", "Weather"]
