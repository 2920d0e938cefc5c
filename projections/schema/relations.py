"""Relations between kinds: by a reference of one's own (host_uuid) or by another kind's reference to oneself."""

from collections.abc import Iterator
from dataclasses import dataclass

from projections.schema.fields import Field, FieldType, Group


@dataclass(frozen=True)
class Relation:
    """How to walk from a resource to resources of another kind.

    `path` names the field that holds the uuid, dotted where it lies in a part ("copies.backup_storage_uuid"); it is
    the resource's own field, or, where `reverse`, the target's field that holds the resource's uuid.
    """

    name: str
    target: str
    path: str
    reverse: bool = False
    # Where the relation stands for one field of what it leads to: tag for the texts of user tags.
    leaf: str = ""


@dataclass(frozen=True)
class Reference:
    """A field that holds uuids of a kind."""

    # Without _uuid or _uuids: host, last_host, attached_zone.
    label: str
    target: str
    path: str
    # Whether one resource may hold several.
    many: bool
    # Whether it lies in a list of parts.
    nested: bool

    @property
    def exact(self) -> bool:
        """Whether the field bears the kind's very name."""
        return self.label == self.target


def plural(noun: str) -> str:
    """English plural of a kind's name: policies, addresses, hosts."""
    if noun.endswith("y") and noun[-2:-1] not in tuple("aeiou"):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def _target(label: str, kinds: frozenset[str]) -> str | None:
    if label in kinds:
        return label
    # last_host is a host, attached_backup_storage a backup_storage: the longest kind that ends the label.
    ends = [kind for kind in kinds if label.endswith(f"_{kind}")]
    return max(ends, key=len, default=None)


def references(group: Group, kinds: frozenset[str], prefix: str = "", nested: bool = False) -> Iterator[Reference]:
    """The references in a group and its parts, its own before those of its parts."""
    parts: list[Group] = []
    for member in group.members.values():
        if isinstance(member, Group):
            parts.append(member)
            continue
        suffix = "_uuids" if member.repeated else "_uuid"
        if member.type is not FieldType.TEXT or not member.name.endswith(suffix):
            continue
        label = member.name.removesuffix(suffix)
        target = _target(label, kinds)
        if target is not None:
            yield Reference(label, target, prefix + member.name, member.repeated or nested, nested)
    for part in parts:
        yield from references(part, kinds, f"{prefix}{part.name}.", nested or part.repeated)


def member_at(group: Group, path: str) -> tuple[Group | None, Field]:
    """The field at a dotted path, and the list of parts that it lies in, if any."""
    holder: Group | None = None
    here = group
    *steps, last = path.split(".")
    for step in steps:
        part = here.members[step]
        assert isinstance(part, Group), path
        holder = part if part.repeated else holder
        here = part
    field = here.members[last]
    assert isinstance(field, Field), path
    return holder, field
