"""Who may: sessions to actors, RPCs by their declared access, resources by owner and sharing. Deny by default."""

from __future__ import annotations

from zcloud.api.rpcs import Rpc
from zcloud.domain.identity import session as sessions
from zcloud.domain.identity.account import ADMIN_UUID, Account
from zcloud.domain.identity.session import Session
from zcloud.kernel.cloud import Cloud
from zcloud.kernel.context import Actor
from zcloud.kernel.errors import Code, Reason, Refused, not_found
from zcloud.kernel.resource import Resource
from zcloud.v1 import options_pb2 as o


async def actor_of(cloud: Cloud, token: str, source: str) -> Actor:
    """The account behind a token; nobody when there is no token. Raises UNAUTHENTICATED."""
    if not token:
        return Actor(source=source)
    session = await cloud.find(Session, *sessions.uuids_of(token))
    if session is None or not session.valid(cloud.clock.now()):
        raise Refused(Code.UNAUTHENTICATED, Reason.NOT_LOGGED_IN, "the session is unknown or over; log in again")
    account = await cloud.load(session.account_uuid)
    if not isinstance(account, Account) or not account.exists:
        raise Refused(Code.UNAUTHENTICATED, Reason.NOT_LOGGED_IN, "the account of this session is gone")
    return Actor(account.uuid, account.name, session.uuid, source, account.uuid == ADMIN_UUID)


def check_rpc(rpc: Rpc, actor: Actor) -> None:
    """Whether the actor may call it at all."""
    if rpc.access == o.ACCESS_PUBLIC:
        return
    if not actor.account_uuid:
        raise Refused(
            Code.UNAUTHENTICATED, Reason.NOT_LOGGED_IN, f'{rpc.name} needs "authorization: Bearer <token>" of a login'
        )
    if rpc.access == o.ACCESS_ACCOUNT or (rpc.access == o.ACCESS_ADMIN and actor.is_admin):
        return
    raise Refused(
        Code.PERMISSION_DENIED,
        Reason.NOT_ALLOWED,
        f"{rpc.name} needs the permission {rpc.permission}, which {actor.account_name} has not",
        permission=rpc.permission,
    )


def may_see(actor: Actor, resource: Resource) -> bool:
    """Own, shared, or all for the admin."""
    return (
        actor.is_admin
        or resource.account_uuid == actor.account_uuid
        or resource.shared_to_public
        or actor.account_uuid in resource.shared_with
    )


def must_see(actor: Actor, resource: Resource, kind: str) -> None:
    """A foreign resource is refused with the words for an absent one."""
    if not may_see(actor, resource):
        raise not_found(kind, resource.uuid)


def must_own(actor: Actor, resource: Resource, kind: str) -> None:
    """To change it: what is not seen is not found, what is only shared is not allowed."""
    must_see(actor, resource, kind)
    if not actor.is_admin and resource.account_uuid != actor.account_uuid:
        raise Refused(
            Code.PERMISSION_DENIED,
            Reason.NOT_ALLOWED,
            f'{resource.kind} "{resource.name}" is shared with you; only its owner may change it',
            resource=(kind, resource.uuid),
        )
