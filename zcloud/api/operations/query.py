"""DescribeQuery: what a filter on each kind can name."""

from __future__ import annotations

from google.protobuf.message import Message

from projections.query.describe import FieldDescription, KindDescription, RelationDescription, describe
from projections.query.errors import alternatives
from projections.query.group import SUMMABLE
from zcloud.api import rules
from zcloud.api.call import Call
from zcloud.api.handlers import query
from zcloud.kernel.aggregate import snake
from zcloud.kernel.errors import invalid
from zcloud.v1 import query_pb2 as pb


@query("DescribeQuery")
async def describe_query(call: Call, request: pb.DescribeQueryRequest) -> Message:
    """The same for everybody: it tells of kinds, not of resources."""
    rules.check(request)
    models = call.node.models
    known = sorted(model.kind for model in models)
    wanted = kind_named(request.kind, known, "kind")
    return pb.DescribeQueryResponse(
        kinds=[_kind(describe(models[kind], models)) for kind in known if wanted in ("", kind)]
    )


def kind_named(name: str, known: list[str], field: str) -> str:
    """A kind by its own name or by its message's; raises INVALID_ARGUMENT with the nearest ones."""
    kind = name if name in known else snake(name)
    if name and kind not in known:
        raise invalid(field, name, f"there is no such kind; {alternatives(kind, known)}")
    return kind


def _kind(found: KindDescription) -> pb.QueryKind:
    return pb.QueryKind(
        kind=found.kind,
        extends=found.extends,
        admin_only=found.admin_only,
        fields=[_field(field, single=True) for field in found.fields],
        relations=map(_relation, found.relations),
    )


def _field(found: FieldDescription, *, single: bool) -> pb.QueryField:
    single = single and not found.repeated
    leaf = single and not found.fields
    return pb.QueryField(
        name=found.name,
        type=found.type,
        repeated=found.repeated,
        operators=found.operators,
        values=found.values,
        fields=[_field(field, single=single) for field in found.fields],
        relations=map(_relation, found.relations),
        single=leaf,
        summable=leaf and found.type in SUMMABLE,
    )


def _relation(found: RelationDescription) -> pb.QueryRelation:
    return pb.QueryRelation(name=found.name, kind=found.kind, many=found.many, aliases=found.aliases)
