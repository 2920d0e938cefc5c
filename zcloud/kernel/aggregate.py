"""Aggregates: what decides. State is a fold of events; commands trigger new ones or refuse."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any, ClassVar, Self, dataclass_transform

from zcloud.kernel import event as events
from zcloud.kernel.event import Event
from zcloud.kernel.ids import derive

_kinds: dict[str, type[Aggregate]] = {}
_companions: dict[str, list[type[Companion]]] = {}


def snake(name: str) -> str:
    """VmInstance -> vm_instance."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@dataclass_transform(kw_only_default=True)
class Aggregate:
    """A stream of events and what it amounts to. Every attribute has a default; version 0 is "nothing yet"."""

    kind: ClassVar[str] = ""
    events: ClassVar[dict[str, type[Event]]] = {}

    uuid: str
    version: int
    create_date: int
    last_op_date: int

    def __init_subclass__(cls, *, kind: str = "", abstract: bool = False, **keywords: Any) -> None:
        """abstract: a kind that others extend and that has no streams of its own."""
        super().__init_subclass__(**keywords)
        dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)
        cls.kind = kind
        if kind and not abstract:
            if kind in _kinds:
                raise TypeError(f"two aggregates are of kind {kind}")
            _kinds[kind] = cls
            cls._register_events(kind)

    @classmethod
    def _register_events(cls, kind: str) -> None:
        """Bases share their events' code with all kinds; each kind has its own name for them in the log."""
        cls.events = {}
        for base in reversed(cls.__mro__):
            for name, value in list(vars(base).items()):
                if isinstance(value, type) and issubclass(value, Event):
                    own = value if base is cls else type(value)(name, (value,), {"__module__": cls.__module__})
                    if base is not cls:
                        setattr(cls, name, own)
                    cls.events[name] = own
        for name, event in cls.events.items():
            events.register(f"{kind}.{name}", event)

    @property
    def stream(self) -> str:
        """Identity in the log."""
        return self.uuid

    @property
    def exists(self) -> bool:
        """False before the first event and after the last one."""
        return self.version > 0

    @classmethod
    def blank(cls, uuid: str, version: int = 0) -> Self:
        """An aggregate to which nothing has happened yet."""
        made = cls(**{"uuid": uuid, "version": version})
        made.__dict__["pending"] = ()
        return made

    def copy(self) -> Self:
        """A copy to decide on; collections are shared, since folds replace them."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.__dict__["pending"] = ()
        return made

    @property
    def pending(self) -> tuple[Event, ...]:
        """What was triggered and is not yet in the log."""
        found: tuple[Event, ...] = self.__dict__.get("pending", ())
        return found

    def trigger(self, event: Event) -> None:
        """Let something have happened."""
        self.fold(event, self.__dict__.get("now", 0))
        self.__dict__["pending"] = (*self.pending, event)

    def fold(self, event: Event, time: int) -> None:
        """Take in one event."""
        self.version += 1
        self.last_op_date = time
        if event.begins:
            self.create_date = time
        event.apply(self)

    def restamp(self, time: int) -> None:
        """The pending events were committed at this time."""
        self.last_op_date = time
        if any(event.begins for event in self.pending):
            self.create_date = time


# The dataclass decorator is applied to subclasses in __init_subclass__, and here to the base itself.
Aggregate.version = 0
Aggregate.create_date = 0
Aggregate.last_op_date = 0
dataclasses.dataclass(kw_only=True, eq=False, repr=False)(Aggregate)


class Companion(Aggregate):
    """Facts beside a resource in a stream of their own, so that they never make a caller's version wrong.

    class HostStatus(Companion, of="host", role="status"). It exists as soon as the resource does.
    """

    of: ClassVar[str] = ""
    role: ClassVar[str] = ""

    def __init_subclass__(cls, *, of: str = "", role: str = "", **keywords: Any) -> None:
        kind = f"{of}_{role}" if of else ""
        super().__init_subclass__(kind=kind, **keywords)
        cls.of, cls.role = of, role
        if of:
            _companions.setdefault(of, []).append(cls)

    @property
    def stream(self) -> str:
        return derive(self.uuid, self.role)

    @classmethod
    def stream_of(cls, uuid: str) -> str:
        """The stream beside a resource."""
        return derive(uuid, cls.role)


def kinds() -> dict[str, type[Aggregate]]:
    """Every aggregate class by its kind, companions too."""
    return dict(_kinds)


def of_topic(topic: str) -> type[Aggregate]:
    """The class whose event this is."""
    return _kinds[topic.partition(".")[0]]


def companions_of(kinds_of: Iterable[str]) -> list[type[Companion]]:
    """What stands beside a resource of a kind (given with the kinds it extends)."""
    return [companion for kind in kinds_of for companion in _companions.get(kind, ())]
