"""For every field of every RPC, from its rules: what is wrong is refused by name, and nothing is changed."""

from __future__ import annotations

import sqlite3

import pytest
from google.protobuf.descriptor import FieldDescriptor

from tests.api.conftest import Furnished
from tests.api.requests import ABSENT, good_message, put, references, rules, secrets, wrongs
from tests.support.cloud import ApiError, Client
from zcloud.api.rpcs import Rpc, rpcs
from zcloud.v1 import options_pb2 as o

UNARY = [
    rpc
    for name, rpc in sorted(rpcs().items())
    if rpc.access != o.ACCESS_AGENT and name not in ("Enroll", "LogInByAccount") and not rpc.streams
]
MUTATING = [rpc for rpc in UNARY if not rpc.reads]


def written_by(furnished: Furnished, rpc: Rpc) -> int:
    """How many events this RPC has ever caused."""
    with sqlite3.connect(f"file:{furnished.server.directory}/log.db?mode=ro", uri=True) as log:
        return int(log.execute("SELECT count(*) FROM events WHERE origin=?", (rpc.name,)).fetchone()[0])


def refusal(client: Client, name: str, request: object) -> ApiError:
    with pytest.raises(ApiError) as refused:
        client.send(name, request)  # type: ignore[arg-type]
    return refused.value


@pytest.mark.parametrize("rpc", UNARY, ids=lambda rpc: rpc.name)
def test_what_is_wrong_with_a_field_is_refused_by_its_name(furnished: Furnished, rpc: Rpc) -> None:
    before = written_by(furnished, rpc)
    for wrong in wrongs(rpc):
        request = good_message(rpc.request, furnished.known)
        wrong.spoil(request)
        error = refusal(furnished.admin, rpc.name, request)
        assert error.code == "INVALID_ARGUMENT", f"{wrong}: {error}"
        assert wrong.path in error.fields, f"{wrong}: {error}"
        assert error.reason, f"{wrong}: {error}"
        assert wrong.path.partition("[")[0] in error.message, f"{wrong}: {error}"
    assert written_by(furnished, rpc) == before


@pytest.mark.parametrize("rpc", UNARY, ids=lambda rpc: rpc.name)
def test_every_wrong_field_is_named_at_once(furnished: Furnished, rpc: Rpc) -> None:
    required = [f.name for f in rpc.request.DESCRIPTOR.fields if rules(f).required]
    if not required:
        pytest.skip("nothing is required")
    assert refusal(furnished.admin, rpc.name, rpc.request()).fields[: len(required)] == required


@pytest.mark.parametrize("rpc", MUTATING, ids=lambda rpc: rpc.name)
def test_what_is_referred_to_and_absent_is_not_found(furnished: Furnished, rpc: Rpc) -> None:
    before = written_by(furnished, rpc)
    for field in references(rpc.request.DESCRIPTOR):
        request = good_message(rpc.request, furnished.known)
        put(request, field, ABSENT)
        error = refusal(furnished.admin, rpc.name, request)
        assert error.code == "NOT_FOUND", f"{field.name}: {error}"
        about = error.details["ResourceInfo"]
        assert about.resource_name == ABSENT
        others = {rules(f).references for f in references(rpc.request.DESCRIPTOR) if f is not field}
        assert about.resource_type in {rules(field).references, *(others - set(furnished.known))}
        assert ABSENT in error.message
    assert written_by(furnished, rpc) == before


@pytest.mark.parametrize("rpc", MUTATING, ids=lambda rpc: rpc.name)
def test_a_reference_to_another_kind_is_not_found(furnished: Furnished, rpc: Rpc) -> None:
    for field in references(rpc.request.DESCRIPTOR):
        kind = rules(field).references
        other = furnished.known["zone" if kind != "zone" else "cluster"]
        request = good_message(rpc.request, furnished.known)
        put(request, field, other)
        error = refusal(furnished.admin, rpc.name, request)
        assert error.code == "NOT_FOUND", f"{field.name}: {error}"


@pytest.mark.parametrize("rpc", UNARY, ids=lambda rpc: rpc.name)
def test_bytes_that_are_no_request(furnished: Furnished, rpc: Rpc) -> None:
    before = written_by(furnished, rpc)
    garbage = [b"\xff\xff\xff\xff", b"\x0a\xff", b"\x0b" * 200]
    texts = [f for f in rpc.request.DESCRIPTOR.fields if f.type == FieldDescriptor.TYPE_STRING and f.number < 16]
    garbage += [bytes([f.number << 3 | 2, 2]) + b"\xff\xfe" for f in texts]
    for data in garbage:
        error = refusal(furnished.admin, rpc.name, data)
        assert error.code == "INVALID_ARGUMENT", (data, error)
        assert error.reason == "INVALID_FIELD"
    assert written_by(furnished, rpc) == before


@pytest.mark.parametrize("rpc", [r for r in UNARY if secrets(r.request.DESCRIPTOR)], ids=lambda rpc: rpc.name)
def test_a_refusal_never_says_a_secret(furnished: Furnished, rpc: Rpc) -> None:
    for field in secrets(rpc.request.DESCRIPTOR):
        for secret in ("hunter2" * 5000, "hunter2\x00hunter2"):
            request = good_message(rpc.request, furnished.known)
            put(request, field, secret)
            assert "hunter2" not in refusal(furnished.admin, rpc.name, request).told


METADATA = [
    ("zcloud-request", "x" * 256),
    ("zcloud-reason", "x" * 1100),
    ("zcloud-validate-only", "perhaps"),
    ("zcloud-if-version", "-1"),
    ("zcloud-if-version", "new"),
    ("authorization", "Basic abc"),
]


@pytest.mark.parametrize(("key", "value"), METADATA)
def test_metadata_that_is_wrong_is_refused_by_its_name(furnished: Furnished, key: str, value: str) -> None:
    with pytest.raises(ApiError) as refused:
        furnished.admin.call("CreateZone", {key: value}, name="never")
    assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", "INVALID_METADATA")
    assert refused.value.fields == [key]


QUERIES = [rpc for rpc in UNARY if rpc.name.startswith("Query")]


@pytest.mark.parametrize("rpc", QUERIES, ids=lambda rpc: rpc.name)
def test_a_query_that_cannot_be_understood_names_its_argument(furnished: Furnished, rpc: Rpc) -> None:
    known = rpc.request.DESCRIPTOR.fields_by_name
    # What is no resource need not have the language of queries: the nodes themselves come in pages only.
    assert "filter" in known or not rpc.kind, rpc.name
    for argument, text in (
        ("filter", "name ="),
        ("filter", "no_such_field = 1"),
        ("filter", "name = 'a' AND name = 'b' OR name = 'c'"),
        ("filter", "(" * 2000),
        ("order_by", "no_such_field"),
        ("order_by", "name sideways"),
        ("page_token", "made up"),
    ):
        if argument not in known:
            continue
        with pytest.raises(ApiError) as refused:
            furnished.admin.call(rpc.name, **{argument: text})
        assert refused.value.code == "INVALID_ARGUMENT", (argument, text, refused.value)
        assert refused.value.fields == [argument]
    if "read_mask" in known:
        request = rpc.request()
        request.read_mask.paths.append("no_such_field")  # type: ignore[attr-defined]
        error = refusal(furnished.admin, rpc.name, request)
        assert (error.code, error.fields) == ("INVALID_ARGUMENT", ["read_mask"])
