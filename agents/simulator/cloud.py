"""The public API as the simulator needs it: its hosts in a cluster, and a token to enrol with."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import grpc

from zcloud.v1.agent_pb2 import IssueEnrollTokenRequest, IssueEnrollTokenResponse
from zcloud.v1.agent_pb2_grpc import AgentServiceStub
from zcloud.v1.simulator_host_pb2 import AddSimulatorHostRequest, QuerySimulatorHostRequest, SimulatorHost
from zcloud.v1.simulator_host_pb2_grpc import SimulatorHostServiceStub

CALL_SECONDS = 60.0


@dataclass(frozen=True)
class Size:
    """How big new hosts are."""

    cpu_num: int
    memory_size: int


class Cloud:
    """One cluster of a cloud, seen with the rights of a token."""

    def __init__(self, channel: grpc.aio.Channel, token: str, cluster_uuid: str) -> None:
        self._hosts = SimulatorHostServiceStub(channel)  # type: ignore[no-untyped-call]
        self._agents = AgentServiceStub(channel)  # type: ignore[no-untyped-call]
        self._cluster_uuid = cluster_uuid
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def hosts(self) -> list[SimulatorHost]:
        """All simulator hosts of the cluster, by name."""
        found: list[SimulatorHost] = []
        request = QuerySimulatorHostRequest(
            filter=f'cluster_uuid = "{self._cluster_uuid}"', order_by="name", page_size=1000
        )
        while True:
            page = await self._hosts.QuerySimulatorHost(request, metadata=self._metadata, timeout=CALL_SECONDS)
            found.extend(page.inventories)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def add_host(self, name: str, size: Size) -> SimulatorHost:
        """A new host. Its job ends when the host has connected, so it is not waited for."""
        request = AddSimulatorHostRequest(
            name=name,
            cluster_uuid=self._cluster_uuid,
            # No address leads to it, so it gets a name that never will (RFC 2606), unlike that of any other.
            management_ip=f"{name}.{self._cluster_uuid}.invalid",
            cpu_num=size.cpu_num,
            memory_size=size.memory_size,
        )
        metadata = (*self._metadata, ("zcloud-request", uuid.uuid4().hex))
        response = await self._hosts.AddSimulatorHost(request, metadata=metadata, timeout=CALL_SECONDS)
        added: SimulatorHost = response.inventory
        return added

    async def issue_token(self) -> IssueEnrollTokenResponse:
        """What a simulator process enrols with, once."""
        issued: IssueEnrollTokenResponse = await self._agents.IssueEnrollToken(
            IssueEnrollTokenRequest(), metadata=self._metadata, timeout=CALL_SECONDS
        )
        return issued


def missing_names(present: list[str], wanted: int) -> list[str]:
    """Names for so many more hosts that there are as many as wanted: the first sim-0001, sim-0002 … that are free."""
    taken = set(present)
    names: list[str] = []
    number = 1
    while len(present) + len(names) < wanted:
        name = f"sim-{number:04d}"
        if name not in taken:
            names.append(name)
        number += 1
    return names
