"""How an agent and a node speak TLS with each other: names, certificates and keepalive, for both ends."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from agents.runtime.identity import Identity, write_private

log = logging.getLogger(__name__)

# The node's certificate bears this name, since nodes are reached by many addresses.
NODE_NAME = "zcloud-node"
# An agent that learns of more forgets nodes that are gone.
MOST_DOORS = 16

# What the first attempt is given.
DIAL_SECONDS = 10.0

Options = list[tuple[str, Any]]

# A dead node is noticed within a quarter of a minute, also when nobody has anything to say.
CLIENT_OPTIONS: Options = [
    ("grpc.ssl_target_name_override", NODE_NAME),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The session has its own back-off; the channel's must not hold it up for two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Channels of one process share connections else, and a connection carries about a hundred streams.
    ("grpc.use_local_subchannel_pool", 1),
]

# For the node: a server that was not told allows one ping in five minutes and hangs up on the second.
SERVER_OPTIONS: Options = [
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
]


def open_channel(endpoint: str, identity: Identity, patience: float = DIAL_SECONDS) -> grpc.aio.Channel:
    """A channel on which the agent shows its certificate and believes none but the node's.

    patience: so many seconds a node that hangs may leave a connection without a word, before another one is dialled.
    """
    credentials = grpc.ssl_channel_credentials(
        root_certificates=identity.ca_certificate,
        private_key=identity.private_key,
        certificate_chain=identity.certificate,
    )
    options = [*CLIENT_OPTIONS, ("grpc.min_reconnect_backoff_ms", int(patience * 1000))]
    return grpc.aio.secure_channel(endpoint, credentials, options=options)


class Doors:
    """The nodes of a cloud as an agent knows them; any of them will do. Begins with one by chance.

    A connection that is gone is not kept: its channel would go on dialling at a pace of its own, answer whoever tries
    it meanwhile with what it found last, and greet a node that came back although the agent is elsewhere by then.
    """

    def __init__(self, endpoints: str, identity: Identity, kept: Path | None = None) -> None:
        """endpoints: host:port, separated by commas. kept: the file for those that are learned of."""
        self._configured = split(endpoints)
        self._kept = kept
        known = list(dict.fromkeys([*self._configured, *self._recalled()]))
        self._endpoints = random.sample(known, len(known))
        self._identity = identity
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._users: Counter[str] = Counter()

    def show(self, identity: Identity) -> None:
        """Whoever is dialled from now on is shown this one."""
        self._identity = identity

    @property
    def known(self) -> tuple[str, ...]:
        """host:port of each."""
        return tuple(self._endpoints)

    @asynccontextmanager
    async def dial(self, turn: int, patience: float = DIAL_SECONDS) -> AsyncIterator[grpc.aio.Channel]:
        """To one node after the other; who dials the same one at the same time shares the connection."""
        endpoint = self._endpoints[turn % len(self._endpoints)]
        if endpoint not in self._channels:
            self._channels[endpoint] = open_channel(endpoint, self._identity, patience)
        self._users[endpoint] += 1
        try:
            yield self._channels[endpoint]
        finally:
            self._users[endpoint] -= 1
            if not self._users[endpoint] and endpoint in self._channels:
                await self._channels.pop(endpoint).close(None)

    def learn(self, living: Iterable[str]) -> None:
        """Nodes come and go: those that were told of at the installation may not be all, or there no more.

        The dead are kept in mind for a while: one of them may be the only one that comes back.
        """
        told = list(dict.fromkeys(filter(None, living)))
        fresh = [e for e in told if e not in self._endpoints]
        if not fresh:
            return
        for endpoint in fresh:  # not all agents turn to the newest at once
            self._endpoints.insert(random.randint(0, len(self._endpoints)), endpoint)
        for endpoint in [e for e in self._endpoints if e not in told and e not in self._configured]:
            if len(self._endpoints) > MOST_DOORS:
                self._endpoints.remove(endpoint)
        if self._kept is not None:
            try:
                write_private(self._kept, "\n".join(self._endpoints).encode())
            except OSError as error:
                log.warning("nodes that are new are not kept for the next start: %s", error)

    def _recalled(self) -> list[str]:
        try:
            return self._kept.read_text().split() if self._kept is not None else []
        except (OSError, UnicodeDecodeError):
            return []  # there was none yet; what was configured is enough to learn the others

    async def aclose(self) -> None:
        """Hang up everywhere."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close(None)


def answers(channel: grpc.aio.Channel) -> bool:
    """Whether somebody is at the other end."""
    return channel.get_state() is grpc.ChannelConnectivity.READY


def split(endpoints: str) -> list[str]:
    """Of a list that is separated by commas."""
    return [endpoint.strip() for endpoint in endpoints.split(",") if endpoint.strip()] or [""]


def open_enrol_channel(endpoint: str, ca_certificate: bytes) -> grpc.aio.Channel:
    """A channel without a certificate of our own, to a node that shows one of this authority."""
    credentials = grpc.ssl_channel_credentials(root_certificates=ca_certificate)
    return grpc.aio.secure_channel(endpoint, credentials, options=CLIENT_OPTIONS)
