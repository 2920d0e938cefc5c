"""The read models of all kinds, found by kind, and the relations between them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

from google.protobuf import message_factory
from google.protobuf.message import Message
from sqlalchemy import MetaData

import zcloud.v1
from projections.schema.fields import Group
from projections.schema.naming import relations_of_kind, relations_of_part
from projections.schema.relations import Relation
from zcloud.v1 import options_pb2

if TYPE_CHECKING:
    from projections.model import ReadModel


def resource_types() -> list[type[Message]]:
    """Every message of the API that is a resource, in the order of their files."""
    found: list[type[Message]] = []
    for info in pkgutil.iter_modules(zcloud.v1.__path__):
        if not info.name.endswith("_pb2"):
            continue
        module = importlib.import_module(f"zcloud.v1.{info.name}")
        found += [
            message_factory.GetMessageClass(descriptor)
            for descriptor in module.DESCRIPTOR.message_types_by_name.values()
            if descriptor.GetOptions().HasExtension(options_pb2.resource)
        ]
    return found


class ReadModels:
    """Finds a read model by kind; relations are derived when first asked for, when all kinds are known."""

    def __init__(self, models: Iterable[ReadModel] = ()) -> None:
        self._models: dict[str, ReadModel] = {}
        self._relations: dict[str, dict[str, Relation]] = {}
        self._parts: dict[tuple[str, str], dict[str, Relation]] = {}
        for model in models:
            self.add(model)

    @classmethod
    def of_api(cls, metadata: MetaData | None = None) -> ReadModels:
        """A model for each resource of the API, with what its descriptors say.

        metadata: where else the tables shall be; without, they are those that all of a process share.
        """
        if metadata is None:
            return _shared()
        from projections.model import ReadModel  # the model knows no registry, the registry makes models

        return cls(ReadModel(message_type, metadata=metadata) for message_type in resource_types())

    def add(self, model: ReadModel) -> None:
        """Adds a model; its kind must be new."""
        if model.kind in self._models:
            raise ValueError(f"kind {model.kind} has a read model already; a kind has one")
        self._models[model.kind] = model
        self._relations.clear()
        self._parts.clear()

    def __getitem__(self, kind: str) -> ReadModel:
        return self._models[kind]

    def __contains__(self, kind: object) -> bool:
        return kind in self._models

    def __iter__(self) -> Iterator[ReadModel]:
        return iter(self._models.values())

    def __len__(self) -> int:
        return len(self._models)

    def relations(self, kind: str) -> Mapping[str, Relation]:
        """Relations of a kind by every name they answer to, aliases included."""
        if kind not in self._relations:
            groups = {model.kind: model.root for model in self}
            extends = {model.kind: model.extends for model in self if model.extends}
            self._relations[kind] = relations_of_kind(kind, groups, extends, self[kind].relations)
        return self._relations[kind]

    def relations_of(self, kind: str, group: Group) -> Mapping[str, Relation]:
        """Relations of a kind's list of parts, whose side table names it."""
        key = (kind, group.side)
        if key not in self._parts:
            self._parts[key] = relations_of_part(group, frozenset(self._models))
        return self._parts[key]


@cache
def _shared() -> ReadModels:
    return ReadModels.of_api(MetaData())
