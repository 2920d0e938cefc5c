"""What can be asked of a kind: its fields with types and operators, and its relations."""

from collections.abc import Mapping
from dataclasses import dataclass

from projections.model import ReadModel
from projections.query.compiler import operators
from projections.schema.enums import short_names
from projections.schema.fields import Group, Member
from projections.schema.registry import ReadModels
from projections.schema.relations import Relation, member_at


@dataclass(frozen=True)
class FieldDescription:
    """A field; a part has fields and relations of its own in place of a type's operators."""

    name: str
    type: str
    repeated: bool
    operators: tuple[str, ...]
    # Short forms of an enum.
    values: tuple[str, ...] = ()
    fields: tuple["FieldDescription", ...] = ()
    relations: tuple["RelationDescription", ...] = ()


@dataclass(frozen=True)
class RelationDescription:
    """A relation, with the other names that it answers to."""

    name: str
    kind: str
    # Whether it may lead to several resources.
    many: bool
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class KindDescription:
    """All that a filter on the kind can name."""

    kind: str
    extends: str
    admin_only: bool
    fields: tuple[FieldDescription, ...]
    relations: tuple[RelationDescription, ...]


def _field(model: ReadModel, models: ReadModels, member: Member) -> FieldDescription:
    if isinstance(member, Group):
        fields = tuple(_field(model, models, inner) for inner in member.members.values())
        relations = _relations(member, models.relations_of(model.kind, member)) if member.repeated else ()
        asked = ("=", "!=", ":") if member.repeated else ()
        return FieldDescription(member.name, "message", member.repeated, asked, (), fields, relations)
    values = tuple(short_names(member.enum).values()) if member.enum is not None else ()
    return FieldDescription(member.name, str(member.type), member.repeated, operators(member.type), values)


def _many(group: Group, relation: Relation) -> bool:
    if relation.reverse:
        return True
    part, field = member_at(group, relation.path)
    return part is not None or field.repeated


def _relations(group: Group, named: Mapping[str, Relation]) -> tuple[RelationDescription, ...]:
    return tuple(
        RelationDescription(
            name,
            relation.target,
            _many(group, relation),
            tuple(alias for alias, same in named.items() if same is relation and alias != name),
        )
        for name, relation in named.items()
        if name == relation.name and not relation.leaf
    )


def describe(model: ReadModel, models: ReadModels) -> KindDescription:
    """The kind's fields and relations as the filter language knows them."""
    fields = tuple(_field(model, models, member) for member in model.root.members.values())
    named = models.relations(model.kind)
    leaves = tuple(_leaf(models, name, relation) for name, relation in named.items() if relation.leaf)
    return KindDescription(model.kind, model.extends, model.admin_only, fields + leaves, _relations(model.root, named))


def _leaf(models: ReadModels, name: str, relation: Relation) -> FieldDescription:
    """A field of what a relation leads to, that is asked for like one of the kind's own."""
    _, field = member_at(models[relation.target].root, relation.leaf)
    return FieldDescription(name, str(field.type), True, operators(field.type))
