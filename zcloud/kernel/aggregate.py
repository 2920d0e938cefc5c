"""Aggregates: what decides. State is a fold of events; commands trigger new ones or refuse."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar, Self

from zcloud.kernel import event as events
from zcloud.kernel.event import Event, EventMeta

_kinds: dict[str, type[Aggregate]] = {}
_classes: dict[str, type[Aggregate]] = {}
_companions: dict[str, list[type[Companion]]] = {}


def snake(name: str) -> str:
    """VmInstance -> vm_instance."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


class Aggregate:
    """A stream of events and what it amounts to. Every attribute has a default; version 0 is "nothing yet"."""

    kind: ClassVar[str] = ""
    events: ClassVar[dict[str, type[Event]]] = {}

    # Every attribute with its default; collections among them are shared, since folds replace them.
    defaults: ClassVar[dict[str, Any]] = {}

    uuid: str = ""
    version: int = 0
    create_date: int = 0
    last_op_date: int = 0
    # The version before this life began: a uuid may be used again after a removal.
    life: int = 0

    def __init_subclass__(cls, *, kind: str = "", abstract: bool = False, **keywords: Any) -> None:
        """abstract: a kind that others extend and that has no streams of its own."""
        super().__init_subclass__(**keywords)
        cls.kind = kind
        cls.defaults = {
            name: getattr(cls, name)
            for base in reversed(cls.__mro__)
            for name, text in vars(base).get("__annotations__", {}).items()
            if not str(text).startswith("ClassVar") and name != "uuid"
        }
        if kind:
            _classes[kind] = cls
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
                    own: Any = value
                    if base is not cls:
                        own = EventMeta(name, (value,), {"__module__": cls.__module__})
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
        made = object.__new__(cls)
        made.__dict__.update(cls.defaults, uuid=uuid, version=version, pending=())
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
            self.life = self.version - 1
        event.apply(self)

    def refold(self, base: Aggregate, time: int) -> None:
        """Make it so that the pending events happened at this time, on top of the base."""
        pending = self.pending
        for event in pending:
            base.fold(event, time)
        self.__dict__.update(base.__dict__)
        self.__dict__["pending"] = pending


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
        return self.stream_of(self.uuid, self.life)

    @classmethod
    def stream_of(cls, uuid: str, life: int = 0) -> str:
        """The stream beside a resource in one of its lives: a uuid that is used again begins without old facts.

        No caller can choose a resource's uuid so that it is one of these.
        """
        return f"{uuid}.{cls.role}.{life}" if life else f"{uuid}.{cls.role}"


def kinds() -> dict[str, type[Aggregate]]:
    """Every aggregate class by its kind, companions too."""
    return dict(_kinds)


def by_kind(kind: str) -> type[Aggregate]:
    """The class of a kind, also of one that others extend. Raises KeyError."""
    return _classes[kind]


def of_topic(topic: str) -> type[Aggregate]:
    """The class whose event this is."""
    return _kinds[topic.partition(".")[0]]


def companions_of(kinds_of: Iterable[str]) -> list[type[Companion]]:
    """What stands beside a resource of a kind (given with the kinds it extends)."""
    return [companion for kind in kinds_of for companion in _companions.get(kind, ())]
