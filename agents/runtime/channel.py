"""How an agent and a node speak TLS with each other: names, certificates and keepalive, for both ends."""

from __future__ import annotations

from typing import Any

import grpc

from agents.runtime.identity import Identity

# The node's certificate bears this name, since nodes are reached by many addresses.
NODE_NAME = "zcloud-node"

Options = list[tuple[str, Any]]

# A dead node is noticed within half a minute, also when nobody has anything to say.
CLIENT_OPTIONS: Options = [
    ("grpc.ssl_target_name_override", NODE_NAME),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The session has its own back-off; the channel's must not hold it up for two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Channels of one process share connections else, and a connection carries about a hundred streams.
    ("grpc.use_local_subchannel_pool", 1),
]

# For the node: a server that was not told allows one ping in five minutes and hangs up on the second.
SERVER_OPTIONS: Options = [
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
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


def open_enrol_channel(endpoint: str, ca_certificate: bytes) -> grpc.aio.Channel:
    """A channel without a certificate of our own, to a node that shows one of this authority."""
    credentials = grpc.ssl_channel_credentials(root_certificates=ca_certificate)
    return grpc.aio.secure_channel(endpoint, credentials, options=CLIENT_OPTIONS)
