"""Enroll and IssueEnrollToken: how an agent comes by its certificate."""

from __future__ import annotations

from typing import Any

from zcloud.api import rules
from zcloud.api.call import Call
from zcloud.api.handlers import command, query
from zcloud.api.pki import key_hash, read_request
from zcloud.domain.infrastructure.enroll_token import EnrollToken, uuids_of
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.ids import token
from zcloud.kernel.unit import Unit
from zcloud.v1 import agent_pb2 as pb


@command("IssueEnrollToken")
async def issue_enroll_token(call: Call, unit: Unit, request: Any) -> pb.IssueEnrollTokenResponse:
    """For a simulator process; hosts get theirs from the job that adds them."""
    made = token()
    (await unit.new(EnrollToken, uuids_of(made).uuid)).create(identity="simulator", now=unit.now)
    return pb.IssueEnrollTokenResponse(token=made, **call.node.doors())


@query("Enroll")
async def enroll(call: Call, request: pb.EnrollRequest) -> pb.EnrollResponse:
    """One certificate for one token; the same key may ask again."""
    rules.check(request)
    _, public_key = read_request(request.certificate_request)

    async def use(unit: Unit) -> str:
        found = await unit.find(EnrollToken, *uuids_of(request.token))
        if found is None:
            text = "the enrolment token is not known here"
            raise Refused(Code.PERMISSION_DENIED, Reason.NOT_ALLOWED, text)
        found.use(key_hash(public_key), unit.now)
        return found.identity

    decision = await call.node.cloud.decide(call.context, use)
    call.records, identity = decision.records, decision.value
    certificate, _ = call.node.authority.sign_request(request.certificate_request, identity)
    return pb.EnrollResponse(certificate=certificate, ca_certificate=call.node.authority.pem.decode())
