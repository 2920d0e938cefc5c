"""QueryManagementNode: the nodes of this cloud, what each sees to, and how well their store is (MN-02)."""

from __future__ import annotations

import asyncio
import time

from projections.query import token
from projections.query.errors import QueryError
from zcloud.api import rules
from zcloud.api.call import Call
from zcloud.api.handlers import query
from zcloud.api.reading import refusal_of
from zcloud.kernel.errors import Refused
from zcloud.kernel.leases import Member
from zcloud.v1 import management_node_pb2 as pb

PAGE = 100
# What its page tokens are good for.
QUERY = token.query_hash("management_node")


@query("QueryManagementNode")
async def query_management_node(call: Call, request: pb.QueryManagementNodeRequest) -> pb.QueryManagementNodeResponse:
    """A store that is away is told of, with the nodes as they were known last."""
    rules.check(request)
    after = _after(request.page_token)
    health = await asyncio.to_thread(_health, call)
    try:
        members = await call.node.cluster.members()
    except Refused as refused:
        members, health.well, health.error = call.node.cluster.known, False, refused.message
    left = sorted((m for m in members if m.name > after), key=lambda m: m.name)
    page = left[: request.page_size or PAGE]
    response = pb.QueryManagementNodeResponse(store=health, total=len(members))
    response.inventories.extend(_node(call, member, health.events) for member in page)
    if len(page) < len(left):
        response.next_page_token = token.encode(QUERY, page[-1].name, [])
    return response


def _after(page_token: str) -> str:
    """The last name of the page before."""
    if not page_token:
        return ""
    try:
        return token.decode(page_token, QUERY, [])[0]
    except QueryError as error:
        raise refusal_of(error) from error


def _health(call: Call) -> pb.StoreHealth:
    recorder = call.node.recorder
    made = pb.StoreHealth(kind="postgresql" if recorder.shared else "sqlite", events=call.node.cloud.log.head)
    began = time.perf_counter_ns()
    try:
        made.events = recorder.head()
        made.well = True
    except Refused as refused:
        made.error = refused.message
    made.latency.FromMicroseconds((time.perf_counter_ns() - began) // 1000)
    return made


def _node(call: Call, member: Member, events: int) -> pb.ManagementNode:
    own = member.instance == call.node.cloud.leases.instance
    facts = call.node.cluster.facts() if own else member.facts
    made = pb.ManagementNode(
        name=member.name,
        status=pb.ManagementNode.STATUS_ALIVE if member.alive else pb.ManagementNode.STATUS_LOST,
        instance=member.instance,
        address=facts.get("address", ""),
        agent_endpoint=facts.get("agent_endpoint", ""),
        enroll_endpoint=facts.get("enroll_endpoint", ""),
        host_name=facts.get("host_name", ""),
        process=facts.get("process", 0),
        version=facts.get("version", ""),
        partitions=member.partitions,
        agents=facts.get("agents", 0),
        log_lag=max(0, (events if own else member.position) - facts.get("position", 0)),
        view_lag=max(0, facts.get("position", 0) - facts.get("shown_position", 0)),
        answers=own,
    )
    made.start_date.FromMicroseconds(member.started)
    made.heartbeat_date.FromMicroseconds(member.seen)
    return made
