"""Where agents dial in: enrolment over TLS, sessions over mutual TLS, on addresses of their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc

from agents.runtime.channel import SERVER_OPTIONS
from zcloud.api.agent_sessions import AgentSession, recorded
from zcloud.api.pki import SCHEME
from zcloud.api.server import Server, listen, shared
from zcloud.kernel.errors import Refused
from zcloud.v1.agent_pb2 import ConnectRequest, ConnectResponse, Doors, Welcome

log = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 10
# A session is over when nothing was heard for this many heartbeats.
MISSED = 3
SIMULATOR = "simulator"
LIMITS = (("grpc.server.max_pending_requests", 20_000), ("grpc.server.max_pending_requests_hard_limit", 40_000))


class AgentDoor:
    """Two listening addresses: one for enrolment (no client certificate yet), one for sessions."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.server = grpc.aio.server(options=(*SERVER_OPTIONS, *LIMITS, shared(node.share_ports)))
        handler = grpc.stream_stream_rpc_method_handler(
            self._connect,
            request_deserializer=ConnectRequest.FromString,
            response_serializer=ConnectResponse.SerializeToString,
        )
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("zcloud.v1.AgentService", {"Connect": handler}),)
        )
        self.enrolment = Server(node, own=lambda rpc: rpc.name == "Enroll")
        self.agent_endpoint = ""
        self.enroll_endpoint = ""
        self._told: set[str] = set()

    async def start(self, agents: str, enrolment: str) -> None:
        """Listen on both; port 0 for any."""
        authority = self.node.authority
        port = listen(self.server, agents, authority.credentials(require_client=True))
        await self.server.start()
        self.agent_endpoint = f"{agents.rpartition(':')[0]}:{port}"
        port = await self.enrolment.start(enrolment, authority.credentials(require_client=False))
        self.enroll_endpoint = f"{enrolment.rpartition(':')[0]}:{port}"
        self.node.cluster.on_beat(self._tell_doors)

    async def stop(self) -> None:
        """Close both."""
        await self.enrolment.stop()
        await self.server.stop(1.0)

    async def _connect(
        self, requests: AsyncIterator[ConnectRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[ConnectResponse]:
        first = await anext(aiter(requests), None)
        if first is None or not first.HasField("hello"):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a session begins with hello")
            return
        host_uuid = first.hello.host_uuid
        refusal = await self._may_connect(host_uuid, identities(context))
        if refusal:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, refusal)
            return
        session = AgentSession(host_uuid)
        session.last_heard = self.node.cloud.clock.now()
        self.node.agents.add(session)
        reader = asyncio.create_task(self._read(session, requests), name=f"agent-{host_uuid}")
        try:
            yield ConnectResponse(welcome=Welcome(heartbeat_seconds=HEARTBEAT_SECONDS, endpoints=self._nodes()))
            self.node.agents.resend(host_uuid)
            self.node.hosts.opened(host_uuid)
            async for message in session.messages():
                yield message
        finally:
            reader.cancel()
            if self.node.agents.remove(session):
                self.node.hosts.lost(host_uuid)

    def _nodes(self) -> list[str]:
        """Where agents may dial in, of all nodes that live."""
        endpoints: list[str] = self.node.doors()["agent_endpoint"].split(",")
        return endpoints

    def _tell_doors(self) -> None:
        """A node has come: an agent learns of it now, since the one that it speaks with may be the next to die."""
        nodes = self._nodes()
        if not set(nodes) <= self._told:
            self.node.agents.tell(ConnectResponse(doors=Doors(endpoints=nodes)))
        self._told = set(nodes)

    async def _may_connect(self, host_uuid: str, names: set[str]) -> str:
        host = await self.node.hosts.find(host_uuid)
        if host is None:
            return f"there is no host {host_uuid} in this cloud"
        wanted = SIMULATOR if host.hypervisor_type == "Simulator" else f"host/{host_uuid}"
        return "" if wanted in names else f"the certificate is not that of host {host_uuid}"

    async def _read(self, session: AgentSession, requests: AsyncIterator[ConnectRequest]) -> None:
        try:
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS * MISSED):
                        message = await anext(aiter(requests), None)
                except TimeoutError:
                    log.warning("host %s: nothing heard for %d s", session.host_uuid, HEARTBEAT_SECONDS * MISSED)
                    return
                if message is None:
                    return
                session.last_heard = self.node.cloud.clock.now()
                await self._take(session, message)
        except Refused as refused:
            log.warning("host %s: %s", session.host_uuid, refused.message)
        except Exception:
            log.exception("host %s: its message could not be taken", session.host_uuid)
        finally:
            session.close()

    async def _take(self, session: AgentSession, message: ConnectRequest) -> None:
        kind = message.WhichOneof("message")
        if kind == "report":
            await self.node.agents.take(message.report, session.host_uuid)
            session.put(recorded(message.report.task_uuid))
        elif kind == "progress":
            p = message.progress
            self.node.runner.on_progress(p.task_uuid, p.percent, p.detail, session.host_uuid)
        elif kind == "heartbeat":
            error = message.heartbeat.hypervisor_error
            if error != session.hypervisor_error:
                session.hypervisor_error = error
                self.node.hosts.hypervisor(session.host_uuid, error)
        elif kind == "inventory":
            self.node.hosts.observed(session.host_uuid, message.inventory)


def identities(context: grpc.aio.ServicerContext) -> set[str]:
    """What the client's certificate says it is."""
    found: set[str] = set()
    for values in (context.auth_context() or {}).values():
        for value in values:
            text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
            if text.startswith(SCHEME):
                found.add(text.removeprefix(SCHEME))
    return found
