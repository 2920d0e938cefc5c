"""Webhook: a URL that is told of events. What was given up, and whether it answers, lie in a stream beside it."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from zcloud.kernel import event as events
from zcloud.kernel.aggregate import Companion, kinds
from zcloud.kernel.errors import Reason, invalid, precondition
from zcloud.kernel.event import Event
from zcloud.kernel.resource import UNSET, Creation, Switched, Unset

BATCH = 100
# Dead letters that are listed; older ones are only counted.
LETTERS = 1_000
ERROR = 500


class WebhookStatus(enum.Enum):
    """Whether it takes what it is sent."""

    HEALTHY = "Healthy"
    FAILING = "Failing"


class EventFilter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which events; what is empty matches all."""

    resource_kinds: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    resource_uuids: tuple[str, ...] = ()

    def takes(self, kind: str, type: str, resource_uuid: str) -> bool:
        """Whether an event matches."""
        return (
            (not self.resource_kinds or kind in self.resource_kinds)
            and (not self.types or type in self.types)
            and (not self.resource_uuids or resource_uuid in self.resource_uuids)
        )


class DeadLetter(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event that was given up."""

    position: str
    type: str
    event_resource_uuid: str
    error: str
    attempts: int
    give_up_date: int
    redelivering: bool = False


class Webhook(Switched, kind="webhook"):
    """secret: sealed. start: the position after which it begins; 0 for that of its own creation."""

    url: str = ""
    secret: str = ""
    filter: EventFilter = EventFilter()
    batch_size: int = BATCH
    start: int = 0

    class Created(Creation):
        """Somebody wants to be told."""

        url: str
        secret: str
        filter: EventFilter = EventFilter()
        batch_size: int = BATCH
        start: int = 0

    class Changed(Event):
        """Another URL, secret, filter or size; from the next call on."""

        url: str | Unset = UNSET
        secret: str | Unset = UNSET
        filter: EventFilter | Unset = UNSET
        batch_size: int | Unset = UNSET

    def create(
        self,
        *,
        name: str,
        url: str,
        secret: str,
        description: str = "",
        filter: dict[str, Any] | None = None,
        batch_size: int = BATCH,
        start: int = 0,
    ) -> None:
        """secret: sealed."""
        _must_be_url(url)
        self.trigger(
            self.Created(
                name=name,
                description=description,
                account_uuid=self.account_uuid,
                url=url,
                secret=secret,
                filter=_filter_of(filter or {}),
                batch_size=batch_size,
                start=start,
            )
        )

    def update(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        url: str | None = None,
        secret: str | None = None,
        filter: dict[str, Any] | None = None,
        batch_size: int | None = None,
    ) -> None:
        """What is the same is no event."""
        super().update(name=name, description=description)
        if url is not None:
            _must_be_url(url)
        if secret == "":
            raise invalid("secret", "", "must not be empty: calls are signed with it")
        new = None if filter is None else _filter_of(filter)
        changed = self.Changed(
            url=UNSET if url is None or url == self.url else url,
            secret=UNSET if secret is None else secret,
            filter=UNSET if new is None or new == self.filter else new,
            batch_size=UNSET if batch_size is None or batch_size == self.batch_size else batch_size,
        )
        if changed != self.Changed():
            self.trigger(changed)


class WebhookDelivery(Companion, of="webhook", role="delivery"):
    """How its deliveries go. How far they are is no event: it moves with each of them."""

    status: WebhookStatus = WebhookStatus.HEALTHY
    status_reason: str = ""
    dead_letters: tuple[DeadLetter, ...] = ()
    forgotten_letters: int = 0

    class Began(Event):
        """Nothing has failed yet."""

        status: WebhookStatus = WebhookStatus.HEALTHY

    class Failing(Event):
        """It did not take what was sent, several times."""

        error: str

        def apply(self, aggregate: Any) -> None:
            aggregate.status, aggregate.status_reason = WebhookStatus.FAILING, self.error

    class Recovered(Event):
        """It took something."""

        def apply(self, aggregate: Any) -> None:
            aggregate.status, aggregate.status_reason = WebhookStatus.HEALTHY, ""

    class GivenUp(Event):
        """Events became dead letters."""

        letters: tuple[DeadLetter, ...]

        def apply(self, aggregate: Any) -> None:
            again = {letter.position for letter in self.letters}
            kept = tuple(letter for letter in aggregate.dead_letters if letter.position not in again)
            found = (*kept, *self.letters)
            aggregate.forgotten_letters += max(0, len(found) - LETTERS)
            aggregate.dead_letters = found[-LETTERS:]

    class RedeliveryAsked(Event):
        """Dead letters are sent once more."""

        positions: tuple[str, ...]

        def apply(self, aggregate: Any) -> None:
            wanted = set(self.positions)
            aggregate.dead_letters = tuple(
                msgspec.structs.replace(letter, redelivering=True) if letter.position in wanted else letter
                for letter in aggregate.dead_letters
            )

    class Redelivered(Event):
        """Dead letters were taken after all."""

        positions: tuple[str, ...]

        def apply(self, aggregate: Any) -> None:
            _without(aggregate, self.positions)

    class Dropped(Event):
        """Somebody wants to see dead letters no more."""

        positions: tuple[str, ...]

        def apply(self, aggregate: Any) -> None:
            _without(aggregate, self.positions)

    def begin(self) -> None:
        """Of a webhook that was just created."""
        self.trigger(self.Began())

    def failing(self, error: str) -> None:
        """Several times in a row; only the first such time is an event."""
        if self.status is not WebhookStatus.FAILING:
            self.trigger(self.Failing(error=error[:ERROR]))

    def recovered(self) -> None:
        """It takes again."""
        if self.status is not WebhookStatus.HEALTHY:
            self.trigger(self.Recovered())

    def give_up(self, letters: tuple[DeadLetter, ...]) -> None:
        """What is listed as it is, is no event: a node that was killed meanwhile says so twice."""
        known = {letter.position for letter in self.dead_letters if not letter.redelivering}
        new = tuple(letter for letter in letters if letter.position not in known)
        if new:
            self.trigger(self.GivenUp(letters=new))

    def redeliver(self, positions: Iterable[str]) -> None:
        """No positions for all. Refused for what is no dead letter."""
        chosen = self._chosen(positions)
        waiting = {letter.position for letter in self.dead_letters if not letter.redelivering}
        new = tuple(position for position in chosen if position in waiting)
        if new:
            self.trigger(self.RedeliveryAsked(positions=new))

    def redelivered(self, positions: Iterable[str]) -> None:
        """What is not there any more needs no event."""
        there = {letter.position for letter in self.dead_letters}
        gone = tuple(position for position in positions if position in there)
        if gone:
            self.trigger(self.Redelivered(positions=gone))

    def drop(self, positions: Iterable[str]) -> None:
        """No positions for all. Refused for what is no dead letter."""
        chosen = self._chosen(positions)
        if chosen:
            self.trigger(self.Dropped(positions=chosen))

    def _chosen(self, positions: Iterable[str]) -> tuple[str, ...]:
        there = tuple(letter.position for letter in self.dead_letters)
        chosen = tuple(dict.fromkeys(positions)) or there
        for position in chosen:
            if position not in there:
                text = f"no dead letter of this webhook is at position {position}"
                raise precondition(Reason.WRONG_STATE, text, position=position)
        return chosen


def _without(aggregate: Any, positions: tuple[str, ...]) -> None:
    gone = set(positions)
    aggregate.dead_letters = tuple(letter for letter in aggregate.dead_letters if letter.position not in gone)


def _filter_of(given: dict[str, Any]) -> EventFilter:
    made = EventFilter(**{name: tuple(value) for name, value in given.items()})
    for field, values, known in (
        ("filter.resource_kinds", made.resource_kinds, set(kinds())),
        ("filter.types", made.types, set(events.topics())),
    ):
        for value in values:
            if value not in known:
                nearest = difflib.get_close_matches(value, sorted(known), 1, 0)
                raise invalid(field, value, f'there is none of this name; the nearest is "{nearest[0]}"')
    return made


def _must_be_url(url: str) -> None:
    """http or https; whether it may lead where it leads is judged when it is called."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise invalid("url", url, "must be a URL with a host and a port that exist") from None
    if parts.scheme not in ("http", "https"):
        raise invalid("url", url, "must begin with http:// or https://")
    if not host:
        raise invalid("url", url, "must name a host")
    if parts.username is not None or parts.password is not None:
        raise invalid("url", "***", "must hold no user name or password; the receiver knows us by the signature")
