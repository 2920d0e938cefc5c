"""What a name in a path means where it stands: a field, a part or a relation, in snake_case or camelCase."""

from dataclasses import dataclass
from functools import cache

from sqlalchemy import ColumnElement, FromClause

from projections.model import ReadModel
from projections.query.errors import FilterError, alternatives, nearest
from projections.schema.fields import Group, Member
from projections.schema.registry import ReadModels
from projections.schema.relations import Relation


@cache
def camel(name: str) -> str:
    """The name in camelCase, as protobuf's JSON writes it."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


@dataclass(frozen=True)
class Scope:
    """Where a path has come to: a group of fields, and the rows that hold them."""

    model: ReadModel
    group: Group
    # Table of the kind or of a list of parts, under its alias.
    rows: FromClause
    # In a list of parts, or in a single part of one.
    in_list: bool = False
    # The list of parts, or the resource, that the relations belong to.
    holder: Group | None = None
    # How many subqueries it is in.
    depth: int = 0

    @property
    def uuid(self) -> ColumnElement[str]:
        """Uuid of the resource that the rows belong to."""
        return self.rows.c["resource_uuid" if self.in_list else "uuid"]

    def relations(self, models: ReadModels) -> dict[str, Relation]:
        """Relations that can be walked from here by every name; a single part has none of its own."""
        if self.holder is not None and self.group is self.holder:
            return dict(models.relations_of(self.model.kind, self.holder))
        return dict(models.relations(self.model.kind)) if self.group is self.model.root else {}


def find(scope: Scope, models: ReadModels, name: str, path: str, position: int) -> Member | Relation:
    """What the name means here, or an error with the names that are like it."""
    known: dict[str, Member | Relation] = {}
    for relation_name, relation in scope.relations(models).items():
        known[camel(relation_name)] = known[relation_name] = relation
    for member in scope.group.members.values():
        known[member.camel] = known[member.name] = member
    found = known.get(name)
    if found is None:
        # Suggestions in the case that the caller writes in.
        written_camel = any(letter.isupper() for letter in name)
        names = [key for key in known if (key == camel(key)) or not written_camel]
        offered = [key for key in names if written_camel or key == key.lower()]
        owner = scope.model.kind if not scope.group.name else f"{scope.model.kind}'s {scope.group.name}"
        where = f" in {path}" if path != name else ""
        raise FilterError(
            f'{owner} has no field or relation "{name}"{where}; {alternatives(name, offered)}',
            position,
            path,
            nearest(name, offered),
        )
    return found
