"""The API is closed: every RPC is declared, bound, limited and called by a test."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from zcloud.api import answers, rules
from zcloud.api.node import Node, load_everything
from zcloud.api.rpcs import Rpc, rpcs
from zcloud.kernel.aggregate import by_kind
from zcloud.v1 import options_pb2 as o

load_everything()
answers.load_handlers()
TESTS = Path(__file__).parents[1]
# Handled by the agents' door, which is no part of the pipeline.
AGENTS = ("Connect",)
# Texts that look like secrets and are none.
NO_SECRETS = re.compile(r"page_token|key_id|host_key|public_key|.*_hash|ssh_key_name")
SECRETS = re.compile(r".*(password|secret|private_key|token|credential).*")
# Uuids in requests that name no resource of one kind, and why.
FREE_UUIDS = {
    "resource_uuid": "chosen by the caller, or of any kind",
    "resource_uuids": "of any kind",
    "DetachIsoFromVmInstanceRequest.iso_uuid": "an ISO that is gone may still have to be taken out",
    **dict.fromkeys(
        (f"{verb}ImageRequest.backup_storage_uuids" for verb in ("Delete", "Recover", "Expunge")),
        "where the image has copies; a storage that its owner cannot see otherwise",
    ),
    "cd_rom_uuid": "of a part of the VM that the call is about",
    "RecoveryImageFromImageStoreBackupStorageRequest.image_uuids": "of images that the cloud does not know yet",
    "DeleteTagRequest.uuid": "of a tag or of a user tag",
    "ShareResourceRequest.account_uuids": "a reference, see the proto",
    "RevokeResourceSharingRequest.account_uuids": "an account that is gone may be taken off the list",
}


def every() -> list[Rpc]:
    return [rpc for name, rpc in sorted(rpcs().items()) if name not in AGENTS]


@pytest.mark.parametrize("rpc", every(), ids=lambda rpc: rpc.name)
def test_every_rpc_is_declared_and_has_a_handler(rpc: Rpc) -> None:
    assert re.fullmatch(r"[a-z0-9_]+:[a-z0-9_]+", rpc.permission)
    assert rpc.access != o.ACCESS_UNSPECIFIED
    kind, handler = answers.bind(rpc)
    assert callable(handler)
    assert (kind == "stream") is rpc.streams


def test_rpcs_that_share_a_permission_are_alike() -> None:
    """Two ways to add one thing may be one right; a right that means two things may not."""
    found: dict[str, set[tuple[str, int]]] = {}
    for rpc in rpcs().values():
        found.setdefault(rpc.permission, set()).add((rpc.kind, rpc.access))
    assert not {permission: uses for permission, uses in found.items() if len(uses) > 1}


@pytest.mark.parametrize(
    "spoilt",
    [
        {"permission": ""},
        {"access": o.ACCESS_UNSPECIFIED},
        {"name": "FrobnicateZone"},
    ],
    ids=["no permission", "no access", "no handler"],
)
def test_a_server_with_an_undeclared_rpc_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: dict[str, Any]
) -> None:
    wrong = {**rpcs(), "UpdateZone": dataclasses.replace(rpcs()["UpdateZone"], **spoilt)}
    monkeypatch.setattr(answers, "rpcs", lambda: wrong)

    async def go() -> None:
        node = Node(tmp_path)
        try:
            with pytest.raises(answers.Undeclared, match=spoilt.get("name", "UpdateZone")):
                await node.start("127.0.0.1:0")
        finally:
            await node.stop()

    asyncio.run(go())


def texts_of_tests() -> str:
    """Tests that speak to a server; those of the closed world and of the stand-in server of the CLI call nothing."""
    apart = ("closed_world", "projections", "history", "kernel")
    files = [p for ext in ("py", "js") for p in TESTS.rglob(f"*.{ext}") if "node_modules" not in p.parts]
    return "\n".join(p.read_text() for p in files if p.relative_to(TESTS).parts[0] not in apart)


def test_every_rpc_is_called_by_a_test() -> None:
    text = texts_of_tests()
    called = set(re.findall(r"[A-Za-z0-9]+", text))
    missing = [name for name in rpcs() if name not in called and name not in AGENTS]
    assert not missing, f"no test names {missing}"


def requests() -> list[Rpc]:
    return [rpc for rpc in every() if rpc.access != o.ACCESS_AGENT]


def fields(descriptor: Descriptor, prefix: str = "") -> list[tuple[str, FieldDescriptor]]:
    """All fields of a request, also of the messages within; google's own have no rules of ours."""
    found = []
    for field in descriptor.fields:
        found.append((f"{prefix}{field.name}", field))
        if field.message_type is not None and field.message_type.full_name.startswith("zcloud."):
            found += fields(field.message_type, f"{prefix}{field.name}.")
    return found


