"""LogInByAccount, LogOut, RenewSession."""

from __future__ import annotations

from typing import Any

from zcloud.api import rules
from zcloud.api.call import Call
from zcloud.api.handlers import command, query
from zcloud.domain.identity import session as sessions
from zcloud.domain.identity.account import Account, LoginName
from zcloud.domain.identity.passwords import verify
from zcloud.domain.identity.session import Session
from zcloud.kernel.context import Actor, Context
from zcloud.kernel.errors import Code, Reason, Refused
from zcloud.kernel.ids import token
from zcloud.kernel.unit import Unit
from zcloud.v1 import session_pb2 as pb


@query("LogInByAccount")
async def log_in(call: Call, request: pb.LogInByAccountRequest) -> pb.LogInByAccountResponse:
    """A new session each time; a wrong name and a wrong password get the same words."""
    rules.check(request)
    cloud = call.node.cloud
    name = await cloud.find(LoginName, *LoginName.uuids_of(request.account_name))
    known = await cloud.find(Account, name.account) if name is not None else None
    if not await verify(known.password_hash if known else "", request.password) or known is None:
        raise Refused(
            Code.UNAUTHENTICATED, Reason.WRONG_CREDENTIALS, "there is no such account, or the password is wrong"
        )
    made = token()
    uuids = sessions.uuids_of(made)

    async def open_session(unit: Unit) -> Session:
        session = await unit.new(Session, uuids.uuid)
        session.create(account_uuid=known.uuid, account_name=known.name, now=unit.now, source=call.actor.source)
        return session

    actor = Actor(known.uuid, known.name, uuids.uuid, call.actor.source)
    context = Context(actor=actor, origin=call.rpc.name, correlation_id=call.context.correlation_id)
    decision = await cloud.decide(context, open_session)
    call.records = decision.records
    session: Session = decision.value
    response = pb.LogInByAccountResponse()
    inventory = response.inventory
    inventory.uuid, inventory.name, inventory.token = session.uuid, session.name, made
    inventory.account_uuid, inventory.account_name = known.uuid, known.name
    inventory.version = session.version
    inventory.create_date.FromMicroseconds(session.create_date)
    inventory.last_op_date.FromMicroseconds(session.last_op_date)
    inventory.expired_date.FromMicroseconds(session.expired_date)
    return response


@command("LogOut")
async def log_out(call: Call, unit: Unit, request: Any) -> Session:
    """The session of this call ends now."""
    session = await unit.get(Session, call.actor.session_uuid)
    session.remove()
    return session


@command("RenewSession")
async def renew_session(call: Call, unit: Unit, request: Any) -> Session:
    """Two hours more from now."""
    session = await unit.get(Session, call.actor.session_uuid)
    session.renew(unit.now)
    return session
