"""Wherever a caller may choose the uuid of something new, none may be chosen that the cloud derives."""

from __future__ import annotations

import ast
import uuid
from pathlib import Path

import pytest

import zcloud
from zcloud.api import rules
from zcloud.api.rpcs import Rpc, rpcs
from zcloud.kernel.errors import Refused
from zcloud.kernel.ids import derive, derived, is_derived

ROOT = Path(zcloud.__file__).parent
# What Unit.new is given: chosen by callers; derived; there before anybody calls; found on a store, see take_in.
WAYS = {
    "request.resource_uuid",
    "uuids.uuid",
    "uuids_of(made).uuid",
    "uuids_of(token_of(unit, job)).uuid",
    "setting.uuids.uuid",
    "ADMIN_UUID",
    "found.uuid",
}
# Where resource_uuid names what is there already, derived or not.
NAMES = {
    "ChangeResourceOwner",
    "CreateUserTag",
    "DeleteResourceConfig",
    "GetHistory",
    "GetResourceConfig",
    "UpdateResourceConfig",
}


def taking() -> list[Rpc]:
    return [rpc for _, rpc in sorted(rpcs().items()) if "resource_uuid" in rpc.request.DESCRIPTOR.fields_by_name]


def told(rpc: Rpc, chosen: str) -> dict[str, str]:
    try:
        rules.check(rpc.request(resource_uuid=chosen))
    except Refused as refused:
        return dict(refused.fields)
    return {}


@pytest.mark.parametrize("rpc", taking(), ids=lambda rpc: rpc.name)
def test_no_rpc_lets_it_be_chosen(rpc: Rpc) -> None:
    refused = told(rpc, derived("login_name", "carol").uuid).get("resource_uuid", "")
    assert ("derives itself" in refused) is (rpc.name not in NAMES)
    # Those of all other versions are anybody's, and nearly all that have none.
    for chosen in (derive("login_name", "carol"), "b" * 32, "0" * 32, f"{'0' * 12}8{'0' * 19}"):
        assert "resource_uuid" not in told(rpc, chosen)


def test_what_is_new_gets_its_uuid_in_known_ways() -> None:
    """By chance, by the caller in the field above, or derived; another way to choose one must be refused as well."""
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())) if "unit.new(" in path.read_text() else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "unit.new" and len(node.args) > 1:
                found.add(ast.unparse(node.args[1]))
    assert found == WAYS


def test_derived_uuids_differ_and_are_known() -> None:
    made = {derived("a", str(n)) for n in range(1000)}
    assert len({one.uuid for one in made}) == 1000 == len({one.before for one in made})
    assert all(is_derived(one.uuid) and not is_derived(one.before) for one in made)
    assert {uuid.UUID(one.uuid).version for one in made} == {8}
    assert {uuid.UUID(one.uuid).variant for one in made} == {uuid.RFC_4122}
    assert derived("a", "1") == derived("a", "1") != derived("a1")
