"""How an agent and a node speak TLS with each other: names, certificates and keepalive, for both ends."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import grpc

from agents.runtime.identity import Identity

# The node's certificate bears this name, since nodes are reached by many addresses.
NODE_NAME = "zcloud-node"

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


def open_channel(endpoint: str, identity: Identity) -> grpc.aio.Channel:
    """A channel on which the agent shows its certificate and believes none but the node's."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=identity.ca_certificate,
        private_key=identity.private_key,
        certificate_chain=identity.certificate,
    )
    return grpc.aio.secure_channel(endpoint, credentials, options=CLIENT_OPTIONS)


class Doors:
    """The nodes of a cloud as an agent knows them; any of them will do. Begins with one by chance."""

    def __init__(self, endpoints: str, identity: Identity) -> None:
        """endpoints: host:port, separated by commas."""
        self._configured = split(endpoints)
        self._endpoints = random.sample(self._configured, len(self._configured))
        self._identity = identity
        self._channels: dict[str, grpc.aio.Channel] = {}

    def channel(self, turn: int) -> grpc.aio.Channel:
        """To one node after the other."""
        endpoint = self._endpoints[turn % len(self._endpoints)]
        if endpoint not in self._channels:
            self._channels[endpoint] = open_channel(endpoint, self._identity)
        return self._channels[endpoint]

    def learn(self, endpoints: Iterable[str]) -> None:
        """Nodes come and go: those that were told of at the installation may not be all."""
        self._endpoints += [e for e in endpoints if e not in self._endpoints]

    async def aclose(self) -> None:
        """Hang up everywhere."""
        for channel in self._channels.values():
            await channel.close(None)


def split(endpoints: str) -> list[str]:
    """Of a list that is separated by commas."""
    return [endpoint.strip() for endpoint in endpoints.split(",") if endpoint.strip()] or [""]


def open_enrol_channel(endpoint: str, ca_certificate: bytes) -> grpc.aio.Channel:
    """A channel without a certificate of our own, to a node that shows one of this authority."""
    credentials = grpc.ssl_channel_credentials(root_certificates=ca_certificate)
    return grpc.aio.secure_channel(endpoint, credentials, options=CLIENT_OPTIONS)
