"""Events: immutable facts in the past tense, known in the log by a stable name such as zone.Created."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

import msgspec

_topics: dict[str, type[Event]] = {}
_decoders: dict[str, msgspec.json.Decoder[Any]] = {}
_encoder = msgspec.json.Encoder()


if TYPE_CHECKING:

    @dataclass_transform(kw_only_default=True)
    class EventMeta(type):
        """To a type checker events are keyword-only dataclasses."""

    class Base(metaclass=EventMeta):
        """What msgspec gives every struct."""

        __struct_fields__: ClassVar[tuple[str, ...]]

else:
    Base = msgspec.Struct

    class EventMeta(msgspec.StructMeta):
        """Makes every event frozen, keyword-only and terse, without each having to say so."""

        def __new__(mcls, name, bases, namespace):
            return super().__new__(mcls, name, bases, namespace, frozen=True, kw_only=True, omit_defaults=True)


class Event(Base, metaclass=EventMeta):
    """Base of all events. Fields are small and plain; a new field has a default, a new meaning is a new type."""

    topic: ClassVar[str] = ""
    schema: ClassVar[int] = 1
    # The first event of a resource's life, and its last one.
    begins: ClassVar[bool] = False
    ends: ClassVar[bool] = False

    def apply(self, aggregate: Any) -> None:
        """Fold into the aggregate: by default each field goes to the attribute of the same name.

        Collections are replaced, never changed in place: copies of the aggregate share them.
        """
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not msgspec.UNSET:
                setattr(aggregate, name, value)

    @classmethod
    def upcast(cls, schema: int, data: dict[str, Any]) -> dict[str, Any]:
        """Bring the data of an older schema to the present one."""
        del schema
        return data


def register(topic: str, event: type[Event]) -> None:
    """Give an event class its name in the log."""
    known = _topics.get(topic)
    if known is not None and known is not event:
        raise TypeError(f"two event classes are named {topic}: {known!r} and {event!r}")
    event.topic = topic
    _topics[topic] = event
    _decoders[topic] = msgspec.json.Decoder(event)


def topics() -> dict[str, type[Event]]:
    """Every event there is, by its name."""
    return dict(_topics)


def encode(event: Event) -> bytes:
    """JSON."""
    return _encoder.encode(event)


def decode(topic: str, schema: int, state: bytes) -> Event:
    """The event as it was, brought to the present schema."""
    decoder = _decoders.get(topic)
    if decoder is None:
        raise LookupError(f"the log holds {topic}, which this version does not know")
    cls = _topics[topic]
    if schema != cls.schema:
        return msgspec.convert(cls.upcast(schema, msgspec.json.decode(state)), cls)
    event: Event = decoder.decode(state)
    return event
