"""What is not standard about accounts: passwords are hashed, names are unique, resources are shared."""

from __future__ import annotations

from typing import Any

from zcloud.api import access
from zcloud.api.call import Call
from zcloud.api.handlers import command
from zcloud.domain.identity.account import Account, LoginName
from zcloud.domain.identity.passwords import hash_password
from zcloud.domain.identity.quotas import open_account
from zcloud.kernel.errors import Code, Reason, Refused, not_found, precondition
from zcloud.kernel.resource import Resource
from zcloud.kernel.unit import Unit
from zcloud.processes.identity.ownership import hand_over
from zcloud.v1 import account_pb2 as pb


async def _take_name(unit: Unit, name: str, account: str) -> None:
    uuids = LoginName.uuids_of(name)
    taken = await unit.find(LoginName, *uuids)
    if taken is not None:
        raise Refused(Code.ALREADY_EXISTS, Reason.NAME_TAKEN, f'the account name "{name}" is taken', name=name)
    (await unit.new(LoginName, uuids.uuid)).create(name=name, account=account)


@command("CreateAccount")
async def create_account(call: Call, unit: Unit, request: pb.CreateAccountRequest) -> Account:
    """A normal account."""
    account = await unit.new(Account, request.resource_uuid)
    await _take_name(unit, request.name, account.uuid)
    hashed = await hash_password(request.password)
    account.create(name=request.name, description=request.description, password_hash=hashed)
    await open_account(unit, account)
    return account


@command("UpdateAccount")
async def update_account(call: Call, unit: Unit, request: pb.UpdateAccountRequest) -> Account:
    """A new name must be free; a new password ends no session."""
    account = await unit.get(Account, request.uuid)
    if request.HasField("name") and request.name != account.name:
        before = LoginName.uuids_of(account.name)
        if LoginName.uuids_of(request.name) != before:
            await _take_name(unit, request.name, account.uuid)
            (await unit.get(LoginName, *before)).remove()
        account.update(name=request.name)
    if request.HasField("description"):
        account.update(description=request.description)
    if request.HasField("password"):
        account.change_password(await hash_password(request.password))
    return account


async def _shared(call: Call, unit: Unit, request: Any, revoke: bool) -> Any:
    response = call.rpc.response()
    for uuid in request.resource_uuids:
        found = await unit.find(Resource, uuid)
        if found is None:
            raise not_found("resource", uuid)
        access.must_own(call.actor, found, "resource")
        if not revoke and not found.shareable:
            text = f'{found.kind} "{found.name}" cannot be shared; offerings, images, networks and tags can'
            raise precondition(Reason.NOT_SUPPORTED, text, resource_kind=found.kind)
        if revoke:
            everyone = request.to_public or not request.account_uuids
            found.revoke_sharing(tuple(request.account_uuids), everyone)
        else:
            found.share(tuple(request.account_uuids), request.to_public)
        response.inventories.add(
            resource_uuid=uuid,
            resource_kind=found.kind,
            account_uuids=sorted(found.shared_with),
            to_public=found.shared_to_public,
        )
    return response


@command("ShareResource")
async def share_resource(call: Call, unit: Unit, request: pb.ShareResourceRequest) -> pb.ShareResourceResponse:
    """To accounts or to all (ACC-09)."""
    shared: pb.ShareResourceResponse = await _shared(call, unit, request, revoke=False)
    return shared


@command("RevokeResourceSharing")
async def revoke_resource_sharing(
    call: Call, unit: Unit, request: pb.RevokeResourceSharingRequest
) -> pb.RevokeResourceSharingResponse:
    """From the accounts named, from the public, or from everyone."""
    revoked: pb.RevokeResourceSharingResponse = await _shared(call, unit, request, revoke=True)
    return revoked


@command("ChangeResourceOwner")
async def change_resource_owner(
    call: Call, unit: Unit, request: pb.ChangeResourceOwnerRequest
) -> pb.ChangeResourceOwnerResponse:
    """All at once; the new owner's quotas must have room for it (ACC-08)."""
    del call
    resource = await unit.usable(Resource, request.resource_uuid)
    response = pb.ChangeResourceOwnerResponse()
    for found in await hand_over(unit, resource, request.account_uuid):
        response.inventories.add(resource_uuid=found.uuid, resource_kind=found.kind, account_uuid=found.account_uuid)
    return response
