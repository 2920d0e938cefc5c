"""Kinds are closed: aggregate, message, read model and what is shown fit each other."""

from __future__ import annotations

import enum
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from projections.render import enum_number, messages_of
from projections.schema.registry import ReadModels, resource_types
from tools.golden import ours
from zcloud.api.node import load_everything
from zcloud.kernel.aggregate import Companion, by_kind, companions_of, kinds
from zcloud.kernel.resource import Resource
from zcloud.processes.operations.deletion import children_kinds
from zcloud.v1 import options_pb2 as o

load_everything()
# Kinds that nobody asks for by themselves, and why.
UNSEEN = {
    "login_name": "reserves the name of an account",
    "enroll_token": "lets an agent enrol; shown by the job that made it",
}
# Fields of messages that no aggregate holds, and why.
ADDED_ON_THE_WAY = {
    "Session.token": "given once, by the login; the log has its hash only",
    "Job.steps.percent": "progress lies outside the log",
    "Webhook.delivered_position": "moves with each delivery",
}
MODELS = ReadModels.of_api()


def resources() -> list[type[Resource]]:
    return [c for _, c in sorted(kinds().items()) if issubclass(c, Resource) and ours(c)]


def kind_of(message_type: type[Message]) -> str:
    return str(message_type.DESCRIPTOR.GetOptions().Extensions[o.resource].kind)


def test_what_is_unseen_exists() -> None:
    assert set(UNSEEN) <= set(kinds())


@pytest.mark.parametrize("cls", resources(), ids=lambda cls: cls.kind)
def test_every_kind_has_a_message_and_a_read_model(cls: type[Resource]) -> None:
    if cls.kind in UNSEEN:
        assert not messages_of(cls.kind)
        return
    shown = messages_of(cls.kind)
    assert shown, f"no message has (resource).kind {cls.kind}"
    for message_type in shown:
        assert kind_of(message_type) in cls.kinds, "a message extends what the aggregate does not"
        assert kind_of(message_type) in MODELS
    assert cls.kinds == tuple(k for k in cls.kinds if k)


@pytest.mark.parametrize("message_type", resource_types(), ids=lambda t: t.DESCRIPTOR.name)
def test_every_message_has_an_aggregate_that_fills_it(message_type: type[Message]) -> None:
    cls = by_kind(kind_of(message_type))
    concrete = [c for c in resources() if cls.kind in c.kinds] or [cls]
    for one in concrete:
        parts: list[Any] = [one, *companions_of(one.kinds)]
        for field in message_type.DESCRIPTOR.fields:
            if f"{message_type.DESCRIPTOR.name}.{field.name}" in ADDED_ON_THE_WAY:
                continue
            holders = [p for p in parts if hasattr(p, field.name) or field.name in p.defaults]
            assert holders or field.name == "uuid", f"{one.__name__} and its companions have no {field.name}"


@pytest.mark.parametrize("message_type", resource_types(), ids=lambda t: t.DESCRIPTOR.name)
def test_every_resource_begins_with_the_same_fields(message_type: type[Message]) -> None:
    names = [f.name for f in sorted(message_type.DESCRIPTOR.fields, key=lambda f: f.number)][:6]
    assert names == ["uuid", "name", "description", "create_date", "last_op_date", "version"]


@pytest.mark.parametrize("cls", resources(), ids=lambda cls: cls.kind)
def test_every_value_of_an_enum_can_be_shown(cls: type[Resource]) -> None:
    for message_type in messages_of(cls.kind):
        for part in (cls, *companions_of(cls.kinds)):
            for name, default in part.defaults.items():
                field = message_type.DESCRIPTOR.fields_by_name.get(name)
                if field is None or field.type != FieldDescriptor.TYPE_ENUM:
                    continue
                if isinstance(default, enum.Enum):
                    shown = {enum_number(field.enum_type, member.value) for member in type(default)}
                    assert shown <= {v.number for v in field.enum_type.values}
                    assert shown | {0} == {v.number for v in field.enum_type.values}, f"{part.__name__}.{name}"


@pytest.mark.parametrize("cls", resources(), ids=lambda cls: cls.kind)
def test_parents_are_kinds_and_known_by_an_attribute_of_the_read_model(cls: type[Resource]) -> None:
    for parent, attribute in cls.parents.items():
        by_kind(parent)
        name = attribute.partition(".")[0]
        held = [part for part in (cls, *companions_of(cls.kinds)) if name in part.defaults or hasattr(part, name)]
        assert held, f"{cls.__name__} has no {attribute}"
        model = MODELS[cls.kind]
        assert attribute in model.table.c or any(attribute.startswith(side) for side in model.sides), attribute


@pytest.mark.parametrize("cls", resources(), ids=lambda cls: cls.kind)
def test_what_has_children_is_deleted_by_a_job(cls: type[Resource]) -> None:
    """An event alone would leave them orphaned."""
    if [c for c, _ in children_kinds(cls) if ours(c)]:
        assert cls.delete_workflow


def test_companions_stand_beside_kinds_that_exist() -> None:
    for cls in kinds().values():
        if issubclass(cls, Companion) and ours(cls) and cls.of != "resource":
            assert [r for r in resources() if cls.of in r.kinds], cls.__name__


def test_attributes_that_are_shown_belong_to_one_part() -> None:
    """The first that has a name is shown; a second one would be silently hidden."""
    for cls in resources():
        base = set(Resource.defaults) | {"create_date", "last_op_date", "version"}
        seen: dict[str, str] = dict.fromkeys(cls.defaults, cls.__name__)
        for part in companions_of(cls.kinds):
            own = [n for n in part.defaults if n not in base]
            twice = [
                n for n in own if n in seen and any(n in m.DESCRIPTOR.fields_by_name for m in messages_of(cls.kind))
            ]
            assert not twice, f"{part.__name__} and {seen[twice[0]]} both have {twice}"
            seen.update(dict.fromkeys(own, part.__name__))
