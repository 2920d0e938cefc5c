"""Names by which a kind's relations are reached, its own references first, then what refers to it."""

from collections.abc import Iterable, Iterator, Mapping

from projections.schema.fields import Group
from projections.schema.relations import Reference, Relation, plural, references


def _forward(found: Iterable[Reference]) -> Iterator[tuple[Relation, tuple[str, ...]]]:
    for ref in found:
        name = plural(ref.label) if ref.many else ref.label
        # ZStack says zone for the zones that a backup storage is attached to.
        aliases = (ref.label, plural(ref.target), ref.target) if ref.many else ()
        yield Relation(name, ref.target, ref.path), aliases


def _reverse(kind: str, found: Iterable[Reference]) -> Iterator[tuple[Relation, tuple[str, ...]]]:
    # A VM refers to hosts by host_uuid and by last_host_uuid: a host's vm_instances are those of the first.
    ranked = sorted(found, key=lambda ref: (not ref.exact, ref.nested))
    for place, ref in enumerate(ranked):
        name = plural(kind) if place == 0 else f"{plural(kind)}_by_{ref.label}"
        yield Relation(name, kind, ref.path, reverse=True), (kind,) if place == 0 else ()


def _family(kind: str, extends: Mapping[str, str]) -> Iterator[tuple[Relation, tuple[str, ...]]]:
    parent = extends.get(kind)
    if parent:
        yield Relation(parent, parent, "uuid"), ()
    for child in sorted(child for child, base in extends.items() if base == kind):
        yield Relation(child, child, "uuid"), ()


def _tags(kind: str, kinds: frozenset[str]) -> Iterator[tuple[Relation, tuple[str, ...]]]:
    """A user tag can be on any kind, and names it by no reference of its own; tags are not tagged."""
    if "user_tag" in kinds and kind not in ("tag", "user_tag"):
        yield Relation("user_tags", "user_tag", "resource_uuid", reverse=True), ("user_tag",)
        yield Relation("tag", "user_tag", "resource_uuid", reverse=True, leaf="tag"), ()


def relations_of_part(part: Group, kinds: frozenset[str]) -> dict[str, Relation]:
    """Relations of a list of parts: vm_nics.l3_network."""
    return _named(_forward(references(part, kinds)), part, {})


def relations_of_kind(
    kind: str, groups: Mapping[str, Group], extends: Mapping[str, str], declared: Mapping[str, Relation]
) -> dict[str, Relation]:
    """Every name of a relation of the kind, aliases included; what is declared comes before what is derived."""
    kinds = frozenset(groups)
    # What refers to a backup storage refers to the SFTP backup storage with the same uuid.
    ancestry = {kind, *([extends[kind]] if kind in extends else [])}
    own = list(references(groups[kind], kinds))
    derived = list(_forward(ref for ref in own if ref.exact))
    derived += _family(kind, extends)
    derived += _tags(kind, kinds)
    for other in sorted(kinds):
        derived += _reverse(other, [ref for ref in references(groups[other], kinds) if ref.target in ancestry])
    # Behind the rest: a VM's data_volumes are not its volumes.
    derived += _forward(ref for ref in own if not ref.exact)
    return _named(derived, groups[kind], declared)


def _named(
    derived: Iterable[tuple[Relation, tuple[str, ...]]], group: Group, declared: Mapping[str, Relation]
) -> dict[str, Relation]:
    names = dict(declared)
    found = list(derived)
    # No alias takes another relation's own name.
    given = [(relation.name, relation) for relation, _ in found]
    given += [(alias, relation) for relation, aliases in found for alias in aliases]
    for name, relation in given:
        if name not in group.members:
            names.setdefault(name, relation)
    return names
