"""What must be there before the first call: the admin account, its password in the directory, and the settings."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

from zcloud.api.identity.quota import accounts_to_open, open_anew
from zcloud.domain.identity.account import ADMIN_UUID, Account, AccountType, LoginName
from zcloud.domain.identity.passwords import hash_password
from zcloud.domain.operations.global_config import make_known
from zcloud.kernel.context import SYSTEM, Context
from zcloud.kernel.files import make_once
from zcloud.kernel.ids import token
from zcloud.kernel.unit import Unit

NAME = "admin"


async def run(node: Any) -> None:
    """The account once; settings and quotas at each start, since another version of the software may know others."""
    await _make_admin(node)
    context = Context(actor=SYSTEM, origin="first_start", reason="settings that this version knows")
    there = await node.views.where("global_config")
    await node.cloud.decide(context, lambda unit: make_known(unit, ADMIN_UUID, there))
    for uuid in await accounts_to_open(node.views):
        await node.cloud.decide(context, partial(open_anew, account_uuid=uuid))


async def _make_admin(node: Any) -> None:
    """Make the admin account, once; the password file comes first, so that a crash between loses nobody."""
    path: Path = node.directory / "admin-password"
    uuids = LoginName.uuids_of(NAME)
    # What came first there tells the age of the log; who made what since does not.
    first = node.recorder.read_stream(uuids.before, upto=1)
    node.cloud.older = bool(first) and first[0].topic == LoginName.Created.topic
    if await node.cloud.load(ADMIN_UUID) is not None:
        return
    password = _write(path, token(18))
    hashed = await hash_password(password)

    async def make(unit: Unit) -> bool:
        if await unit.find(Account, ADMIN_UUID) is not None:
            return False
        account = await unit.new(Account, ADMIN_UUID)
        account.create(name=NAME, password_hash=hashed, type=AccountType.ADMIN)
        name = await unit.new(LoginName, uuids.uuid)
        name.create(name=NAME, account=ADMIN_UUID)
        return True

    context = Context(actor=SYSTEM, origin="first_start", reason="the cloud's first start")
    if not (await node.cloud.decide(context, make)).value:
        await asyncio.to_thread(path.unlink, True)  # another node has started first, and has the password


def _write(path: Path, password: str) -> str:
    if path.exists() and not path.read_text().strip():
        path.unlink()  # nobody may log in with nothing
    return make_once(path, f"{password}\n".encode()).decode().strip()
