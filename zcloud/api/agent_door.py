"""Where agents dial in: enrolment over TLS, sessions over mutual TLS, on addresses of their own."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from agents.runtime.channel import SERVER_OPTIONS
from zcloud.api import rules
from zcloud.api.agent_sessions import AgentSession, recorded
from zcloud.api.pki import SCHEME
from zcloud.api.server import Server, listen, shared
from zcloud.api.tls import door_for_agents
from zcloud.domain.infrastructure.host import Host
from zcloud.kernel.errors import Refused
from zcloud.kernel.keep import keeper
from zcloud.v1.agent_pb2 import (
    CertificateRenewed,
    ConnectRequest,
    ConnectResponse,
    Doors,
    Heartbeat,
    RenewCertificate,
    Welcome,
)

log = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 10
# A session is over when nothing was heard for this many heartbeats.
MISSED = 3
SIMULATOR = "simulator"
# What an agent that is well sends all the time.
BEAT = ConnectRequest(heartbeat=Heartbeat()).SerializeToString()
END = grpc.aio.EOF  # type: ignore[attr-defined]
LIMITS = (("grpc.server.max_pending_requests", 20_000), ("grpc.server.max_pending_requests_hard_limit", 40_000))
# What a connection that is mostly silent takes: buffers for TLS records of the size of what is sent, and no books about
# connections that nobody reads.
FRUGAL = (
    ("grpc.tsi.max_frame_size", 2048),
    ("grpc.enable_channelz", 0),
    ("grpc.max_channel_trace_event_memory_per_node", 0),
)


class AgentDoor:
    """Two listening addresses: one for enrolment (no client certificate yet), one for sessions."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.server = grpc.aio.server(options=(*SERVER_OPTIONS, *LIMITS, *FRUGAL, shared(node.share_ports)))
        handler = grpc.stream_stream_rpc_method_handler(
            self._connect,
            request_deserializer=None,
            response_serializer=ConnectResponse.SerializeToString,
        )
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("zcloud.v1.AgentService", {"Connect": handler}),)
        )
        self.enrolment = Server(node, own=lambda rpc: rpc.name == "Enroll")
        self.agent_endpoint = ""
        self.enroll_endpoint = ""
        self._told: set[str] = set()
        self._watch: asyncio.Task[None] | None = None

    async def start(self, agents: str, enrolment: str) -> None:
        """Listen on both; port 0 for any."""
        authority = self.node.authority
        port = listen(self.server, agents, door_for_agents(authority, enrolled=True).credentials())
        await self.server.start()
        self._watch = keeper(self.watch, "agents' silence")
        self.agent_endpoint = f"{agents.rpartition(':')[0]}:{port}"
        port = await self.enrolment.start(enrolment, door_for_agents(authority, enrolled=False).credentials())
        self.enroll_endpoint = f"{enrolment.rpartition(':')[0]}:{port}"
        self.node.cluster.on_beat(self._tell_doors)

    async def stop(self) -> None:
        """Close both."""
        if self._watch is not None:
            self._watch.cancel()
        await self.enrolment.stop()
        await self.server.stop(1.0)

    async def _connect(self, _: Any, context: grpc.aio.ServicerContext) -> None:
        """One session, from its hello to its end."""
        first = _parsed(await context.read())
        if first is None or not first.HasField("hello"):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a session begins with hello")
            return
        host_uuid = first.hello.host_uuid
        refusal = await self._may_connect(host_uuid, identities(context))
        if refusal:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, refusal)
            return
        task = asyncio.current_task()
        session = AgentSession(host_uuid, context.write, task)
        session.last_heard = asyncio.get_running_loop().time()
        # Before anybody knows of the session: the welcome is what comes first.
        session.put(ConnectResponse(welcome=Welcome(heartbeat_seconds=HEARTBEAT_SECONDS, endpoints=self._nodes())))
        self.node.agents.add(session)
        try:
            self.node.agents.resend(host_uuid)
            self.node.hosts.opened(host_uuid)
            await self._read(session, context)
        except asyncio.CancelledError:
            if not session.closed or task is None:
                raise
            task.uncancel()  # it is this end that closes the stream, and in good order
        finally:
            if self.node.agents.remove(session):
                self.node.hosts.lost(host_uuid)
            await session.over()

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
        return "" if identity_of(host) in names else f"the certificate is not that of host {host_uuid}"

    async def _renew(self, session: AgentSession, asked: RenewCertificate) -> None:
        """Another certificate that says what the agent has proven when its session was opened."""
        host = await self.node.hosts.find(session.host_uuid)
        if host is not None:
            rules.check(asked)
            certificate, _ = self.node.authority.sign_request(asked.certificate_request, identity_of(host))
            log.info("host %s: its agent's certificate is renewed", session.host_uuid)
            session.put(ConnectResponse(renewed=CertificateRenewed(certificate=certificate)))

    async def _read(self, session: AgentSession, context: grpc.aio.ServicerContext) -> None:
        """Until the stream ends. A heartbeat that brings nothing new is not even parsed."""
        now, host_uuid = asyncio.get_running_loop().time, session.host_uuid
        try:
            while (data := await context.read()) is not END:
                session.last_heard = now()
                if data != BEAT or session.hypervisor_error:
                    await self._take(session, ConnectRequest.FromString(data))
        except Refused as refused:
            log.warning("host %s: %s", host_uuid, refused.message)
        except DecodeError:
            log.warning("host %s: it has sent what is no message", host_uuid)
        except Exception:
            log.exception("host %s: its message could not be taken", host_uuid)

    async def watch(self) -> None:
        """End sessions of which nothing is heard any more: one timer for all of them."""
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            for session in self.node.agents.open:
                if now() - session.last_heard > HEARTBEAT_SECONDS * MISSED:
                    log.warning("host %s: nothing heard for %d s", session.host_uuid, now() - session.last_heard)
                    session.close()

    async def _take(self, session: AgentSession, message: ConnectRequest) -> None:
        kind = message.WhichOneof("message")
        if kind == "report":
            taken = await self.node.agents.take(message.report, session.host_uuid)
            session.put(recorded(message.report.task_uuid))
            if message.report.succeeded and not taken:
                self.node.hosts.doubted(session.host_uuid)
        elif kind == "progress":
            p = message.progress
            self.node.runner.on_progress(p.task_uuid, p.percent, p.detail, session.host_uuid)
        elif kind == "heartbeat":
            error = message.heartbeat.hypervisor_error
            if error != session.hypervisor_error:
                session.hypervisor_error = error
                self.node.hosts.hypervisor(session.host_uuid, error)
        elif kind == "renew":
            await self._renew(session, message.renew)
        elif kind == "inventory":
            self.node.hosts.observed(session.host_uuid, message.inventory)


def _parsed(data: Any) -> ConnectRequest | None:
    """A message; None for what is none."""
    try:
        return None if data is END else ConnectRequest.FromString(data)
    except DecodeError:
        return None


def identity_of(host: Host) -> str:
    """What the certificate of its agent says. Simulated hosts have one agent for all."""
    return SIMULATOR if host.hypervisor_type == "Simulator" else f"host/{host.uuid}"


def identities(context: grpc.aio.ServicerContext) -> set[str]:
    """What the client's certificate says it is."""
    found: set[str] = set()
    for values in (context.auth_context() or {}).values():
        for value in values:
            text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
            if text.startswith(SCHEME):
                found.add(text.removeprefix(SCHEME))
    return found