def options(field: FieldDescriptor) -> Any:
    return field.GetOptions().Extensions[o.rules]


@pytest.mark.parametrize("rpc", requests(), ids=lambda rpc: rpc.name)
def test_every_field_of_a_request_is_limited(rpc: Rpc) -> None:
    for path, field in fields(rpc.request.DESCRIPTOR):
        # A message's own limit bounds the bytes of a stream.
        assert field.type != FieldDescriptor.TYPE_BYTES or rpc.takes_stream
        assert field.type not in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)
        if field.type != FieldDescriptor.TYPE_STRING:
            continue
        rule = rules.Rule(field)
        longest = options(field).max_length or rules.DEFAULT_LENGTH
        assert longest <= 1 << 20, path
        assert rule.check("x" * (longest + 1)), f"{rpc.name}.{path} takes any length"
        if not field.is_repeated and path == field.name:
            request = rpc.request(**{field.name: "x" * (longest + 1)})
            assert any(
                name == path for rule in rules.rules_of(request.DESCRIPTOR) for name, _ in rule.violations(request, "")
            )


@pytest.mark.parametrize("rpc", requests(), ids=lambda rpc: rpc.name)
def test_every_uuid_in_a_request_is_one_and_names_a_kind(rpc: Rpc) -> None:
    for path, field in fields(rpc.request.DESCRIPTOR):
        name = field.name
        if not (name == "uuid" or name.endswith(("_uuid", "_uuids"))):
            assert not options(field).references, f"{rpc.name}.{path}: only uuids refer"
            continue
        assert options(field).format == o.FORMAT_UUID, f"{rpc.name}.{path}"
        if options(field).references:
            by_kind(options(field).references)
        elif not rpc.reads:
            free = name in FREE_UUIDS or f"{rpc.request.DESCRIPTOR.name}.{path}" in FREE_UUIDS
            assert free, f"{rpc.name}.{path} does not say what it refers to"


@pytest.mark.parametrize("rpc", requests(), ids=lambda rpc: rpc.name)
def test_values_that_are_meant_are_values_of_the_enum(rpc: Rpc) -> None:
    """What becomes of a state is asked by one enum everywhere, and each kind says which of its values it knows."""
    for path, field in fields(rpc.request.DESCRIPTOR):
        meant = set(options(field).values)
        assert not meant or meant <= set(field.enum_type.values_by_name), f"{rpc.name}.{path}"
        if field.enum_type is not None and field.enum_type.name == "StateEvent":
            known = {"STATE_EVENT_ENABLE", "STATE_EVENT_DISABLE"}
            assert meant - {"STATE_EVENT_MAINTAIN"} == known, f"{rpc.name}.{path}"
            assert ("STATE_EVENT_MAINTAIN" in meant) is (rpc.name == "ChangePrimaryStorageState")


def messages(descriptor: Descriptor, seen: set[str]) -> list[Descriptor]:
    if descriptor.full_name in seen or not descriptor.full_name.startswith("zcloud."):
        return []
    seen.add(descriptor.full_name)
    found = [descriptor]
    for field in descriptor.fields:
        if field.message_type is not None:
            found += messages(field.message_type, seen)
    return found


def test_what_looks_like_a_secret_is_marked_as_one() -> None:
    seen: set[str] = set()
    all_messages = [
        m for rpc in rpcs().values() for t in (rpc.request, rpc.response) for m in messages(t.DESCRIPTOR, seen)
    ]
    unmarked = [
        f"{message.name}.{field.name}"
        for message in all_messages
        for field in message.fields
        if field.type == FieldDescriptor.TYPE_STRING
        and SECRETS.fullmatch(field.name)
        and not NO_SECRETS.fullmatch(field.name.removeprefix("next_"))
        and not options(field).secret
    ]
    assert not unmarked


@pytest.mark.parametrize("rpc", every(), ids=lambda rpc: rpc.name)
def test_answers_have_their_standard_form(rpc: Rpc) -> None:
    names = rpc.response.DESCRIPTOR.fields_by_name
    if rpc.name.startswith("Query") and not rpc.streams:
        assert {"inventories", "total", "next_page_token"} <= set(names)
        assert rpc.reads
    elif not rpc.reads and rpc.kind and rpc.access == o.ACCESS_ACCOUNT and "plan" in names:
        assert "inventory" in names or "inventories" in names
    if rpc.name.startswith("Get") and rpc.kind:
        assert rpc.reads
