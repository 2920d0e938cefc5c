"""The certificate of the API's door where another process listens: the node has it, and a front is told."""

from __future__ import annotations

import grpc
import msgspec


class Certificate(msgspec.Struct):
    """What a front serves. roots: whose clients it lets in, empty for all."""

    key: bytes
    chain: bytes
    roots: bytes = b""
    clients: bool = False


class Pushed:
    """What the node said last."""

    def __init__(self) -> None:
        self._now: Certificate | None = None
        self._new = False

    def take(self, body: bytes) -> None:
        """There is another one."""
        self._now, self._new = msgspec.msgpack.decode(body, type=Certificate), True

    def credentials(self) -> grpc.ServerCredentials | None:
        """For listening; None where there is no certificate, for a door in clear."""
        if self._now is None:
            return None
        return grpc.dynamic_ssl_server_credentials(self._served(), self._fetch, self._now.clients)

    def _served(self) -> grpc.ServerCertificateConfiguration:
        assert self._now is not None
        self._new = False
        return grpc.ssl_server_certificate_configuration([(self._now.key, self._now.chain)], self._now.roots or None)

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        return self._served() if self._new else None
